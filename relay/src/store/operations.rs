//! The log: operations in the order of their versions, with the signatures that prove them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{OpHash, WorkspaceId};
use nodespace_protocol::op::{Header, Op};
use nodespace_protocol::view::{PushedRun, RunningHash};
use sqlx::{PgExecutor, PgPool};

use super::{StoreError, bytes32, signed, unsigned};

/// One operation of the log.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// Its version.
    pub version: u64,
    /// The operation, without its attachment.
    pub op: Arc<Op>,
    /// By its author over its hash, when it ended a segment.
    pub signature: Option<Signature>,
    /// The hash over the log up to it, when it ended a segment.
    pub running: Option<RunningHash>,
}

/// How much a page may hold. A page ends with a whole segment, so it may exceed both by one.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Operations.
    pub operations: u32,
    /// Bytes of headers and payloads.
    pub bytes: u32,
}

/// Where a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// The version of its last operation.
    pub version: u64,
    /// The hash over the log up to there.
    pub running: RunningHash,
}

/// Operations to be added, in the order of their versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperationRows {
    rows: Vec<NewRow>,
    running: RunningHash,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct NewRow {
    op: Arc<Op>,
    header: Vec<u8>,
    /// Of an operation that ends a segment: by its author over its hash, and the hash over the log up to it.
    signed: Option<(Signature, RunningHash)>,
}

impl NewRow {
    fn size(&self) -> usize {
        self.header.len() + self.op.payload.len()
    }
}

/// The columns of rows to be added, borrowed from them.
#[derive(Debug, Default)]
pub(super) struct NewColumns<'a> {
    pub(super) hashes: Vec<&'a [u8]>,
    pub(super) headers: Vec<&'a [u8]>,
    pub(super) payloads: Vec<&'a [u8]>,
    pub(super) sizes: Vec<i32>,
    pub(super) signatures: Vec<Option<&'a [u8]>>,
    pub(super) running_hashes: Vec<Option<&'a [u8]>>,
}

impl<'a> NewColumns<'a> {
    /// Adds the rows of others after these.
    pub(super) fn extend(&mut self, others: Self) {
        self.hashes.extend(others.hashes);
        self.headers.extend(others.headers);
        self.payloads.extend(others.payloads);
        self.sizes.extend(others.sizes);
        self.signatures.extend(others.signatures);
        self.running_hashes.extend(others.running_hashes);
    }
}

impl OperationRows {
    /// Rows that go on from a running hash.
    pub(crate) fn after(running: RunningHash) -> Self {
        Self { running, ..Self::default() }
    }

    pub(crate) fn push(&mut self, workspace: &WorkspaceId, op: &Arc<Op>) {
        self.running = self.running.then(&op.hash);
        let row = NewRow { op: Arc::clone(op), header: op.header.encode(workspace), signed: None };
        self.bytes += row.size() as u64;
        self.rows.push(row);
    }

    /// The last operation ends a segment.
    pub(crate) fn sign_last(&mut self, signature: &Signature) {
        if let Some(last) = self.rows.last_mut() {
            last.signed = Some((*signature, self.running));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) const fn running(&self) -> &RunningHash {
        &self.running
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The runs that they are, each up to a signature.
    pub(crate) fn runs(&self) -> Vec<PushedRun> {
        let mut before = 0;
        let ends = self.rows.iter().zip(1_u32..).filter(|(row, _)| row.signed.is_some());
        ends.map(|(row, through)| {
            let operations = through - std::mem::replace(&mut before, through);
            PushedRun { before_segment: 0, operations, last: row.op.hash }
        })
        .collect()
    }

    pub(super) fn columns(&self) -> NewColumns<'_> {
        let signed = || self.rows.iter().map(|row| row.signed.as_ref());
        NewColumns {
            hashes: self.rows.iter().map(|row| row.op.hash.0.as_slice()).collect(),
            headers: self.rows.iter().map(|row| row.header.as_slice()).collect(),
            payloads: self.rows.iter().map(|row| &*row.op.payload).collect(),
            sizes: self.rows.iter().map(|row| i32::try_from(row.size()).unwrap_or(i32::MAX)).collect(),
            signatures: signed().map(|signed| signed.map(|(signature, _)| signature.0.as_slice())).collect(),
            running_hashes: signed().map(|signed| signed.map(|(_, running)| running.0.as_slice())).collect(),
        }
    }
}

/// Reads the rows of some versions, both ends included.
pub(crate) async fn range(executor: impl PgExecutor<'_>, workspace: i64, first: u64, last: u64) -> Result<Vec<LogRow>, StoreError> {
    let rows = sqlx::query!(
        "SELECT version, op_hash, header, payload, signature, running_hash FROM operations \
         WHERE workspace = $1 AND version BETWEEN $2 AND $3 ORDER BY version",
        workspace,
        signed(first),
        signed(last)
    );
    let rows = rows.fetch_all(executor).await.map_err(StoreError::doing("reading operations"))?;
    rows.into_iter()
        .map(|row| log_row((row.version, &row.op_hash), (&row.header, row.payload), (row.signature, row.running_hash)))
        .collect()
}

/// Reads the first rows of some versions: as many as it takes to reach so many bytes of headers and payloads, at least one.
pub(crate) async fn range_within(
    pool: &PgPool,
    workspace: i64,
    versions: RangeInclusive<u64>,
    bytes: u64,
) -> Result<Vec<LogRow>, StoreError> {
    // Sizes are summed along the index; payloads beyond the bound are not read.
    let rows = sqlx::query!(
        r#"SELECT version AS "version!", op_hash AS "op_hash!", header AS "header!", payload AS "payload!",
                  signature AS "signature?", running_hash AS "running_hash?"
           FROM (
             SELECT version, op_hash, header, payload, signature, running_hash, sum(size) OVER (ORDER BY version) - size AS before
             FROM operations WHERE workspace = $1 AND version BETWEEN $2 AND $3
           ) AS candidates
           WHERE before < $4 ORDER BY version"#,
        workspace,
        signed(*versions.start()),
        signed(*versions.end()),
        signed(bytes)
    );
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("reading operations"))?;
    rows.into_iter()
        .map(|row| log_row((row.version, &row.op_hash), (&row.header, row.payload), (row.signature, row.running_hash)))
        .collect()
}

