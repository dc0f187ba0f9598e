//! A turn in one statement, when no other instance writes to the workspace.
//!
//! Usually one instance writes to a workspace. Its replica then stands where the workspace's row does, so packets are folded first and
//! written by one statement that moves the row from there, or does nothing. That is one round trip instead of four, which turns of other
//! workspaces share (see `store/lanes.rs`), and the row is locked for the statement alone. When another instance has written,
//! the row does not stand there any more: what was folded is thrown away, and turns lock the row first, until for many turns nobody else
//! was noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::opened::Opened;
use super::push::PushJob;
use super::turn::{Outcome, TurnError, Workbench, Written, in_thread};
use crate::store::{StoreError, WorkspaceRow};

/// Turns that lock the row first after another instance's writing was noticed: what a turn in vain costs is spread over as many.
const LOCKED_TURNS: u32 = 64;

/// Whether others write to the workspace, too: how many turns are to lock its row first.
#[derive(Clone, Debug, Default)]
pub(super) struct Company(Arc<AtomicU32>);

impl Company {
    /// A turn has locked the row, and found it where its replica stood, or not.
    pub(super) fn note(&self, alone: bool) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(if alone { left.saturating_sub(1) } else { LOCKED_TURNS }, Ordering::Relaxed);
    }

    fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Workbench {
    /// Makes a turn in one go, if that can be hoped for. `None` when it came to nothing: then the row is locked first.
    pub(super) async fn at_once(&self, opened: &mut Option<Opened>, jobs: &Arc<Vec<PushJob>>) -> Result<Option<Outcome>, TurnError> {
        let Some(row) = opened.as_ref().and_then(|opened| self.stands_at(opened, jobs)) else { return Ok(None) };
        let Some(mut now) = opened.take() else { return Ok(None) };
        let (bench, at, all) = (self.clone(), row, Arc::clone(jobs));
        let (now, mut answers, written) = in_thread(move || {
            let (answers, written) = bench.fold(&mut now, &at, &all)?;
            Ok((now, answers, written))
        })
        .await?;
        if !written.is_needed() {
            // Whether all of it is stored the database is to say.
            *opened = Some(now);
            return Ok(None);
        }
        if written.turn.operations.len() == 0 {
            // It leaves the row where it stands: that nobody has written the same nodes meanwhile is known under the lock alone.
            return Ok(None);
        }
        if !self.write_at_once(&written).await? {
            tracing::debug!(workspace = %self.workspace.short(), "another instance has written meanwhile");
            self.company.note(false);
            return Ok(None);
        }
        Ok(Some(self.conclude(opened, now, &written, jobs, &mut answers).await))
    }

    /// The row that a replica stands at, when it is likely that the workspace does, too.
    fn stands_at(&self, opened: &Opened, jobs: &[PushJob]) -> Option<WorkspaceRow> {
        let row = opened.settled()?;
        let is_current = opened.is_of(row, self.database.epoch().current()) && opened.behind(row.version) == 0;
        let fits = |job: &PushJob| job.seen_version <= row.version && !job.founds();
        // Without packets there is nothing that moves the row: see `at_once`.
        (self.company.is_none() && is_current && !jobs.is_empty() && jobs.iter().all(fits)).then(|| row.clone())
    }

    async fn write_at_once(&self, written: &Written) -> Result<bool, StoreError> {
        if written.is_at_once() {
            return self.database.write_turn(&written.turn).await;
        }
        let in_one_transaction = async {
            let mut transaction = self.database.write().begin().await.map_err(StoreError::doing("beginning a turn"))?;
            let moved = written.write(&mut transaction).await?;
            transaction.commit().await.map_err(StoreError::doing("committing a turn"))?;
            Ok(moved)
        };
        self.database.within(in_one_transaction).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Company, LOCKED_TURNS};

    #[test]
    fn after_company_many_turns_pass_before_one_is_alone_again() {
        let company = Company::default();
        assert!(company.is_none());
        company.note(false);
        for _ in 1..LOCKED_TURNS {
            company.note(true);
            assert!(!company.is_none());
        }
        company.note(true);
        assert!(company.is_none());
        company.note(true);
        assert!(company.is_none());
    }
}
