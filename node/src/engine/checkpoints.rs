//! Checkpoints beside the writing: what changed is gathered by the writer, encoded and written by another thread.
//!
//! Gathering takes milliseconds; writing takes longer than anybody should wait for a key stroke. One checkpoint is written at a time. One
//! that could not be written changes nothing: the one before holds, what it would have held stays marked, and the journal has it all.

use std::sync::mpsc::{Receiver, Sender, channel};

use nodespace_protocol::store::{Saver, StoreError};

use super::DeviceReplica;

/// What the other thread gives back.
type Saved = (Box<dyn Saver>, Result<(), StoreError>);

pub(super) struct Checkpoints {
    /// The writer of checkpoints, while it rests.
    saver: Option<Box<dyn Saver>>,
    done: Receiver<Saved>,
    tell: Sender<Saved>,
    /// After a failure: not before so many bytes of journal wait for a checkpoint.
    not_before: u64,
}

/// After a failure so much more is written before the next try.
const RETRY_AFTER_BYTES: u64 = 8 << 20;

impl Checkpoints {
    pub(super) fn new(saver: Box<dyn Saver>) -> Self {
        let (tell, done) = channel();
        Self { saver: Some(saver), done, tell, not_before: 0 }
    }

    /// Begins a checkpoint, unless one is being written or failed a moment ago. Answers whether it did.
    ///
    /// # Errors
    /// When the store fails, or the system gives no thread.
    pub(super) fn begin(&mut self, replica: &mut DeviceReplica) -> Result<bool, StoreError> {
        if replica.store().bytes_since_checkpoint() < self.not_before {
            return Ok(false);
        }
        let Some(mut saver) = self.saver.take() else { return Ok(false) };
        let Some(prepared) = replica.prepare_checkpoint()? else {
            self.saver = Some(saver);
            return Ok(false);
        };
        let tell = self.tell.clone();
        let thread = std::thread::Builder::new().name("nodespace-checkpoint".into());
        let spawned = thread.spawn(move || {
            let outcome = prepared.save(&mut *saver);
            // Nobody listens any more when the writer has stopped; then nobody needs the outcome.
            tell.send((saver, outcome)).ok();
        });
        match spawned {
            Ok(_) => Ok(true),
            Err(error) => Err(StoreError::Environment { doing: "starting the thread that writes checkpoints", source: Box::new(error) }),
        }
    }

    /// Takes in the outcome of a checkpoint; waits for it if `wait`.
    pub(super) fn take_in(&mut self, replica: &mut DeviceReplica, wait: bool) {
        if self.saver.is_some() {
            return;
        }
        let saved = if wait { self.done.recv().ok() } else { self.done.try_recv().ok() };
        let Some((saver, outcome)) = saved else { return };
        self.saver = Some(saver);
        replica.finish_checkpoint(outcome.is_ok());
        self.not_before = match outcome {
            Ok(()) => 0,
            Err(error) => {
                tracing::warn!(%error, "no checkpoint could be written; the journal holds everything, it is tried again later");
                replica.store().bytes_since_checkpoint() + RETRY_AFTER_BYTES
            }
        };
    }
}
