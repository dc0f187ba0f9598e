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
    /// A workspace's relay names these now. The network is told of all, when that changes anything.
    pub(super) async fn set(&self, net: &NetHandle, workspace: WorkspaceId, named: Vec<Multiaddr>) {
        let all = {
            let mut workspaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if workspaces.insert(workspace, named.clone()).unwrap_or_default() == named {
                return;
            }
            workspaces.values().flatten().cloned().collect::<BTreeSet<_>>()
        };
        net.set_carriers(all.into_iter().take(CARRIERS_MAX).collect()).await;
    }
}
