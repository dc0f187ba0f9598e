//! What is known about each target, and what that comes to.

use std::collections::BTreeMap;

use nodespace_protocol::session::{SyncState, SyncStatus};

use super::rate::RateMeter;
use super::{DeviceStatus, FailureNote, HelpWanted, Missing, Progress, Summary, TargetState, TargetStatus};
use crate::sync::batch::Pressure;
use crate::sync::failure::SyncFailure;
use crate::sync::orchestrator::TARGETS_MAX;
use crate::sync::recovery::{Intervention, Subject};
use crate::sync::target::Target;

/// Things that wait for a person and are shown at one time; further ones are shown as these are settled.
const HELP_WANTED_MAX: usize = 1_000;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusInput {
    /// What is held here, after each commit.
    Held {
        /// The digest over it: `Replica::frontier_digest`.
        digest: [u8; 32],
        /// How many operations.
        operations: u64,
    },
    /// Somebody to sync with is known, and away until it is reachable. Beyond [`TARGETS_MAX`] it is not taken up.
    Known(Target),
    /// It can be reached.
    Reachable(Target),
    /// It cannot be reached.
    Unreachable(Target),
    /// It is no more.
    Forget(Target),
    /// How its session stands.
    Session {
        /// Whose.
        target: Target,
        /// What the session says.
        status: SyncStatus,
        /// When, in milliseconds of the driver's monotonic clock: for the rate.
        now_ms: u64,
    },
    /// Its session is over, though it can still be reached.
    SessionEnded(Target),
    /// It confirmed a digest that is equal to ours as of then.
    Confirmed {
        /// Who.
        target: Target,
        /// Which digest.
        digest: [u8; 32],
        /// When, in Unix milliseconds.
        wall_ms: u64,
    },
    /// Syncing with it failed.
    Failed {
        /// With whom.
        target: Target,
        /// How.
        failure: SyncFailure,
    },
    /// What waits to be sent to the relay.
    RelayQueue(Pressure),
    /// A person is asked.
    HelpWanted(Intervention),
    /// It is settled.
    Cleared(Subject),
}

/// What is known about one target.
#[derive(Debug, Default)]
struct Known {
    reachable: bool,
    session: Option<SyncStatus>,
    /// How fast operations went in that session.
    rate: RateMeter,
    /// The digest that was confirmed last, and how many operations were held here then.
    confirmed: Option<([u8; 32], u64)>,
    last_success_ms: Option<u64>,
    failure: Option<FailureNote>,
    queue: Option<Pressure>,
}

impl Known {
    fn end_session(&mut self) {
        self.session = None;
        self.rate = RateMeter::default();
    }
}

/// Collects what is known, and says what it comes to.
///
/// Contract: [`StatusInput::Held`] after each commit and before a [`StatusInput::Confirmed`] of its digest.
#[derive(Debug)]
pub struct StatusBoard {
    digest: [u8; 32],
    operations: u64,
    targets: BTreeMap<Target, Known>,
    help_wanted: BTreeMap<Subject, Intervention>,
    told: Option<DeviceStatus>,
}

impl StatusBoard {
    /// Holds this, and knows nobody.
    pub const fn new(digest: [u8; 32], operations: u64) -> Self {
        Self { digest, operations, targets: BTreeMap::new(), help_wanted: BTreeMap::new(), told: None }
    }

    /// Takes note of something. What is said of a target that is not known is ignored.
    pub fn handle(&mut self, input: StatusInput) {
        match input {
            StatusInput::Held { digest, operations } => (self.digest, self.operations) = (digest, operations),
            StatusInput::Known(target) => self.know(target),
            StatusInput::Reachable(target) => {
                self.know(target);
                self.change(&target, |known| known.reachable = true);
            }
            StatusInput::Unreachable(target) => self.change(&target, |known| {
                known.reachable = false;
                known.end_session();
            }),
            StatusInput::Forget(target) => self.forget(target),
            StatusInput::Session { target, status, now_ms } => self.change(&target, |known| {
                known.rate.count(status.sent_ops.saturating_add(status.received_ops), now_ms);
                known.session = Some(status);
            }),
            StatusInput::SessionEnded(target) => self.change(&target, |known| known.session = None),
            StatusInput::Confirmed { target, digest, wall_ms } => self.confirmed(&target, digest, wall_ms),
            StatusInput::Failed { target, failure } => self.change(&target, |known| {
                if matches!(failure, SyncFailure::DataCorruption { .. }) {
                    // Equal operations, and another state: they are not equal.
                    known.confirmed = None;
                }
                known.failure = Some(FailureNote { code: failure.code().to_owned(), message: failure.to_string() });
                known.end_session();
            }),
            StatusInput::RelayQueue(pressure) => self.change(&Target::Relay, |known| known.queue = Some(pressure)),
            StatusInput::HelpWanted(case) if self.help_wanted.len() < HELP_WANTED_MAX => {
                self.help_wanted.insert(case.subject.clone(), case);
            }
            StatusInput::HelpWanted(_) => {}
            StatusInput::Cleared(subject) => {
                self.help_wanted.remove(&subject);
                if let Subject::Target { target } = subject {
                    // A success that confirms what was confirmed before the failure says nothing else.
                    self.change(&target, |known| known.failure = None);
                }
            }
        }
    }

