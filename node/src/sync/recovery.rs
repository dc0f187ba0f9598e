//! What to do when a sync fails: from trying again to asking a person. The document's `SyncRecovery`.
//!
//! Each failure is answered by the mildest step that can help (see [`SyncFailure::remedy`]): try again after a while; go on without the
//! nodes that cannot be settled; make what is remembered of a target anew. A node that was set aside is tried again by itself, then
//! reconciled against the canonical version, on its own clock, while everything else is synced. After [`ATTEMPTS_MAX`] attempts, of a
//! target or of a node, a person is asked, once, with words that say what to do. No step ever drops an operation: what is set aside is
//! stored, and what is made anew is only what was *remembered* of the other side.
//!
//! ```text
//!   target:  failed -> (wait 1, 2, 4, 8, 16 s) -> RetryWithBackoff | PartialSync | RebuildSyncState -> ... -> ManualIntervention
//!   node:    set aside -> (wait) -> TryNode, twice -> ForceReconciliation, three times -> ManualIntervention
//!   either:  success -> Cleared
//!   target:  operations arrived -> the next failure is the first, unless the copies differ
//! ```
//!
//! Differences from the document: it asks a person at once for whatever it does not know; here only where waiting cannot help. And
//! while a person is waited for, [`SyncOrchestrator`](super::SyncOrchestrator) goes on asking in its slow rhythm, so that a cable that was
//! plugged in again needs no command.
//!
//! Document section "Sync Failure Recovery"; DESIGN section 13.

mod intervention;
mod nodes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nodespace_protocol::ids::NodeId;

pub use self::intervention::{Intervention, Subject};
use self::nodes::Nodes;
use super::backoff::{Backoff, Jitter};
use super::failure::{Remedy, SyncFailure};
use super::target::Target;

/// Attempts after which a person is asked: the document's 5. The failure after the fifth is the one that asks.
pub const ATTEMPTS_MAX: u32 = 5;
/// How long the first step on a target waits, in milliseconds; doubled with each attempt up to sixteen times, with jitter.
pub const RETRY_MS: u64 = 1_000;
/// How long the first step on a node waits, in milliseconds; doubled and with jitter likewise. Longer, as a node needs somebody's next edit
/// or choice rather than a moment.
pub const NODE_RETRY_MS: u64 = 10_000;
/// How long first steps wait. [`RETRY_MS`] and [`NODE_RETRY_MS`] unless somebody has reason to hurry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// On a target, in milliseconds.
    pub retry_ms: u64,
    /// On a node, in milliseconds.
    pub node_retry_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { retry_ms: RETRY_MS, node_retry_ms: NODE_RETRY_MS }
    }
}

/// How long a step on a node may take, in milliseconds. After that it counts as failed.
pub const NODE_STEP_MS_MAX: u64 = 60_000;
/// Attempts on a node that only try it again. Later ones reconcile it by force.
pub const NODE_TRIES_MAX: u32 = 2;
/// Nodes that can be set aside at one time. When more cannot be settled the fault is not theirs: what is remembered of the target is made
/// anew instead.
pub const NODES_ASIDE_MAX: usize = 10_000;
/// Targets that can be in trouble at one time. Failures of further ones are left to the orchestrator's rhythm.
pub const TARGETS_MAX: usize = super::orchestrator::TARGETS_MAX;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryInput {
    /// A sync failed.
    Failed {
        /// With whom.
        target: Target,
        /// How.
        failure: SyncFailure,
    },
    /// Operations arrived in a sync that is under way. They stay, so should it fail all the same, that counts as the first time.
    Received(Target),
    /// A sync succeeded, perhaps without the nodes that are set aside.
    Succeeded(Target),
    /// A node is settled: its operations fold, its conflict is resolved, or it agrees with the canonical version.
    Settled(NodeId),
    /// A step on a node failed.
    NodeFailed {
        /// Which node.
        node: NodeId,
        /// How.
        failure: SyncFailure,
    },
    /// Somebody has done something about it: it begins anew, at once.
    RetryByHand(Subject),
    /// The target is no more. Nodes that were set aside because of it remain so until they are settled.
    Forget(Target),
}

