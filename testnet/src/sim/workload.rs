//! What people do: one file a kind of work. Each takes the replica as it is, does one small thing, and says how it went.

mod dates;
mod deletion;
mod import;
pub(crate) mod membership;
mod mentions;
mod metadata;
mod outlining;
mod resolutions;
mod typing;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{NewNode, Replica, WriteError};

use super::dice::Dice;
use super::store::SimStore;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Bursts of edits in few nodes.
    Typing,
    /// Creating, indenting, outdenting, moving runs.
    Outlining,
    /// A whole tree at once.
    Import,
    /// The same id made on several devices.
    Dates,
    /// Deleting and restoring.
    Deletion,
    /// Overlapping paths of metadata, and types.
    Metadata,
    /// Mentions.
    Mentions,
    /// Settling conflicts.
    Resolutions,
    /// Changing the workspace.
    Membership,
}

impl Work {
    /// All kinds.
    pub(crate) const ALL: [Self; 9] = [
        Self::Typing,
        Self::Outlining,
        Self::Import,
        Self::Dates,
        Self::Deletion,
        Self::Metadata,
        Self::Mentions,
        Self::Resolutions,
        Self::Membership,
    ];

    /// How often it is done, against the others.
    pub(crate) const fn weight(self) -> u64 {
        match self {
            Self::Typing => 12,
            Self::Outlining => 10,
            Self::Import => 1,
            Self::Dates => 4,
            Self::Deletion => 4,
            Self::Metadata => 5,
            Self::Mentions => 2,
            Self::Resolutions => 3,
            Self::Membership => 3,
        }
    }
}

/// Where work happens.
pub(crate) struct Desk<'a> {
    pub(crate) replica: &'a mut Replica<SimStore>,
    pub(crate) dice: &'a mut Dice,
    pub(crate) now: Timestamp,
}

impl Desk<'_> {
    /// A fresh node id.
    pub(crate) fn fresh_id(&mut self) -> NodeId {
        NodeId::Uuid(uuid::Builder::from_random_bytes(self.dice.bytes()).into_uuid())
    }

    /// Any node.
    pub(crate) fn any(&mut self) -> Option<NodeId> {
        let ids = self.replica.node_ids();
        self.dice.pick(&ids).cloned()
    }

    /// One of the few nodes that everybody works on.
    pub(crate) fn hot(&mut self) -> Option<NodeId> {
        let ids = self.replica.node_ids();
        self.dice.pick(&ids[..ids.len().min(3)]).cloned()
    }

    /// Some words.
    pub(crate) fn words(&mut self) -> String {
        const WORDS: [&str; 12] = ["river", "gauge", "north", "é", "naïve", "plan", "\n", "42", "the", "𝄞", "meeting", "left bank"];
        let count = self.dice.between(1, 8);
        let words: Vec<&str> = (0..count).filter_map(|_| self.dice.pick(&WORDS).copied()).collect();
        words.join(" ")
    }

    /// A small text node.
    pub(crate) fn create(&mut self, parent: Option<NodeId>) -> Result<NodeId, WriteError> {
        let id = self.fresh_id();
        let words = self.words();
        self.replica.create(self.now, NewNode::text(id.clone(), parent, words))?;
        Ok(id)
    }
}

/// Does one thing of a kind, membership excepted, which needs to know people.
pub(crate) fn work(desk: &mut Desk<'_>, work: Work) -> Result<(), WriteError> {
    if desk.replica.node_ids().is_empty() {
        return desk.create(None).map(drop);
    }
    match work {
        Work::Typing => typing::work(desk),
        Work::Outlining => outlining::work(desk),
        Work::Import => import::work(desk),
        Work::Dates => dates::work(desk),
        Work::Deletion => deletion::work(desk),
        Work::Metadata => metadata::work(desk),
        Work::Mentions => mentions::work(desk),
        Work::Resolutions => resolutions::work(desk),
        Work::Membership => Ok(()),
    }
}
