//! A replica in memory, and how far its checkpoint lags behind.

use std::time::{Duration, Instant};

use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::replica::PreparedCheckpoint;
use nodespace_protocol::store::{Saver, Store as _, StoreError};
use tokio::sync::oneshot;

use super::RelayReplica;
use super::turn::NODE_CACHE_BYTES;
use crate::checkpoints::Place;
use crate::store::{Epoch, WorkspaceRow};

/// A checkpoint is due after a sixteenth of the operations that the last one includes, within these bounds. As many as the upper one says
/// an instance that was killed reads and folds again of each of its workspaces, and when it is back they are all asked for at once ..
const DUE_OPERATIONS: std::ops::RangeInclusive<u64> = 2_048..=4_096;
const DUE_PART: u64 = 16;
/// .. and not before the last one is so old: a workspace with thousands of writes a second is not to be saved all the time.
const DUE_AFTER: Duration = Duration::from_secs(2);
/// When a replica leaves memory, a checkpoint is made of it unless so few operations came since the last: those are read sooner.
const WORTHWHILE_OPERATIONS: u64 = 64;

/// What a replica takes in memory, about: for itself with its caches, and for each operation and node it knows of.
const REPLICA_BYTES: u64 = NODE_CACHE_BYTES as u64 + (3 << 19);
const OP_BYTES: u64 = 16;
const NODE_BYTES: u64 = 250;

/// What a replica may be opened from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// This instance's checkpoint, and the log after it.
    Checkpoint,
    /// The log, all of it.
    LogAlone,
}

/// A replica and the log it is of.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) replica: RelayReplica,
    number: i64,
    epoch: Epoch,
    /// The workspace's row as it was where it stands, when the rows of nodes show everything it has folded. Else a checkpoint would include
    /// what nobody would then write to those rows any more.
    settled: Option<WorkspaceRow>,
    /// The version that the last checkpoint includes, or the one that is being saved.
    saved: u64,
    saved_at: Instant,
    saving: Option<oneshot::Receiver<Result<(), StoreError>>>,
}

/// A checkpoint on its way to the disk, with what keeps it.
pub(super) struct Leaving {
    pub(super) checkpoint: PreparedCheckpoint,
    pub(super) saver: Box<dyn Saver>,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

impl Opened {
    /// A replica that was opened from a checkpoint of the version `saved`, or 0.
    pub(super) fn new(replica: RelayReplica, number: i64, epoch: Epoch, saved: u64) -> Self {
        Self { replica, number, epoch, settled: None, saved, saved_at: Instant::now(), saving: None }
    }

    /// Whether it is of the log that a row speaks for.
    pub(super) const fn is_of(&self, row: &WorkspaceRow, epoch: Epoch) -> bool {
        self.number == row.number && self.epoch == epoch
    }

    /// How many operations it lacks of a version.
    pub(super) fn behind(&self, version: u64) -> u64 {
        version.saturating_sub(self.replica.store().committed())
    }

    /// What it folded is in the database, up to where the workspace's row says.
    pub(super) fn settle_at(&mut self, row: WorkspaceRow) {
        self.settled = Some(row);
    }

    /// The workspace's row as it was where it stands, if the rows of nodes show everything it has folded.
    pub(super) const fn settled(&self) -> Option<&WorkspaceRow> {
        self.settled.as_ref()
    }

    /// Whether the rows of nodes show everything it has folded.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// It is about to fold more.
    pub(super) fn unsettle(&mut self) {
        self.settled = None;
    }

    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> u64 {
        let (operations, nodes) = (self.replica.store().committed(), self.replica.known_nodes() as u64);
        REPLICA_BYTES + operations * OP_BYTES + nodes * NODE_BYTES + self.replica.dirty_bytes() as u64
    }

    fn since_checkpoint(&self) -> u64 {
        self.replica.store().committed().saturating_sub(self.saved)
    }

    /// Whether a checkpoint should be made now, beside the turns.
    pub(super) fn is_due(&self) -> bool {
        let after = (self.saved / DUE_PART).clamp(*DUE_OPERATIONS.start(), *DUE_OPERATIONS.end());
        self.can_be_saved() && self.since_checkpoint() >= after && self.saved_at.elapsed() >= DUE_AFTER
    }

    /// Whether a checkpoint should be made before it leaves memory.
    pub(super) fn is_worthwhile(&self) -> bool {
        self.can_be_saved() && self.since_checkpoint() >= WORTHWHILE_OPERATIONS
    }

    fn can_be_saved(&self) -> bool {
        self.is_settled() && self.saving.is_none() && self.replica.store().checkpoints().is_some()
    }

    /// Takes up what changed since the last checkpoint. It does not change while it is saved elsewhere.
    pub(super) fn prepare(&mut self, workspace: WorkspaceId) -> Result<Option<Leaving>, StoreError> {
        let Some(running) = self.settled.as_ref().map(|row| row.running) else { return Ok(None) };
        let version = self.replica.store().committed();
        self.replica.store().end_checkpoint_at(Place { workspace, number: self.number, epoch: self.epoch, version, running });
        let saver = self.replica.store().saver();
        let Some(checkpoint) = self.replica.prepare_checkpoint()? else { return Ok(None) };
        let (done, saving) = oneshot::channel();
        (self.saved, self.saved_at, self.saving) = (version, Instant::now(), Some(saving));
        Ok(Some(Leaving { checkpoint, saver, done }))
    }

    /// Takes in what came of the checkpoint that was being saved, if that is known.
    pub(super) fn take_in_saved(&mut self) {
        let outcome = match self.saving.as_mut().map(oneshot::Receiver::try_recv) {
            None | Some(Err(oneshot::error::TryRecvError::Empty)) => return,
            Some(Ok(outcome)) => outcome,
            Some(Err(oneshot::error::TryRecvError::Closed)) => {
                Err(StoreError::Environment { doing: "saving a checkpoint", source: "the thread ended early".into() })
            }
        };
        self.note_saved(outcome);
    }

    /// Waits for what comes of the checkpoint that is being saved.
    pub(super) async fn await_saved(&mut self) {
        let Some(saving) = self.saving.take() else { return };
        let ended = |_| Err(StoreError::Environment { doing: "saving a checkpoint", source: "the thread ended early".into() });
        let outcome = saving.await.unwrap_or_else(ended);
        self.note_saved(outcome);
    }

    fn note_saved(&mut self, outcome: Result<(), StoreError>) {
        self.saving = None;
        // One that was not kept changes nothing: what it would have held is part of the next one, which comes as if it had been.
        self.replica.finish_checkpoint(outcome.is_ok());
        if let Err(error) = outcome {
            tracing::warn!(error = %crate::store::chain(&error), "a checkpoint was not kept; the log has everything");
        }
    }
}