/// What the driver is to do. The document's `RecoveryAction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryAction {
    /// Sync again with it.
    RetryWithBackoff {
        /// With whom.
        target: Target,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Sync again with it, without settling these nodes: their operations are exchanged and stored all the same.
    PartialSync {
        /// With whom.
        target: Target,
        /// All nodes that are set aside.
        aside: BTreeSet<NodeId>,
    },
    /// Try to settle a node that is set aside; report [`RecoveryInput::Settled`] or [`RecoveryInput::NodeFailed`].
    TryNode {
        /// Which node.
        node: NodeId,
    },
    /// Fetch the canonical version of a node (document: `fetchCanonicalVersion`) with all its operations, compare, and show a person what
    /// still differs; report as for [`RecoveryAction::TryNode`].
    ForceReconciliation {
        /// Which node.
        node: NodeId,
        /// Whose version it is compared with.
        target: Target,
    },
    /// Forget cursors and known positions of this target, and sync again from the beginning. Operations are not touched.
    RebuildSyncState {
        /// Which target.
        target: Target,
    },
    /// Show this to a person.
    ManualIntervention(Intervention),
    /// What was in trouble no longer is.
    Cleared(Subject),
}

/// A target in trouble.
#[derive(Debug)]
struct Trouble {
    attempts: u32,
    backoff: Backoff,
    /// When the next step is taken; `None` while one is under way, or a person is waited for.
    next: Option<(u64, Step)>,
    /// The gravest failure since the first: what a person is told of. A line that broke beside it says less.
    worst: SyncFailure,
    /// What a person was asked about.
    manual: Option<Intervention>,
}

impl Trouble {
    /// One more failure.
    fn count(&mut self, failure: &SyncFailure) {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts == 1 || failure.remedy() >= self.worst.remedy() {
            self.worst = failure.clone();
        }
    }

    /// Whether operations that arrive show that it gets on. Those of somebody whose copy differs come all the same.
    const fn gets_on(&self) -> bool {
        self.manual.is_none() && !matches!(self.worst, SyncFailure::DataCorruption { .. })
    }
}

/// Mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Retry,
    Partial,
    Rebuild,
}

/// Escalates failures of targets and of nodes.
///
/// Contract: after [`RecoveryAction::RetryWithBackoff`], [`RecoveryAction::PartialSync`] and [`RecoveryAction::RebuildSyncState`] the outcome
/// is reported as [`RecoveryInput::Failed`] or [`RecoveryInput::Succeeded`], as is that of every other sync.
#[derive(Debug)]
pub struct SyncRecovery {
    /// A seed for each backoff, so that no two go in step.
    seeds: Jitter,
    retry_ms: u64,
    now: u64,
    targets: BTreeMap<Target, Trouble>,
    nodes: Nodes,
    actions: VecDeque<RecoveryAction>,
}

impl SyncRecovery {
    /// With nothing in trouble. The seed is for jitter.
    pub fn new(seed: u64, now: u64) -> Self {
        let mut seeds = Jitter::new(seed);
        let nodes = Nodes::new(seeds.bits());
        Self { seeds, retry_ms: RETRY_MS, now, targets: BTreeMap::new(), nodes, actions: VecDeque::new() }
    }

    /// With another pace than the usual one; at least a millisecond a step.
    #[must_use]
    pub fn paced(mut self, pace: Pace) -> Self {
        self.retry_ms = pace.retry_ms.max(1);
        self.nodes.set_retry_ms(pace.node_retry_ms.max(1));
        self
    }

    /// Takes note of something.
    pub fn handle(&mut self, input: RecoveryInput, now: u64) {
        self.now = self.now.max(now);
        match input {
            RecoveryInput::Failed { target, failure } => self.failed(target, failure),
            RecoveryInput::Received(target) => self.received(&target),
            RecoveryInput::Succeeded(target) => self.succeeded(target),
            RecoveryInput::Settled(node) => self.nodes.settled(node, &mut self.actions),
            RecoveryInput::NodeFailed { node, failure } => self.nodes.failed(&node, failure, self.now, &mut self.actions),
            RecoveryInput::RetryByHand(Subject::Target { target }) => self.retry_target(target),
            RecoveryInput::RetryByHand(Subject::Node { node }) => self.nodes.retry(&node, self.now),
            RecoveryInput::Forget(target) => {
                self.targets.remove(&target);
            }
        }
        self.handle_timeout(now);
    }

    /// The next thing to do; call until `None`.
    pub fn poll_output(&mut self) -> Option<RecoveryAction> {
        self.actions.pop_front()
    }

