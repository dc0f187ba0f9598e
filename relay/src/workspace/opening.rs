//! Opening a replica: from this instance's checkpoint and the log after it, or from the log alone.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::opened::{Opened, Trust};
use super::turn::{NODE_CACHE_BYTES, TurnError, Workbench};
use super::{LogStore, RelayReplica};
use crate::checkpoints::{CheckpointFile, Place};
use crate::clock;
use crate::metrics::OpenedFrom;
use crate::store::{Epoch, StoreError, WorkspaceRow, operations};

/// Replicas opened at once in the whole instance: each keeps a thread, a connection and the disk busy, and the first ones are ready sooner.
const OPENINGS_MAX: usize = 4;

/// Lets so many be opened at once.
pub(super) fn openings() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(OPENINGS_MAX))
}

impl Workbench {
    /// Waits until a replica may be opened, when one has to be.
    pub(super) async fn may_open(&self, has_to_be: bool) -> Option<OwnedSemaphorePermit> {
        if has_to_be { Arc::clone(&self.openings).acquire_owned().await.ok() } else { None }
    }

    /// Opens the replica of the log as a row has it: from this instance's checkpoint, if it has one that fits, and what came since.
    pub(super) fn open(&self, row: &WorkspaceRow, epoch: Epoch, trust: Trust) -> Result<Opened, TurnError> {
        let started = std::time::Instant::now();
        let runtime = Handle::current();
        let file = self.checkpoints.take(self.workspace, &runtime);
        let mut log = LogStore::open(self.database.clone(), row.number, row.version, runtime, self.metrics.clone());
        let mut since = 0;
        if let Some(file) = file {
            let found = self.fitting(&file, row, epoch, trust)?;
            since = found.map_or(0, |(_, version)| version);
            log = log.with_checkpoints(file, found);
        }
        let mut replica = RelayReplica::open(self.workspace, log, None, clock::now())?;
        replica.set_cache_bytes(NODE_CACHE_BYTES);
        let used = replica.store().opened();
        if used == Some(false) {
            since = 0;
            if let Some(file) = replica.store().checkpoints() {
                self.throw_away(file, "its parts cannot be read");
            }
        }
        let from = if used == Some(true) { OpenedFrom::Checkpoint } else { OpenedFrom::Log };
        self.metrics.opened(from, started.elapsed());
        Ok(Opened::new(replica, row.number, epoch, since))
    }

    /// The checkpoint in a file when it is of this log: how many records it includes, and its version. One that is not is thrown away.
    fn fitting(&self, file: &CheckpointFile, row: &WorkspaceRow, epoch: Epoch, trust: Trust) -> Result<Option<(u64, u64)>, TurnError> {
        let misfit = match file.anchor() {
            Ok(None) => return Ok(None),
            Ok(Some(_)) if trust == Trust::LogAlone => "a turn failed with it".to_owned(),
            Ok(Some(anchor)) => match Place::decode(&anchor.place) {
                None => "it is of another form".to_owned(),
                Some(place) => match self.misfit(&place, row, epoch)? {
                    None => return Ok(Some((anchor.records, place.version))),
                    Some(misfit) => misfit.to_owned(),
                },
            },
            Err(error) => crate::store::chain(&error),
        };
        self.throw_away(file, &misfit);
        Ok(None)
    }

    fn misfit(&self, place: &Place, row: &WorkspaceRow, epoch: Epoch) -> Result<Option<&'static str>, StoreError> {
        if let Some(misfit) = place.misfit(&self.workspace, row, epoch) {
            return Ok(Some(misfit));
        }
        let running = match row.version == place.version {
            true => Some(row.running),
            false => {
                let reading = operations::running_at(self.database.read(), row.number, place.version);
                Handle::current().block_on(self.database.within(reading))?
            }
        };
        Ok((running != Some(place.running)).then_some("the log is another one up to where it ends"))
    }

    fn throw_away(&self, file: &CheckpointFile, why: &str) {
        tracing::warn!(workspace = %self.workspace.short(), why, "a checkpoint is thrown away, and the log read instead");
        self.metrics.checkpoint("thrown_away");
        if let Err(error) = file.start_over() {
            tracing::warn!(error = %crate::store::chain(&error), "a checkpoint that is of no use cannot be removed");
        }
    }
}
