//! Conflicts: what they are, and what becomes of them.
//!
//! A conflict is *derived* from a node's operation graph, never a side effect of how operations arrived. Wherever histories meet
//! (an operation with several parents, or several current heads), the operations that only some of the meeting sides have seen
//! are compared field by field. A record's id is the hash of its field and its sorted participants, so that every device
//! finds the same one, finds it once, and never reopens one that an operation has settled.

pub mod detect;

use serde::{Deserialize, Serialize};

use crate::crypto::Domain;
use crate::ids::{ConflictId, NodeId, OpHash};

/// What collided. The document's `ConflictType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConflictType {
    /// The same part of the text was edited on several sides, or replaced while it was edited.
    ConcurrentEdit,
    /// The type was changed on one side and the content on another.
    StructuralConflict,
    /// Deleted on one side, changed on another.
    DeleteConflict,
    /// Moved to different places.
    MoveConflict,
    /// The same metadata path was set to different values.
    MetadataConflict,
}

impl ConflictType {
    /// All types, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::ConcurrentEdit, Self::StructuralConflict, Self::DeleteConflict, Self::MoveConflict, Self::MetadataConflict];
}

/// How a conflict is met. The document's `ResolutionStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResolutionStrategy {
    /// The later operation (time, version, hash) holds.
    LastWriteWins,
    /// Merged when a three-way merge is clean; otherwise the later operation holds.
    MergeWhenPossible,
    /// Three-way merge against the common ancestor; overlapping parts take the later side and stay open.
    ThreeWayMerge,
    /// The later operation holds provisionally; open until somebody chooses.
    UserChooses,
    /// Concurrent edits are transformed over each other (Eg-walker).
    OperationalTransform,
}

impl ResolutionStrategy {
    /// All strategies, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::LastWriteWins, Self::MergeWhenPossible, Self::ThreeWayMerge, Self::UserChooses, Self::OperationalTransform];

    /// Whether a conflict met this way waits for a person.
    pub const fn leaves_open(self) -> bool {
        matches!(self, Self::UserChooses | Self::ThreeWayMerge)
    }
}

/// A workspace's strategy for each type of conflict. Part of the workspace, so that everybody resolves alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For concurrent text.
    pub concurrent_edit: ResolutionStrategy,
    /// For a type change against a content edit; both are applied whatever is chosen.
    pub structural: ResolutionStrategy,
    /// For a delete against a change; the change survives unless this is `LastWriteWins`.
    pub delete: ResolutionStrategy,
    /// For moves to different places; the later one holds.
    pub r#move: ResolutionStrategy,
    /// For different values at one metadata path; the later one holds.
    pub metadata: ResolutionStrategy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            concurrent_edit: ResolutionStrategy::OperationalTransform,
            structural: ResolutionStrategy::UserChooses,
            delete: ResolutionStrategy::UserChooses,
            r#move: ResolutionStrategy::LastWriteWins,
            metadata: ResolutionStrategy::MergeWhenPossible,
        }
    }
}

impl Policy {
    /// The strategy for a type of conflict.
    pub const fn strategy(&self, kind: ConflictType) -> ResolutionStrategy {
        match kind {
            ConflictType::ConcurrentEdit => self.concurrent_edit,
            ConflictType::StructuralConflict => self.structural,
            ConflictType::DeleteConflict => self.delete,
            ConflictType::MoveConflict => self.r#move,
            ConflictType::MetadataConflict => self.metadata,
        }
    }

    /// The same policy with another strategy for one type.
    #[must_use]
    pub const fn with(mut self, kind: ConflictType, strategy: ResolutionStrategy) -> Self {
        match kind {
            ConflictType::ConcurrentEdit => self.concurrent_edit = strategy,
            ConflictType::StructuralConflict => self.structural = strategy,
            ConflictType::DeleteConflict => self.delete = strategy,
            ConflictType::MoveConflict => self.r#move = strategy,
            ConflictType::MetadataConflict => self.metadata = strategy,
        }
        self
    }
}

/// Where a conflict stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConflictStatus {
    /// Waits for a person; the provisional outcome holds meanwhile.
    Open,
    /// The strategy settled it; both originals can still be seen.
    AutoResolved(ResolutionStrategy),
    /// An operation settled it.
    Resolved(OpHash),
}

/// One conflict of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// Hash of field and participants.
    pub id: ConflictId,
    /// What collided.
    pub kind: ConflictType,
    /// The field: `content`, `type`, `place`, `life`, or `metadata` and the path as a JSON pointer (RFC 6901).
    pub field: String,
    /// The operations that collided, ascending by hash.
    pub participants: Vec<OpHash>,
    /// Where it stands.
    pub status: ConflictStatus,
}

impl Conflict {
    /// Derives the id from field and participants.
    pub fn new(kind: ConflictType, field: String, mut participants: Vec<OpHash>, strategy: ResolutionStrategy) -> Self {
        participants.sort_unstable();
        participants.dedup();
        let mut hasher = Domain::Conflict.hasher();
        hasher.update(&[kind as u8]).update(&(field.len() as u64).to_le_bytes()).update(field.as_bytes());
        for participant in &participants {
            hasher.update(&participant.0);
        }
        let id = ConflictId(*hasher.finalize().as_bytes());
        let status = if strategy.leaves_open() { ConflictStatus::Open } else { ConflictStatus::AutoResolved(strategy) };
        Self { id, kind, field, participants, status }
    }

    /// Whether it waits for a person.
    pub fn is_open(&self) -> bool {
        self.status == ConflictStatus::Open
    }
}

/// A conflict with the node it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConflict {
    /// The node.
    pub node: NodeId,
    /// The conflict.
    pub conflict: Conflict,
    /// Whether the histories have not met yet: the participants are current heads, and further edits change the record.
    pub live: bool,
}
