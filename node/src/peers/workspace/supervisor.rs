//! Keeps a workspace synced, and has nobody called synced while it is not.
//!
//! "Synced" is taken back by nobody but the task that syncs. So when its work ends and nobody has asked for that, by a fault of ours or
//! because what is held here cannot be read, everybody is shown as failing before anything else is done. Then it is begun anew after a while,
//! from what is held here: of what was known it keeps who is connected, a join that is under way, and whom to trust less. Of a workspace whose writer has ended
//! nothing can be read any more, so there it stays like that until the device is started anew.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use nodespace_protocol::ids::DeviceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::{Inbox, Input, Join, Setup, WorkspaceSync};
use crate::model::ServiceError;
use crate::sync::SyncFailure;
use crate::sync::backoff::Backoff;

/// After a run that lasted so long the next pause is short again.
const LASTING: Duration = Duration::from_secs(60);

/// Who is to be told that it has stopped.
type Asked = Option<oneshot::Sender<()>>;

/// Syncs a workspace until it is told to stop.
pub(super) async fn supervise(setup: Setup, inbox: Inbox, mut inputs: mpsc::Receiver<Input>) {
    let (mut backoff, retry_ms) = (Backoff::new(setup.seed), setup.options.pace.retry_ms.max(1));
    let mut sync = WorkspaceSync::new(setup, inbox);
    loop {
        let began = Instant::now();
        let ended = AssertUnwindSafe(sync.run(&mut inputs)).catch_unwind().await;
        let failure = match ended {
            Ok(Ok(asked)) => return sync.stop(asked, &mut inputs).await,
            Ok(Err(error)) => sync.unread(&error),
            Err(_) => {
                tracing::error!(workspace = %sync.id().short(), "a fault in the sync of a workspace; it is begun anew, please report it");
                Some(SyncFailure::Fault)
            }
        };
        if let Some(failure) = &failure {
            sync.give_up(failure);
        }
        if began.elapsed() >= LASTING {
            backoff.reset();
        }
        let pause = Duration::from_millis(backoff.delay_ms(retry_ms));
        backoff.raise();
        sync = sync.anew();
        if let ControlFlow::Break(asked) = sync.pause(&mut inputs, pause).await {
            return sync.stop(asked, &mut inputs).await;
        }
    }
}

impl WorkspaceSync {
    /// What it means that nothing of the workspace could be read: nothing, when the device has let go of it and we are about to hear so.
    fn unread(&self, error: &ServiceError) -> Option<SyncFailure> {
        self.setup.device.open_workspace(self.id())?;
        tracing::error!(workspace = %self.id().short(), %error, "what is held here cannot be read: it is synced with nobody until it can");
        Some(SyncFailure::StoreFailed)
    }

    /// Shows that it is synced with nobody, and answers those who wait.
    fn give_up(&mut self, failure: &SyncFailure) {
        // What was shown last, not what the machines say: they may be at fault.
        let status = self.setup.workspace.watch_sync_status().borrow().clone().given_up(failure);
        self.setup.monitor.set_status(self.id(), &status);
        self.setup.workspace.publish_sync_status(status.clone());
        self.answer_waiters(&status);
        for target in status.targets.iter().map(|status| status.target) {
            let began = self.attempts.values().find(|(other, _)| *other == target).map(|(_, since)| *since);
            self.count_failure(target, began, failure);
        }
    }

    /// With nothing known but who is connected, who is being joined, what peers have said too much, who broke the protocol, and who showed
    /// another state: a fault of ours makes nobody better. Sessions end with what is dropped here; what they and other tasks still tell is of
    /// other numbers than those to come.
    fn anew(self) -> Self {
        let now = self.now();
        let Self { setup, inbox, budgets, join, serial, suspects, penalties, .. } = self;
        Self { budgets, join, serial, suspects, penalties: counted_from(now, penalties), ..Self::new(setup, inbox) }
    }

    /// Waits before it begins, and hears what happens meanwhile. Where nothing can be read any more it waits to be told to stop.
    async fn pause(&mut self, inputs: &mut mpsc::Receiver<Input>, pause: Duration) -> ControlFlow<Asked> {
        let workspace = self.setup.workspace.clone();
        let over = async {
            tokio::select! {
                () = sleep(pause) => {}
                () = workspace.ended() => std::future::pending::<()>().await,
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return ControlFlow::Continue(()),
                input = inputs.recv() => match input {
                    Some(Input::Stop(asked)) => return ControlFlow::Break(Some(asked)),
                    Some(input) => self.take_note(input),
                    None => return ControlFlow::Break(None),
                },
            }
        }
    }

    /// Remembers what is still true when it begins anew.
    fn take_note(&mut self, input: Input) {
        match input {
            Input::Connected(device) => {
                self.setup.connected.insert(device);
            }
            Input::Disconnected(device) => {
                self.setup.connected.remove(&device);
            }
            Input::Join { joining, hosts, refusals } => self.join = Some(Join { joining: *joining, hosts, refusals }),
            Input::SyncNow { answer, .. } => {
                let status = self.setup.workspace.watch_sync_status().borrow().clone();
                // Whoever asked may have gone.
                answer.send(Ok(status)).ok();
            }
            // A stream that is dropped is closed: whoever opened it tries again. So is an operation that came by gossip: it comes by a session.
            Input::Incoming { .. }
            | Input::Opened { .. }
            | Input::Gossip(_)
            | Input::Gap(_)
            | Input::Note { .. }
            | Input::Ended { .. }
            | Input::Relay(_)
            | Input::Late(_)
            | Input::Node { .. }
            | Input::Stop(_) => {}
            #[cfg(test)]
            Input::Fail(_) => {}
        }
    }
}

/// Times as a clock tells them that begins now.
fn counted_from(now: u64, times: BTreeMap<DeviceId, u64>) -> BTreeMap<DeviceId, u64> {
    times.into_iter().map(|(device, time)| (device, time.saturating_sub(now))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_last_as_long_as_they_would_have() {
        let [long, over] = [DeviceId([1; 32]), DeviceId([2; 32])];
        assert_eq!(counted_from(70, [(long, 100), (over, 50)].into()), [(long, 30), (over, 0)].into());
    }
}
