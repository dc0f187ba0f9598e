//! What recovery asks for, done over the network.

use std::collections::BTreeSet;
use std::time::Duration;

use nodespace_protocol::ids::{DeviceId, NodeId};
use tokio::sync::mpsc;

use super::super::host::Host;
use super::super::inspect;
use super::super::session::Order;
use super::{Input, Join, WorkspaceSync};
use crate::engine::Joining;
use crate::model::ServiceError;
use crate::net::NODE_PROTOCOL;
use crate::sync::status::StatusInput;
use crate::sync::{OrchestratorInput, RecoveryAction, RecoveryInput, SyncFailure, Target};

/// How long a question about a node may take.
const QUESTION_TIME: Duration = Duration::from_secs(20);

impl WorkspaceSync {
    pub(super) fn recover(&mut self, action: RecoveryAction) {
        self.setup.monitor.record_recovery(&action);
        match action {
            // What is set aside does not keep an attempt from succeeding (see `on_synced`); its operations are exchanged all the same.
            RecoveryAction::RetryWithBackoff { target, .. } | RecoveryAction::PartialSync { target, .. } => {
                self.orchestrate(OrchestratorInput::Retry(target));
            }
            RecoveryAction::RebuildSyncState { target } => self.rebuild(target),
            RecoveryAction::TryNode { node } => self.try_node(node),
            RecoveryAction::ForceReconciliation { node, target } => self.reconcile(node, target),
            RecoveryAction::ManualIntervention(case) => {
                tracing::warn!(workspace = %self.id().short(), %case, "help is wanted");
                self.tell_board(StatusInput::HelpWanted(case));
            }
            RecoveryAction::Cleared(subject) => self.tell_board(StatusInput::Cleared(subject)),
        }
    }

    /// Forgets what is remembered of a target: the session with it, and with that all it is known to hold. The next one begins from
    /// nothing, as soon as this one has ended (see `follow_up`).
    fn rebuild(&mut self, target: Target) {
        match target {
            Target::Peer { device } => {
                if let Some(live) = self.sessions.get(&device) {
                    live.handle.order(Order::Close);
                }
            }
            // It is begun anew when that is done.
            Target::Relay => return self.rebuild_relay(),
        }
        self.orchestrate(OrchestratorInput::Retry(target));
    }

    /// Looks whether a node's operations have been folded meanwhile.
    fn try_node(&self, node: NodeId) {
        let (workspace, inbox) = (self.setup.workspace.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let outcome = inspect::settled(&workspace, &node).await;
            inbox.send(Input::Node { node, outcome }).await;
        });
    }

    /// Asks a peer for its version of a node, or the relay for the canonical one, and compares.
    fn reconcile(&self, node: NodeId, target: Target) {
        let relay = self.relaying.preferred();
        let (workspace, inbox, net) = (self.setup.workspace.clone(), self.inbox.clone(), self.setup.net.clone());
        let connected = || self.sessions.iter().find(|(_, live)| live.is_synced()).map(|(device, _)| *device);
        let device = match target {
            Target::Peer { device } if self.setup.connected.contains(&device) => Some(device),
            Target::Relay if relay.is_some() => None,
            Target::Peer { .. } | Target::Relay => connected(),
        };
        if let (None, Some(relay)) = (device, relay) {
            return self.reconcile_with_relay(relay, node);
        }
        tokio::spawn(async move {
            let asked = async {
                let device = device.ok_or(SyncFailure::Unreachable)?;
                let stream = net.open(device, NODE_PROTOCOL).await.map_err(|_| SyncFailure::Unreachable)?;
                inspect::reconcile(&workspace, &node, stream).await
            };
            let outcome = tokio::time::timeout(QUESTION_TIME, asked).await;
            let late = SyncFailure::Timeout { waited_ms: u64::try_from(QUESTION_TIME.as_millis()).unwrap_or(u64::MAX) };
            inbox.send(Input::Node { node, outcome: outcome.unwrap_or(Err(late)) }).await;
        });
    }

    pub(super) fn on_node(&mut self, node: NodeId, outcome: Result<(), SyncFailure>) {
        let now = self.now();
        let input = match outcome {
            Ok(()) => RecoveryInput::Settled(node),
            Err(failure) => RecoveryInput::NodeFailed { node, failure },
        };
        self.recovery.handle(input, now);
    }

    /// This workspace is being joined: hosts that are connected are asked at once.
    pub(super) async fn on_join(
        &mut self,
        joining: Joining,
        hosts: BTreeSet<DeviceId>,
        refusals: mpsc::Sender<(Host, String)>,
    ) -> Result<(), ServiceError> {
        let relays = joining.relays.clone();
        let connected: Vec<DeviceId> = hosts.intersection(&self.setup.connected).copied().collect();
        // Before anything is read, which may fail: then it is gone on with later.
        self.join = Some(Join { joining, hosts, refusals });
        self.keep_relays_of_ticket(&relays).await?;
        self.relaying.stale = true;
        for device in connected {
            self.reachable(device);
            self.orchestrate(OrchestratorInput::Request(Some(Target::peer(device))));
        }
        Ok(())
    }

    /// Goes on with a join that an earlier run of this task was at, unless this device has become a member.
    pub(super) async fn resume_join(&mut self) -> Result<(), ServiceError> {
        match self.join.take() {
            Some(Join { joining, hosts, refusals }) if !self.facts.members.contains(&self.setup.own) => {
                self.on_join(joining, hosts, refusals).await
            }
            join => {
                self.join = join;
                Ok(())
            }
        }
    }
}
