//! What a swarm runs beside its own loop: the tasks of handshakes and connections.
//!
//! When one of them panics nobody is told. The swarm believes for ever in a connection whose task is gone: it is counted, streams are opened
//! over it, gossip takes it for one that stands; and one that was being made keeps its place at the door. No deadline mends that, since the
//! swarm cannot be told to forget a connection. So each task is watched, and after a fault in one the swarm is built anew, as after a fault
//! in its loop.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt as _;
use libp2p::swarm::Executor;
use tokio::sync::Notify;

/// Runs the tasks of one swarm, and notices when one panics. Clones share that.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    faults: Arc<Notify>,
}

impl Tasks {
    /// Waits until one has panicked, if none has yet.
    pub(super) async fn fault(&self) {
        self.faults.notified().await;
    }
}

impl Executor for Tasks {
    fn exec(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let faults = Arc::clone(&self.faults);
        tokio::spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                faults.notify_one();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_ends_is_not() {
        let tasks = Tasks::default();
        let (done, is_done) = oneshot::channel();
        tasks.exec(Box::pin(async move { done.send(()).unwrap() }));
        is_done.await.unwrap();
        assert!(tasks.fault().now_or_never().is_none());
        tasks.exec(Box::pin(poll_fn(|_| -> Poll<()> { panic!("a fault on purpose") })));
        tasks.fault().await;
        assert!(tasks.fault().now_or_never().is_none(), "it is told once");
    }
}
