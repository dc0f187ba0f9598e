//! What people are told about sync: with whom, how it stands, what is missing where, and when it last went well.
//!
//! "Synced" is said of a target only while the digest that it confirmed last is the digest of what is held here *now* (invariant I8). One
//! more operation, written or received, and the word is gone until it is confirmed again; in its place stands what is missing, as exactly as
//! it is known. Of somebody who is away nothing is known but what was confirmed when it left.
//!
//! [`StatusBoard`] collects what is known, [`DeviceStatus`] is what it comes to. It keeps no clock: times are handed in, by the wall
//! clock, since they are for people. Nothing is carried over a restart: after one, nothing is confirmed.

mod board;
mod rate;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::board::{StatusBoard, StatusInput};
use self::board::{help_wanted, summary};
use super::failure::{Remedy, SyncFailure};
use super::recovery::{Intervention, Subject};
use super::target::Target;

/// How many operations are missing somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "known", content = "operations", rename_all = "snake_case")]
#[schema(as = SyncMissing)]
pub enum Missing {
    /// None: confirmed.
    None,
    /// So many.
    Exactly(u64),
    /// So many or fewer.
    AtMost(u64),
    /// Nobody knows before both have compared.
    Unknown,
}

/// How it stands with one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SyncTargetState)]
pub enum TargetState {
    /// It cannot be reached.
    Away,
    /// It can be reached, and has not confirmed that it holds what is held here.
    Behind,
    /// Both find out what differs.
    Comparing,
    /// Operations are under way.
    Transferring,
    /// It has confirmed that it holds exactly what is held here.
    Synced,
    /// The last attempt failed.
    Failing,
}

impl TargetState {
    /// All states.
    pub const ALL: [Self; 6] = [Self::Away, Self::Behind, Self::Comparing, Self::Transferring, Self::Synced, Self::Failing];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Behind => "behind",
            Self::Comparing => "comparing",
            Self::Transferring => "transferring",
            Self::Synced => "synced",
            Self::Failing => "failing",
        }
    }
}

/// One target, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SyncTargetStatus)]
pub struct TargetStatus {
    /// Who.
    pub target: Target,
    /// How it stands.
    pub state: TargetState,
    /// Of what is held here, how much is missing there.
    pub missing_there: Missing,
    /// Of what is held there, how much is missing here.
    pub missing_here: Missing,
    /// Operations sent in this session, and how many are planned.
    pub sent: Progress,
    /// Operations received in this session, and how many are planned.
    pub received: Progress,
    /// Operations a second, both ways, over the last seconds; 0 when nothing is under way.
    pub rate: u64,
    /// When an equal digest was last confirmed, in Unix milliseconds; `None` when not since the program started.
    pub last_success_ms: Option<u64>,
    /// The last failure, while there has been no success since.
    pub failure: Option<FailureNote>,
}

/// How far something with a known end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SyncProgress)]
pub struct Progress {
    /// Done.
    pub done: u64,
    /// Altogether.
    pub total: u64,
}

/// A failure, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SyncFailureNote)]
pub struct FailureNote {
    /// The stable word for it.
    pub code: String,
    /// What went wrong and what to do.
    pub message: String,
}

/// Something that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SyncHelpWanted)]
pub struct HelpWanted {
    /// What is in trouble.
    #[serde(flatten)]
    pub subject: Subject,
    /// What went wrong and what to do.
    pub note: FailureNote,
    /// Whether it heals when the cause goes away.
    pub heals_by_itself: bool,
}

/// The whole device in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
#[schema(as = SyncSummary)]
pub enum Summary {
    /// There is nobody to sync with: everything is here, and only here.
    LocalOnly,
    /// Something waits for a person.
    NeedsHelp {
        /// How many things.
        cases: usize,
    },
    /// Differences are being found, or operations are under way.
    Syncing,
    /// Everybody who can be reached has confirmed to hold exactly what is held here.
    Synced {
        /// How many.
        confirmed: usize,
        /// Of how many that are known. The others are away.
        known: usize,
    },
    /// Nobody can be reached.
    Offline,
    /// Somebody who can be reached has not confirmed.
    Behind,
}

