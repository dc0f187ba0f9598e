//! Nodes that are set aside, each on its own way to being settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nodespace_protocol::ids::NodeId;

use super::{ATTEMPTS_MAX, Intervention, NODE_RETRY_MS, NODE_STEP_MS_MAX, NODE_TRIES_MAX, NODES_ASIDE_MAX, RecoveryAction, Subject};
use crate::sync::backoff::{Backoff, Jitter};
use crate::sync::failure::SyncFailure;
use crate::sync::target::Target;

/// One node.
#[derive(Debug)]
struct Unsettled {
    /// With whom it went wrong: whose version it is compared with.
    target: Target,
    /// Failures so far.
    attempts: u32,
    backoff: Backoff,
    /// Whether the copies differ: nothing is gained by trying the same again.
    corrupt: bool,
    /// The gravest failure since the first: what a person is told of. A line that broke beside it says less.
    worst: Option<SyncFailure>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Until it is tried again.
    Waiting { until: u64 },
    /// A step is under way.
    Trying { deadline: u64 },
    /// For a person.
    Manual(Intervention),
}

/// All nodes that are set aside.
#[derive(Debug)]
pub(super) struct Nodes {
    seeds: Jitter,
    retry_ms: u64,
    unsettled: BTreeMap<NodeId, Unsettled>,
}

impl Nodes {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seeds: Jitter::new(seed), retry_ms: NODE_RETRY_MS, unsettled: BTreeMap::new() }
    }

    pub(super) const fn set_retry_ms(&mut self, retry_ms: u64) {
        self.retry_ms = retry_ms;
    }

    pub(super) fn len(&self) -> usize {
        self.unsettled.len()
    }

    pub(super) fn aside(&self) -> BTreeSet<NodeId> {
        self.unsettled.keys().cloned().collect()
    }

    pub(super) fn interventions(&self) -> impl Iterator<Item = &Intervention> {
        self.unsettled.values().filter_map(|node| match &node.phase {
            Phase::Manual(intervention) => Some(intervention),
            Phase::Waiting { .. } | Phase::Trying { .. } => None,
        })
    }

    /// Sets nodes aside. Those that are already keep their own clock: a sync that went wrong while they were on their way says nothing
    /// new about them. False when there is no room for all; then none is.
    pub(super) fn set_aside(&mut self, nodes: &BTreeSet<NodeId>, target: Target, failure: &SyncFailure, now: u64) -> bool {
        let fresh: Vec<&NodeId> = nodes.iter().filter(|node| !self.unsettled.contains_key(*node)).collect();
        if self.unsettled.len() + fresh.len() > NODES_ASIDE_MAX {
            return false;
        }
        let corrupt = matches!(failure, SyncFailure::DataCorruption { .. });
        for node in fresh {
            let mut backoff = Backoff::new(self.seeds.bits());
            let until = now.saturating_add(backoff.delay_ms(self.retry_ms));
            backoff.raise();
            let phase = Phase::Waiting { until };
            self.unsettled.insert(node.clone(), Unsettled { target, attempts: 1, backoff, corrupt, worst: None, phase });
        }
        for id in nodes {
            if let Some(node) = self.unsettled.get_mut(id) {
                node.corrupt |= corrupt;
                // As far as it is of this node.
                node.note(match corrupt {
                    true => SyncFailure::DataCorruption { node: Some(id.clone()) },
                    false => SyncFailure::ConflictResolutionFailed { nodes: BTreeSet::from([id.clone()]) },
                });
            }
        }
        true
    }

    pub(super) fn settled(&mut self, node: NodeId, actions: &mut VecDeque<RecoveryAction>) {
        if self.unsettled.remove(&node).is_some() {
            actions.push_back(RecoveryAction::Cleared(Subject::Node { node }));
        }
    }

    /// A step on a node failed. Anything but a step that is under way is not counted.
    pub(super) fn failed(&mut self, node: &NodeId, failure: SyncFailure, now: u64, actions: &mut VecDeque<RecoveryAction>) {
        let retry_ms = self.retry_ms;
        let Some(unsettled) = self.unsettled.get_mut(node) else { return };
        if matches!(unsettled.phase, Phase::Trying { .. })
            && let Some(intervention) = unsettled.escalate(node, failure, now, retry_ms)
        {
            actions.push_back(RecoveryAction::ManualIntervention(intervention));
        }
    }

    pub(super) fn retry(&mut self, node: &NodeId, now: u64) {
        if let Some(unsettled) = self.unsettled.get_mut(node) {
            unsettled.attempts = 1;
            unsettled.worst = None;
            unsettled.backoff.reset();
            unsettled.phase = Phase::Waiting { until: now };
        }
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.unsettled.values().filter_map(Unsettled::next).min()
    }

    /// Takes the steps that are due, and gives up those that take too long.
    pub(super) fn handle_timeout(&mut self, now: u64, actions: &mut VecDeque<RecoveryAction>) {
        let retry_ms = self.retry_ms;
        for (id, node) in self.unsettled.iter_mut().filter(|(_, node)| node.next().is_some_and(|at| at <= now)) {
            match node.phase {
                Phase::Waiting { .. } => actions.push_back(node.step(id, now)),
                Phase::Trying { .. } => {
                    let failure = SyncFailure::Timeout { waited_ms: NODE_STEP_MS_MAX };
                    let asked = node.escalate(id, failure, now, retry_ms);
                    actions.extend(asked.map(RecoveryAction::ManualIntervention));
                }
                Phase::Manual(_) => {}
            }
        }
    }
}

impl Unsettled {
    const fn next(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Trying { deadline } => Some(deadline),
            Phase::Manual(_) => None,
        }
    }

    fn step(&mut self, node: &NodeId, now: u64) -> RecoveryAction {
        self.phase = Phase::Trying { deadline: now.saturating_add(NODE_STEP_MS_MAX) };
        if self.corrupt || self.attempts > NODE_TRIES_MAX {
            RecoveryAction::ForceReconciliation { node: node.clone(), target: self.target }
        } else {
            RecoveryAction::TryNode { node: node.clone() }
        }
    }

    /// Remembers a failure unless a graver one is. That copies differ is graver than that a change waits for another.
    fn note(&mut self, failure: SyncFailure) {
        let gravity = |failure: &SyncFailure| (failure.remedy(), matches!(failure, SyncFailure::DataCorruption { .. }));
        if self.worst.as_ref().is_none_or(|worst| gravity(&failure) >= gravity(worst)) {
            self.worst = Some(failure);
        }
    }

    /// Once more, or a person.
    fn escalate(&mut self, node: &NodeId, failure: SyncFailure, now: u64, retry_ms: u64) -> Option<Intervention> {
        self.note(failure.clone());
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts <= ATTEMPTS_MAX {
            let until = now.saturating_add(self.backoff.delay_ms(retry_ms));
            self.backoff.raise();
            self.phase = Phase::Waiting { until };
            return None;
        }
        let failure = self.worst.clone().unwrap_or(failure);
        let intervention = Intervention { subject: Subject::Node { node: node.clone() }, attempts: self.attempts, failure };
        self.phase = Phase::Manual(intervention.clone());
        Some(intervention)
    }
}
