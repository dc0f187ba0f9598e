//! Circuit relays, as the relays of all workspaces name them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::ids::WorkspaceId;

use crate::net::{Multiaddr, NetHandle};

/// Circuit relays that are used at one time; further ones are not.
const CARRIERS_MAX: usize = 8;

/// Which circuit relays each workspace's relay names. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Carriers(Arc<Mutex<BTreeMap<WorkspaceId, Vec<Multiaddr>>>>);

impl Carriers {
    /// A workspace's relay names these now; none when it has no relay any more. The network is told of all, when that changes anything.
    pub(super) async fn set(&self, net: &NetHandle, workspace: WorkspaceId, named: Vec<Multiaddr>) {
        if let Some(all) = self.change(workspace, named) {
            net.set_carriers(all).await;
        }
    }

    /// All there are after a change; nothing when it changes nothing.
    fn change(&self, workspace: WorkspaceId, named: Vec<Multiaddr>) -> Option<Vec<Multiaddr>> {
        let mut workspaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if named.is_empty() { workspaces.remove(&workspace) } else { workspaces.insert(workspace, named.clone()) };
        if before.unwrap_or_default() == named {
            return None;
        }
        let all: BTreeSet<_> = workspaces.values().flatten().cloned().collect();
        Some(all.into_iter().take(CARRIERS_MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workspaces_carriers_are_used_until_none_names_them() {
        let address = |port: u16| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap() };
        let (one, other) = (WorkspaceId([1; 32]), WorkspaceId([2; 32]));
        let carriers = Carriers::default();
        assert_eq!(carriers.change(one, vec![]), None);
        assert_eq!(carriers.change(one, vec![address(1)]), Some(vec![address(1)]));
        assert_eq!(carriers.change(one, vec![address(1)]), None, "nothing is new");
        assert_eq!(carriers.change(other, vec![address(1), address(2)]), Some(vec![address(1), address(2)]));
        assert_eq!(carriers.change(other, vec![]), Some(vec![address(1)]), "the other workspace still names it");
        assert_eq!(carriers.change(one, vec![]), Some(vec![]));
    }
}