    /// The status, when it is another than the one last answered.
    pub fn poll_change(&mut self) -> Option<DeviceStatus> {
        let status = self.status();
        if self.told.as_ref() == Some(&status) {
            return None;
        }
        self.told = Some(status.clone());
        Some(status)
    }

    /// The status now.
    pub fn status(&self) -> DeviceStatus {
        let targets: Vec<_> = self.targets.iter().map(|(target, known)| self.target_status(*target, known)).collect();
        let help_wanted: Vec<_> = self.help_wanted.values().map(help_wanted).collect();
        DeviceStatus { summary: summary(&targets, &help_wanted), operations: self.operations, targets, help_wanted }
    }

    fn know(&mut self, target: Target) {
        if self.targets.len() < TARGETS_MAX {
            self.targets.entry(target).or_default();
        }
    }

    fn change(&mut self, target: &Target, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.targets.get_mut(target) {
            change(known);
        }
    }

    fn forget(&mut self, target: Target) {
        self.targets.remove(&target);
        self.help_wanted.remove(&Subject::Target { target });
    }

    fn confirmed(&mut self, target: &Target, digest: [u8; 32], wall_ms: u64) {
        // What is not held now was held when it was confirmed, at most as many operations; then more are missing than we say, never fewer.
        let operations = if digest == self.digest { self.operations } else { 0 };
        self.change(target, |known| {
            known.confirmed = Some((digest, operations));
            known.last_success_ms = Some(wall_ms);
            known.failure = None;
        });
    }

    fn target_status(&self, target: Target, known: &Known) -> TargetStatus {
        let equal = known.confirmed.is_some_and(|(digest, _)| digest == self.digest);
        let session = known.session.as_ref();
        let state = state(known, equal);
        let progress = |done: fn(&SyncStatus) -> Progress| session.map(done).unwrap_or_default();
        TargetStatus {
            target,
            state,
            missing_there: self.missing_there(known, state, equal),
            missing_here: missing_here(session, state),
            sent: progress(|status| Progress { done: status.sent_ops, total: status.send_ops }),
            received: progress(|status| Progress { done: status.received_ops, total: status.receive_ops }),
            rate: if state == TargetState::Transferring { known.rate.per_second() } else { 0 },
            last_success_ms: known.last_success_ms,
            failure: known.failure.clone(),
        }
    }

    fn missing_there(&self, known: &Known, state: TargetState, equal: bool) -> Missing {
        if equal {
            return Missing::None;
        }
        if let (TargetState::Transferring, Some(session)) = (state, &known.session) {
            return Missing::Exactly(session.send_ops.saturating_sub(session.sent_ops));
        }
        let since = known.confirmed.map(|(_, operations)| self.operations.saturating_sub(operations));
        let queued = known.queue.map(waiting);
        match since.into_iter().chain(queued).min() {
            Some(0) => Missing::Exactly(0),
            Some(most) => Missing::AtMost(most),
            None => Missing::Unknown,
        }
    }
}

/// What waits for the relay: what is held, and as many as there are positions to be read.
fn waiting(queue: Pressure) -> u64 {
    let behind = queue.behind.map_or(0, |behind| behind.through.saturating_sub(behind.after));
    behind.saturating_add(u64::try_from(queue.held).unwrap_or(u64::MAX))
}

/// What there is that is not here: known while a plan is carried out, and when all is confirmed by somebody who is still there.
fn missing_here(session: Option<&SyncStatus>, state: TargetState) -> Missing {
    match (state, session) {
        (TargetState::Synced, _) => Missing::None,
        (TargetState::Transferring, Some(session)) => Missing::Exactly(session.receive_ops.saturating_sub(session.received_ops)),
        _ => Missing::Unknown,
    }
}

fn state(known: &Known, equal: bool) -> TargetState {
    let session = known.session.map(|session| session.state);
    match session {
        _ if !known.reachable => TargetState::Away,
        _ if known.failure.is_some() && session.is_none() => TargetState::Failing,
        _ if equal => TargetState::Synced,
        Some(SyncState::Greeting | SyncState::Comparing) => TargetState::Comparing,
        Some(SyncState::Transferring) => TargetState::Transferring,
        // Also when a session says "synced": what it means is what was held when it was asked, and that is not what is held now.
        Some(SyncState::Synced | SyncState::Behind | SyncState::Ended) | None => TargetState::Behind,
    }
}

pub(super) fn help_wanted(case: &Intervention) -> HelpWanted {
    let note = FailureNote { code: case.failure.code().to_owned(), message: case.to_string() };
    HelpWanted { subject: case.subject.clone(), note, heals_by_itself: case.heals_by_itself() }
}

pub(super) fn summary(targets: &[TargetStatus], help_wanted: &[HelpWanted]) -> Summary {
    let count = |wanted: fn(TargetState) -> bool| targets.iter().filter(|target| wanted(target.state)).count();
    let cases = help_wanted.iter().filter(|case| !case.heals_by_itself).count();
    let reachable = count(|state| state != TargetState::Away);
    let confirmed = count(|state| state == TargetState::Synced);
    match () {
        () if targets.is_empty() => Summary::LocalOnly,
        () if cases > 0 => Summary::NeedsHelp { cases },
        () if reachable == 0 => Summary::Offline,
        () if confirmed == reachable => Summary::Synced { confirmed, known: targets.len() },
        () if count(|state| matches!(state, TargetState::Comparing | TargetState::Transferring)) > 0 => Summary::Syncing,
        () => Summary::Behind,
    }
}