/// An operation that was looked for by its hash.
#[derive(Clone, Debug)]
pub(crate) struct FoundRow {
    pub(crate) version: u64,
    pub(crate) hash: OpHash,
    /// `None` when it did not fit.
    pub(crate) row: Option<LogRow>,
}

/// Finds the operations with some hashes; those that are not there are left out. Rows come along up to so many bytes of headers and
/// payloads.
pub(crate) async fn by_hash(pool: &PgPool, workspace: i64, hashes: &[OpHash], bytes: u64) -> Result<Vec<FoundRow>, StoreError> {
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| hash.0.as_slice()).collect();
    let rows = sqlx::query!(
        r#"SELECT version AS "version!", op_hash AS "op_hash!", CASE WHEN total <= $3 THEN header END AS "header?",
                  CASE WHEN total <= $3 THEN payload END AS "payload?", signature AS "signature?", running_hash AS "running_hash?"
           FROM (
             SELECT version, op_hash, header, payload, signature, running_hash, sum(size) OVER (ORDER BY version) AS total
             FROM operations WHERE workspace = $1 AND op_hash = ANY($2)
           ) AS found"#,
        workspace,
        &hashes as &[&[u8]],
        signed(bytes)
    );
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("looking for operations"))?;
    let found = rows.into_iter().map(|row| {
        let (version, hash) = (unsigned(row.version, "operations")?, OpHash(bytes32(&row.op_hash, "operations")?));
        let parts = row.header.zip(row.payload);
        let whole =
            parts.map(|(header, payload)| log_row((row.version, &row.op_hash), (&header, payload), (row.signature, row.running_hash)));
        Ok(FoundRow { version, hash, row: whole.transpose()? })
    });
    found.collect()
}

/// Where a page after a version ends: with the segment in which the first bound is reached. `None` when nothing comes after.
pub(crate) async fn page_end(
    executor: impl PgExecutor<'_>,
    workspace: i64,
    after: u64,
    bounds: PageBounds,
) -> Result<Option<PageEnd>, StoreError> {
    // Sizes are summed along the index; what the page holds is read when its end is known, so an operation of a MiB is never read in vain.
    let row = sqlx::query!(
        r#"WITH page AS (
             SELECT version, sum(size) OVER (ORDER BY version) - size AS before
             FROM (SELECT version, size FROM operations WHERE workspace = $1 AND version > $2 ORDER BY version LIMIT $3) AS candidates
           )
           SELECT version, running_hash AS "running_hash!" FROM operations
           WHERE workspace = $1 AND signature IS NOT NULL AND version >= (SELECT max(version) FROM page WHERE before < $4)
           ORDER BY version LIMIT 1"#,
        workspace,
        signed(after),
        i64::from(bounds.operations),
        i64::from(bounds.bytes)
    );
    let row = row.fetch_optional(executor).await.map_err(StoreError::doing("cutting a page"))?;
    let end = |version: i64, running: &[u8]| -> Result<PageEnd, StoreError> {
        Ok(PageEnd { version: unsigned(version, "operations")?, running: RunningHash(bytes32(running, "operations")?) })
    };
    row.map(|row| end(row.version, &row.running_hash)).transpose()
}

/// The running hash at a version, when a segment ends there.
pub(crate) async fn running_at(pool: &PgPool, workspace: i64, version: u64) -> Result<Option<RunningHash>, StoreError> {
    let row = sqlx::query_scalar!("SELECT running_hash FROM operations WHERE workspace = $1 AND version = $2", workspace, signed(version));
    let row = row.fetch_optional(pool).await.map_err(StoreError::doing("reading the running hash"))?;
    row.flatten().map(|running| bytes32(&running, "operations").map(RunningHash)).transpose()
}

fn log_row(
    (version, hash): (i64, &[u8]),
    (header, payload): (&[u8], Vec<u8>),
    (signature, running): (Option<Vec<u8>>, Option<Vec<u8>>),
) -> Result<LogRow, StoreError> {
    let version = unsigned(version, "operations")?;
    let place = || format!("operation {version}");
    let hash = OpHash(bytes32(hash, &place())?);
    let (_, header) = Header::decode(header).map_err(|error| StoreError::corrupt(place(), error))?;
    let signature = signature.map(|bytes| bytes.as_slice().try_into().map(Signature));
    let signature = signature.transpose().map_err(|_| StoreError::corrupt(place(), "a signature that is none"))?;
    let running = running.map(|bytes| bytes32(&bytes, &place()).map(RunningHash)).transpose()?;
    let op = Arc::new(Op { hash, header, payload: payload.into(), attachment: None });
    Ok(LogRow { version, op, signature, running })
}
