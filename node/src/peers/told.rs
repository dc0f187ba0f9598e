//! What workspaces tell the hub of who belongs to them.
//!
//! A workspace that tells must not wait: the hub may be waiting for that workspace. What it tells is all there is to know, so of each
//! workspace the latest is kept and nothing else: the hub may be as slow as it likes, and nothing piles up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nodespace_protocol::ids::{DeviceId, WorkspaceId};
use tokio::sync::Notify;

/// A workspace's membership, as its sync tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) workspace: WorkspaceId,
    pub(super) members: BTreeSet<DeviceId>,
    pub(super) topic: Option<String>,
}

/// Where it is told, and read by the hub alone. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tellings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    latest: Mutex<BTreeMap<WorkspaceId, Told>>,
    /// Something was told.
    news: Notify,
}

impl Tellings {
    /// Tells it, in the place of what the workspace told before and nobody has read.
    pub(super) fn tell(&self, told: Told) {
        self.lock().insert(told.workspace, told);
        self.0.news.notify_one();
    }

    /// The next to read. May be cancelled: nothing is lost.
    pub(super) async fn next(&self) -> Told {
        loop {
            let next = self.lock().pop_first();
            if let Some((_, told)) = next {
                return told;
            }
            // Of what comes between looking and waiting a permit is kept.
            self.0.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkspaceId, Told>> {
        // Nothing in here panics half-way.
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(workspace: u8, members: u8) -> Told {
        let members = (0..members).map(|number| DeviceId([number; 32])).collect();
        Told { workspace: WorkspaceId([workspace; 32]), members, topic: None }
    }

    #[tokio::test]
    async fn of_each_workspace_the_latest_is_read_once() {
        let tellings = Tellings::default();
        for members in 0..100 {
            tellings.tell(told(1, members));
            tellings.tell(told(2, members));
        }
        assert_eq!([tellings.next().await, tellings.next().await], [told(1, 99), told(2, 99)]);
        let reader = tellings.clone();
        let reading = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        tellings.tell(told(1, 1));
        assert_eq!(reading.await.unwrap(), told(1, 1));
    }
}
