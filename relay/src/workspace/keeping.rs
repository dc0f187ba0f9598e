//! Checkpoints beside the turns: what changed is gathered between two turns, encoded and written by another thread.
//!
//! Nobody waits for them: a turn's answers have been given before its checkpoint is begun, and one is written at a time in the whole
//! instance, so that the disk is left to the database. One that fails is logged and changes nothing.

use nodespace_protocol::store::StoreError;

use super::opened::{Leaving, Opened};
use super::turn::{TurnError, Workbench, in_thread};

impl Workbench {
    /// Takes in a checkpoint that was written, and begins one when enough has changed.
    pub(super) async fn keep(&self, opened: &mut Option<Opened>) {
        let Some(now) = opened else { return };
        now.take_in_saved();
        if now.is_due() {
            self.begin(opened).await;
        }
    }

    /// Makes a last checkpoint of a replica that leaves memory, if that is worth it, and waits until it is written.
    pub(super) async fn keep_last(&self, opened: &mut Option<Opened>) {
        if let Some(now) = opened {
            now.await_saved().await;
            if now.is_worthwhile() {
                self.begin(opened).await;
            }
        }
        if let Some(now) = opened {
            now.await_saved().await;
        }
        *opened = None;
    }

    async fn begin(&self, opened: &mut Option<Opened>) {
        let Some(mut now) = opened.take() else { return };
        let workspace = self.workspace;
        let prepared = in_thread(move || {
            let leaving = now.prepare(workspace)?;
            Ok((now, leaving))
        });
        match prepared.await {
            Ok((now, leaving)) => {
                *opened = Some(now);
                if let Some(leaving) = leaving {
                    tokio::spawn(self.clone().save(leaving));
                }
            }
            // The replica is gone, and opened again when it is needed.
            Err(error) => tracing::warn!(error = %crate::store::chain(&error), "no checkpoint could be made"),
        }
    }

    async fn save(self, leaving: Leaving) {
        let Leaving { checkpoint, mut saver, done } = leaving;
        let _permit = self.checkpoints.may_save().await;
        let saved = in_thread(move || checkpoint.save(&mut *saver).map_err(TurnError::from)).await;
        self.metrics.checkpoint(if saved.is_ok() { "kept" } else { "failed" });
        let outcome = saved.map_err(|error| match error {
            TurnError::Replica(error) => error,
            other => StoreError::Environment { doing: "saving a checkpoint", source: Box::new(other) },
        });
        // When the replica has been dropped meanwhile nobody wants to know.
        done.send(outcome).ok();
    }
}
