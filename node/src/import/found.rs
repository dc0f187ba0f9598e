//! A node as an import finds it: everything the import asks of a replica about what is there already.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Store, StoreError};
use serde_json::Value;

use super::OutlineKind;
use super::identity::{ContentHash, content_hash};
use super::kind;
use super::likeness::Words;

/// A node that exists.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// The hash of its text.
    pub(super) text: ContentHash,
    /// Its kind; none when it is no block of Markdown (any more).
    pub(super) kind: Option<OutlineKind>,
    /// Whether its metadata holds only what an import writes.
    pub(super) plain: bool,
    /// Whether it is deleted.
    pub(super) deleted: bool,
    /// Whether it is deleted for good.
    pub(super) gone: bool,
}

/// Looks a node up; none when it was never made.
pub(super) fn find<S: Store>(replica: &Replica<S>, id: &NodeId) -> Result<Option<Found>, StoreError> {
    let Some(state) = replica.node(id)? else { return Ok(None) };
    let metadata = state.metadata().to_json();
    let policy = replica.policy();
    Ok(Some(Found {
        text: content_hash(state.content()),
        kind: kind::kind_of(state.node_type().unwrap_or_default(), &metadata),
        plain: metadata.as_object().is_none_or(|members: &serde_json::Map<String, Value>| members.keys().all(|key| key == kind::MEMBER)),
        deleted: state.is_deleted(&policy),
        gone: state.is_hard_deleted(&policy),
    }))
}

/// The words of a node's text.
pub(super) fn words<S: Store>(replica: &Replica<S>, id: &NodeId) -> Result<Words, StoreError> {
    Ok(replica.node(id)?.map(|state| Words::of(state.content())).unwrap_or_default())
}

/// Whether a node exists, deleted or not.
pub(super) fn exists<S: Store>(replica: &Replica<S>, id: &NodeId) -> Result<bool, StoreError> {
    Ok(replica.node(id)?.is_some())
}

/// Whether something living stands directly below a node.
pub(super) fn has_living_children<S: Store>(replica: &Replica<S>, id: &NodeId) -> bool {
    replica.tree().children(Some(id)).iter().any(|child| replica.is_living(child))
}