/// Sync as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SyncStatus)]
pub struct DeviceStatus {
    /// In a word.
    pub summary: Summary,
    /// Operations held here.
    pub operations: u64,
    /// Each target, peers first.
    pub targets: Vec<TargetStatus>,
    /// What waits for a person.
    pub help_wanted: Vec<HelpWanted>,
}

impl DeviceStatus {
    /// What can be said when so many operations are held by now: who confirmed what was held before has not confirmed what came since.
    /// Whoever syncs hears of a commit a moment after whoever wrote it was answered; in that moment "synced" would be a lie.
    #[must_use]
    pub fn as_of(mut self, operations: u64) -> Self {
        let since = operations.saturating_sub(self.operations);
        if since == 0 {
            return self;
        }
        self.operations = operations;
        for target in &mut self.targets {
            if target.state == TargetState::Synced {
                target.state = TargetState::Behind;
            }
            if target.missing_there == Missing::None {
                target.missing_there = Missing::AtMost(since);
            }
        }
        if self.is_synced() {
            self.summary = Summary::Behind;
        }
        self
    }

    /// What is left to say when whoever syncs has ended by a failure: of nobody it is known any more how it stands, and nobody finds out.
    #[must_use]
    pub fn given_up(mut self, failure: &SyncFailure) -> Self {
        for status in &mut self.targets {
            *status = TargetStatus {
                target: status.target,
                state: TargetState::Failing,
                missing_there: Missing::Unknown,
                missing_here: Missing::Unknown,
                sent: Progress::default(),
                received: Progress::default(),
                rate: 0,
                last_success_ms: status.last_success_ms,
                failure: Some(FailureNote { code: failure.code().to_owned(), message: failure.to_string() }),
            };
        }
        self.help_wanted.retain(|case| matches!(case.subject, Subject::Node { .. }));
        if failure.remedy() == Remedy::Person {
            let subjects = self.targets.iter().map(|status| Subject::Target { target: status.target });
            let cases = subjects.map(|subject| Intervention { subject, attempts: 1, failure: failure.clone() });
            self.help_wanted.splice(0..0, cases.map(|case| help_wanted(&case)));
        }
        self.summary = summary(&self.targets, &self.help_wanted);
        self
    }

    /// Whether it has failed with everybody, and there is somebody.
    pub fn has_failed(&self) -> bool {
        !self.targets.is_empty() && self.targets.iter().all(|target| target.state == TargetState::Failing)
    }

    /// Whether everybody who can be reached holds what is held here, and somebody does.
    pub const fn is_synced(&self) -> bool {
        matches!(self.summary, Summary::Synced { .. })
    }
}

impl Missing {
    /// The number, where there is one.
    pub const fn most(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Exactly(count) | Self::AtMost(count) => Some(count),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing"),
            Self::Exactly(count) => write!(f, "{count} operation(s)"),
            Self::AtMost(count) => write!(f, "at most {count} operation(s)"),
            Self::Unknown => f.write_str("an unknown number of operations"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalOnly => f.write_str("local only: there are no peers and no relay, so everything is on this device alone"),
            Self::NeedsHelp { cases } => write!(f, "{cases} thing(s) need your help; all data is kept"),
            Self::Syncing => f.write_str("syncing"),
            Self::Synced { confirmed, known } if confirmed == known => write!(f, "synced with all {known}"),
            Self::Synced { confirmed, known } => write!(f, "synced with {confirmed} of {known}; the others are away"),
            Self::Offline => f.write_str("offline: nobody can be reached; changes are kept and sent later"),
            Self::Behind => f.write_str("behind: not everybody has confirmed to hold what is here"),
        }
    }
}

impl fmt::Display for TargetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.state.name())?;
        match (&self.failure, self.state) {
            (_, TargetState::Synced) => Ok(()),
            (Some(failure), TargetState::Failing) => write!(f, ": {}", failure.message),
            _ => write!(f, "; {} missing there, {} missing here", self.missing_there, self.missing_here),
        }
    }
}

impl fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary)?;
        self.targets.iter().try_for_each(|target| write!(f, "\n  {target}"))?;
        self.help_wanted.iter().try_for_each(|case| write!(f, "\n  ! {}", case.note.message))
    }
}