    /// When [`SyncRecovery::handle_timeout`] wants to be called; `None` when nothing is in trouble that time could help.
    pub fn next_timeout(&self) -> Option<u64> {
        let targets = self.targets.values().filter_map(|trouble| Some(trouble.next?.0));
        targets.chain(self.nodes.next_timeout()).min()
    }

    /// Takes the steps that are due.
    pub fn handle_timeout(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.nodes.handle_timeout(self.now, &mut self.actions);
        for (target, trouble) in &mut self.targets {
            let Some((_, step)) = trouble.next.take_if(|(at, _)| *at <= self.now) else { continue };
            self.actions.push_back(match step {
                Step::Retry => RecoveryAction::RetryWithBackoff { target: *target, attempt: trouble.attempts },
                Step::Partial => RecoveryAction::PartialSync { target: *target, aside: self.nodes.aside() },
                Step::Rebuild => RecoveryAction::RebuildSyncState { target: *target },
            });
        }
    }

    /// The nodes that are not to be settled now.
    pub fn aside(&self) -> BTreeSet<NodeId> {
        self.nodes.aside()
    }

    /// How many nodes are set aside.
    pub fn aside_count(&self) -> usize {
        self.nodes.len()
    }

    /// What a person has been asked about and has not done yet: targets, then nodes.
    pub fn interventions(&self) -> impl Iterator<Item = &Intervention> {
        self.targets.values().filter_map(|trouble| trouble.manual.as_ref()).chain(self.nodes.interventions())
    }

    fn failed(&mut self, target: Target, failure: SyncFailure) {
        if !self.targets.contains_key(&target) && self.targets.len() >= TARGETS_MAX {
            return;
        }
        let fresh = || Trouble { attempts: 0, backoff: Backoff::new(self.seeds.bits()), next: None, worst: failure.clone(), manual: None };
        let trouble = self.targets.entry(target).or_insert_with(fresh);
        trouble.count(&failure);
        if trouble.manual.is_some() {
            return;
        }
        if failure.remedy() == Remedy::Person || trouble.attempts > ATTEMPTS_MAX {
            trouble.next = None;
            let failure = trouble.worst.clone();
            let intervention = Intervention { subject: Subject::Target { target }, attempts: trouble.attempts, failure };
            trouble.manual = Some(intervention.clone());
            self.actions.push_back(RecoveryAction::ManualIntervention(intervention));
            return;
        }
        let step = step_for(&failure, target, &mut self.nodes, self.now);
        let delay = trouble.backoff.delay_ms(self.retry_ms).max(failure.retry_after_ms().unwrap_or(0));
        trouble.backoff.raise();
        // Two failures of different sorts may come one after the other: the mild step would only find the worse one again.
        let step = trouble.next.map_or(step, |(_, planned)| step.max(planned));
        trouble.next = Some((self.now.saturating_add(delay), step));
    }

    /// A line that breaks again and again is not asked about while each piece of it brings something.
    fn received(&mut self, target: &Target) {
        if let Some(trouble) = self.targets.get_mut(target).filter(|trouble| trouble.gets_on()) {
            trouble.attempts = 0;
            trouble.backoff.reset();
        }
    }

    fn succeeded(&mut self, target: Target) {
        if self.targets.remove(&target).is_some() {
            self.actions.push_back(RecoveryAction::Cleared(Subject::Target { target }));
        }
    }

    fn retry_target(&mut self, target: Target) {
        if let Some(trouble) = self.targets.get_mut(&target) {
            trouble.attempts = 0;
            trouble.backoff.reset();
            trouble.manual = None;
            trouble.next = Some((self.now, Step::Retry));
        }
    }
}

/// The mildest step that can help with a target; nodes the failure names are set aside.
fn step_for(failure: &SyncFailure, target: Target, nodes: &mut Nodes, now: u64) -> Step {
    let set_aside = match failure {
        SyncFailure::ConflictResolutionFailed { nodes: unsettled } => nodes.set_aside(unsettled, target, failure, now),
        SyncFailure::DataCorruption { node: Some(node) } => nodes.set_aside(&BTreeSet::from([node.clone()]), target, failure, now),
        _ => false,
    };
    match failure.remedy() {
        Remedy::SetAside if set_aside => Step::Partial,
        Remedy::SetAside | Remedy::Rebuild => Step::Rebuild,
        Remedy::Patience | Remedy::Person => Step::Retry,
    }
}
