//! What comes after a cursor, as an answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::ids::{OpHash, WorkspaceId};
use nodespace_protocol::op::Op;
use nodespace_protocol::view::encoding::{self, PACKET_ENCODED_BYTES_MAX, PACKET_RATIO_MAX};
use nodespace_protocol::view::{Checkpoint, Cursor, Encoding, Framing, PushedRun, RunningHash, SyncOperation, SyncResponse};

use super::SyncAnswer;
use crate::key::RelayKey;
use crate::refusal::Refusal;
use crate::store::{Database, PageBounds, StoreError, WorkspaceRow, operations};
use crate::workspace::{Added, Hub, Run, runs_of};

/// What one answer holds, about: with a segment more, and written as JSON, it stays below what readers take.
pub const PAGE_BOUNDS: PageBounds = PageBounds { operations: 4_096, bytes: 1_500_000 };
/// Answers shorter than this are not compressed: there is nothing to gain.
const COMPRESS_BYTES_MIN: usize = 1_024;

/// How an answer may be compressed: what the request accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// Zstandard.
    pub zstd: bool,
    /// Gzip.
    pub gzip: bool,
}

/// Some of the log.
#[derive(Debug)]
pub(super) struct Page {
    /// What the packet added, when that is known to be all of the page.
    own: Vec<PushedRun>,
    runs: Vec<Run>,
    through: u64,
    running: RunningHash,
}

impl Page {
    /// What comes after a version up to a row, if that is what the packet has just added, and fits: then there is nothing to read.
    pub(super) fn of_own(row: &WorkspaceRow, after: u64, added: Option<&Added>) -> Option<Self> {
        let added = added.filter(|added| added.after == after && added.bytes <= u64::from(PAGE_BOUNDS.bytes))?;
        let fits = row.version.saturating_sub(after) <= u64::from(PAGE_BOUNDS.operations);
        fits.then(|| Self { own: added.runs.clone(), runs: Vec::new(), through: row.version, running: row.running })
    }

    /// Reads what comes after a version.
    pub(super) async fn read(database: &Database, row: &WorkspaceRow, after: u64) -> Result<Self, StoreError> {
        let nothing = Self { own: Vec::new(), runs: Vec::new(), through: row.version, running: row.running };
        if after >= row.version {
            return Ok(nothing);
        }
        let taken = database.readers().take();
        let mut connection = database.within(async { taken.await.map_err(StoreError::doing("connecting for a page")) }).await?;
        let end = database.within(operations::page_end(&mut *connection, row.number, after, PAGE_BOUNDS)).await?;
        let end = end.ok_or_else(|| StoreError::corrupt(format!("operations after {after}"), "no segment ends there"))?;
        let rows = database.within(operations::range(&mut *connection, row.number, after + 1, end.version)).await?;
        connection.keep();
        Ok(Self { own: Vec::new(), runs: runs_of(rows)?, through: end.version, running: end.running })
    }

    /// The answer, and its operations for whoever wants views. What the packet brought itself is not sent back.
    pub(super) fn response(
        &self,
        key: &RelayKey,
        workspace: WorkspaceId,
        cursor: Cursor,
        applied: &[OpHash],
    ) -> Result<(SyncResponse, Vec<Arc<Op>>), StoreError> {
        let at = Cursor { epoch: cursor.epoch, version: self.through };
        let own: BTreeSet<&OpHash> = applied.iter().collect();
        let mut response = SyncResponse { pushed: self.own.clone(), ..SyncResponse::nothing_new(at) };
        let mut ops = Vec::new();
        for run in &self.runs {
            if !own.is_empty() && run.rows.iter().all(|row| own.contains(&row.op.hash)) {
                response.pushed.extend(run.last().map(|last| PushedRun {
                    before_segment: response.segments.len() as u32,
                    operations: run.rows.len() as u32,
                    last,
                }));
            } else {
                response.segments.push(run.packed()?);
                ops.extend(run.rows.iter().map(|row| Arc::clone(&row.op)));
            }
        }
        response.checkpoint = Some(Checkpoint::sign(key.pair(), workspace, at, self.running));
        Ok((response, ops))
    }
}

/// A view of each operation, from a replica that holds them.
pub(super) async fn views(hub: &Hub, workspace: WorkspaceId, ops: Vec<Arc<Op>>) -> Result<Vec<SyncOperation>, Refusal> {
    hub.ask(workspace, move |replica| {
        let view = |op: &Arc<Op>| SyncOperation::of(op, replica);
        ops.iter().map(view).collect::<Result<Vec<_>, _>>().map_err(|error| {
            tracing::error!(%error, "an operation of the log cannot be shown");
            Refusal::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "relay_fault", "an operation cannot be shown; ask without views")
        })
    })
    .await
}

/// Writes an answer as the request wants it.
pub(super) fn encode(response: &SyncResponse, encoding: Encoding, accepted: Compression) -> Result<SyncAnswer, Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "an answer cannot be written");
        Refusal::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "relay_fault", "the answer cannot be written")
    };
    let plain = encoding::encode(response, Framing { encoding, compression: CompressionType::None }).map_err(|error| failed(&error))?;
    let wanted = match accepted {
        _ if plain.len() < COMPRESS_BYTES_MIN => CompressionType::None,
        Compression { zstd: true, .. } => CompressionType::Zstd,
        Compression { gzip: true, .. } => CompressionType::Gzip,
        Compression { .. } => CompressionType::None,
    };
    if wanted == CompressionType::None {
        return Ok(SyncAnswer { bytes: plain, encoding, compression: wanted });
    }
    let compressed = compress(&plain, wanted).map_err(|error| failed(&error))?;
    // Readers refuse what unfolds too far. What shrinks so well is small enough to go as it is.
    let suspicious = plain.len() / compressed.len().max(1) >= PACKET_RATIO_MAX;
    if suspicious && plain.len() <= PACKET_ENCODED_BYTES_MAX {
        return Ok(SyncAnswer { bytes: plain, encoding, compression: CompressionType::None });
    }
    Ok(SyncAnswer { bytes: compressed, encoding, compression: wanted })
}
