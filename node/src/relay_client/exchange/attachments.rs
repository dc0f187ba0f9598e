//! Attachments that the relay has not got though it holds the operations that name them: its storage failed or was full, or lost them, or
//! they did not fit into a packet.
//!
//! Once everything else is there it is asked about them, in order of arrival here, a stretch at a time, and given what it lacks and this
//! device has. How far that has come is remembered; once a day it begins anew. That some are missing is no failure of the exchange: an
//! embedding can be computed again.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::ids::OpHash;
use nodespace_protocol::store::{OpIndex, Store as _, StoreError};

use super::super::api::ATTACHMENTS_MAX;
use super::super::error::RelayError;
use super::super::plan::is_sound;
use super::Attempt;
use crate::engine::{DeviceReplica, attachment_of};
use crate::model::ServiceError;
use crate::sync::SyncCounts;

/// Operations that are looked at in one read, which holds up writers.
const STRETCH_OPS: u32 = 2_048;
/// Stretches of one exchange; the next one goes on.
const STRETCHES_MAX: u32 = 32;
/// Bytes of attachments in one request, about: no more than what a packet has.
const UPLOAD_BYTES_AIM: usize = 2 << 20;
/// For how long a relay that cannot take them is left alone with them, in milliseconds.
const PAUSE_MS: u64 = 300_000;
/// The same for one that has no room for them, or is too old to be asked.
const LONG_PAUSE_MS: u64 = 3_600_000;

/// Attachments of operations up to a position, by hash, with one operation that has each.
struct Stretch {
    through: u32,
    held: BTreeMap<OpHash, OpIndex>,
}

/// What goes into one request, and the operations of what is left.
struct Batch {
    attachments: Vec<(OpHash, Vec<u8>)>,
    left: Vec<OpIndex>,
}

impl<P: Fn(SyncCounts) + Send + Sync> Attempt<'_, P> {
    /// Gives the relay the attachments it lacks, of the operations before `end`, all of which it holds.
    ///
    /// # Errors
    /// When the store fails; what the relay does not take is tried again later.
    pub(super) async fn bring_attachments_up(&mut self, end: u32) -> Result<(), RelayError> {
        let now_ms = self.exchange.clock.now_ms();
        if !self.exchange.api.takes_attachments(now_ms) {
            return Ok(());
        }
        self.memory.begin_attachments(end, now_ms);
        match self.bring_stretches(end).await {
            Err(error) if error.is_of_this_relay() => {
                tracing::warn!(relay = %self.exchange.api.url(), %error, "attachments that the relay may lack are brought later");
                let is_full = matches!(&error, RelayError::Refused(refusal) if refusal.code == "quota_exceeded");
                self.exchange.api.put_attachments_off(now_ms + if is_full { LONG_PAUSE_MS } else { PAUSE_MS });
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Goes on for some stretches.
    async fn bring_stretches(&mut self, end: u32) -> Result<(), RelayError> {
        for _ in 0..STRETCHES_MAX {
            let from = self.memory.attachments_through;
            if from >= end {
                break;
            }
            let stretch = self.exchange.workspace.read(move |replica| stretch(replica, from..end)).await?.map_err(ServiceError::from)?;
            let asked: Vec<OpHash> = stretch.held.keys().copied().collect();
            if !asked.is_empty() {
                self.exchange.log_in(Some(self.relay), true).await?;
                let Some(missing) = self.exchange.api.missing_attachments(&asked).await? else {
                    tracing::debug!(relay = %self.exchange.api.url(), "the relay cannot be asked which attachments it lacks");
                    self.exchange.api.put_attachments_off(self.exchange.clock.now_ms() + LONG_PAUSE_MS);
                    return Ok(());
                };
                self.upload(&stretch, missing).await?;
                (self.exchange.progress)(self.counts);
            }
            self.memory.attachments_through = stretch.through;
            self.save(Vec::new()).await?;
        }
        Ok(())
    }

    /// Uploads those of a stretch that are missing, request by request.
    async fn upload(&self, stretch: &Stretch, missing: Vec<OpHash>) -> Result<(), RelayError> {
        let missing: BTreeSet<OpHash> = missing.into_iter().collect();
        // What was not asked about is not looked for.
        let mut left: Vec<OpIndex> = stretch.held.iter().filter(|(hash, _)| missing.contains(hash)).map(|(_, index)| *index).collect();
        if !left.is_empty() {
            tracing::info!(relay = %self.exchange.api.url(), count = left.len(), "the relay is given attachments that it lacks");
        }
        while !left.is_empty() {
            let next = self.exchange.workspace.read(move |replica| batch(replica, left)).await?.map_err(ServiceError::from)?;
            self.exchange.api.upload_attachments(next.attachments).await?;
            (self.exchange.progress)(self.counts);
            left = next.left;
        }
        Ok(())
    }
}

/// The attachments held here of operations from a position on; not those that a relay would not take inside a packet either.
fn stretch(replica: &DeviceReplica, within: std::ops::Range<u32>) -> Result<Stretch, StoreError> {
    let last = within.end.min(within.start.saturating_add(STRETCH_OPS));
    let mut found = Stretch { through: within.start, held: BTreeMap::new() };
    while found.through < last && found.held.len() < ATTACHMENTS_MAX {
        let index = OpIndex(found.through);
        let op = replica.store().op(index)?;
        if let (Some(blob), Some(bytes)) = (op.header.attachment, attachment_of(replica, &op)?)
            && is_sound(op.header.kind, op.header.payload.encryption, &op.payload, &bytes)
        {
            found.held.insert(OpHash(blob.hash), index);
        }
        found.through += 1;
    }
    Ok(found)
}

/// As many attachments as go into one request.
fn batch(replica: &DeviceReplica, mut left: Vec<OpIndex>) -> Result<Batch, StoreError> {
    let (mut attachments, mut bytes) = (Vec::new(), 0);
    while bytes < UPLOAD_BYTES_AIM
        && let Some(index) = left.pop()
    {
        let op = replica.store().op(index)?;
        let Some((blob, attachment)) = op.header.attachment.zip(attachment_of(replica, &op)?) else { continue };
        bytes += attachment.len();
        attachments.push((OpHash(blob.hash), attachment.to_vec()));
    }
    Ok(Batch { attachments, left })
}
