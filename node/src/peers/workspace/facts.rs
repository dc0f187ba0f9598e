//! What is held here, as far as sync has to know it.

use std::collections::BTreeSet;

use nodespace_protocol::ids::{DeviceId, NodeId, OpHash};

use super::super::gossip::Channel;
use super::super::told::Told;
use super::WorkspaceSync;
use crate::engine::DeviceReplica;
use crate::model::ServiceError;
use crate::sync::status::StatusInput;
use crate::sync::{OrchestratorInput, RecoveryInput, Target};

/// Nodes that wait for operations, of which so many are looked at.
const WAITING_NODES_MAX: usize = 1_000;

/// What is held here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) digest: [u8; 32],
    pub(super) ops: u32,
    /// The heads of the membership's graph: when they change, so may everything about members.
    membership: Vec<OpHash>,
    pub(super) members: BTreeSet<DeviceId>,
    pub(super) has_genesis: bool,
    /// Operations that wait for others.
    pub(super) waiting: u64,
}

struct Looked {
    facts: Facts,
    channel: Option<Option<Channel>>,
}

fn look(replica: &DeviceReplica, known: &[OpHash], members: BTreeSet<DeviceId>) -> Looked {
    let membership = replica.membership();
    let changed = membership.heads() != known;
    let members = match changed {
        true => membership.members().into_iter().flat_map(|member| member.devices).collect(),
        false => members,
    };
    let facts = Facts {
        digest: replica.frontier_digest(),
        ops: replica.durable_ops(),
        membership: membership.heads().to_vec(),
        members,
        has_genesis: !membership.is_empty(),
        waiting: replica.waiting_ops(),
    };
    Looked { facts, channel: changed.then(|| Channel::of(membership)) }
}

impl WorkspaceSync {
    /// Reads anew what is held, and draws the conclusions.
    pub(super) async fn refresh(&mut self) -> Result<(), ServiceError> {
        let (known, members) = (self.facts.membership.clone(), self.facts.members.clone());
        let looked = self.setup.workspace.read(move |replica| look(replica, &known, members)).await?;
        let before = std::mem::replace(&mut self.facts, looked.facts);
        // A relay has nothing to do before there is something to sync.
        self.relaying.stale |= !before.has_genesis && self.facts.has_genesis && self.join.is_none();
        if before.digest != self.facts.digest || before.ops != self.facts.ops {
            let (digest, operations) = (self.facts.digest, u64::from(self.facts.ops));
            self.tell_board(StatusInput::Held { digest, operations });
        }
        if let Some(channel) = looked.channel {
            self.channel = channel;
            self.on_members(&before.members);
        }
        self.count_aside();
        Ok(())
    }

    /// Shows how many nodes are set aside.
    pub(super) fn count_aside(&self) {
        self.setup.monitor.set_aside(self.id(), self.recovery.aside_count());
    }

    /// The membership changed.
    fn on_members(&mut self, before: &BTreeSet<DeviceId>) {
        let members = self.facts.members.clone();
        let own = self.setup.own;
        for device in members.difference(before).filter(|device| **device != own) {
            self.tell_board(StatusInput::Known(Target::peer(*device)));
            if self.setup.connected.contains(device) {
                self.reachable(*device);
            }
        }
        for device in before.difference(&members) {
            let target = Target::peer(*device);
            self.suspects.remove(device);
            self.orchestrate(OrchestratorInput::Forget(target));
            self.recovery.handle(RecoveryInput::Forget(target), self.now());
            self.tell_board(StatusInput::Forget(target));
        }
        let topic = self.channel.as_ref().map(|channel| channel.topic().to_owned());
        let told = Told { workspace: self.id(), members, topic };
        self.setup.hub.tell(told);
    }

    /// Nodes whose operations wait for others, though a peer confirmed that it holds the same.
    pub(super) async fn waiting_nodes(&self) -> Result<BTreeSet<NodeId>, ServiceError> {
        if self.facts.waiting == 0 {
            return Ok(BTreeSet::new());
        }
        let waiting = |replica: &DeviceReplica| -> Result<BTreeSet<NodeId>, ServiceError> {
            let mut nodes = BTreeSet::new();
            for hash in replica.unfolded().into_iter().take(WAITING_NODES_MAX) {
                let op = replica.op(&hash).map_err(|error| ServiceError::of_store(&error))?;
                nodes.extend(op.and_then(|op| op.header.node.clone()));
            }
            Ok(nodes)
        };
        self.setup.workspace.read(waiting).await?
    }
}
