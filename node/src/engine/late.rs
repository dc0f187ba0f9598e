//! Attachments that came after their operations.
//!
//! The journal is only appended to: an operation stays in it as it came. What one came without, and somebody gives later, is kept among the
//! local settings by its hash. The row of its node has to be written again then, and no operation says so: that it is due is kept too, until
//! a table that shows it was made durable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use nodespace_protocol::ids::{NodeId, OpHash, hex};
use nodespace_protocol::op::{BlobRef, Op, attachment_hash};
use nodespace_protocol::store::{OpIndex, Store as _, StoreError};

use super::{DeviceReplica, Workspace};
use crate::model::ServiceError;

/// What the names of settings with bytes begin with, before the hash.
const BYTES_KEY: &str = "late/bytes/";
/// What the names of settings begin with that say whose row is due, before the node's id.
const ROW_KEY: &str = "late/row/";

/// Operations that are looked at in one read, which holds up writers.
const STRETCH_OPS: u32 = 512;

/// An embedding in force whose vector is nowhere on this device.
#[derive(Clone, Debug)]
pub(crate) struct Lacking {
    /// Whose.
    pub(crate) node: NodeId,
    /// The operation that brought it, and came without.
    pub(crate) op: OpHash,
    /// What is missing.
    pub(crate) blob: BlobRef,
}

impl Lacking {
    /// What an operation lacks, if anybody still wants that: an embedding that another has taken the place of is of no use.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn find(replica: &DeviceReplica, place: OpIndex) -> Result<Option<Self>, StoreError> {
        if place.0 >= replica.store().op_count() {
            return Ok(None);
        }
        let op = replica.store().op(place)?;
        let (Some(node), Some(blob)) = (&op.header.node, op.header.attachment) else { return Ok(None) };
        if attachment(replica, &op)?.is_some() {
            return Ok(None);
        }
        let Some(state) = replica.node(node)? else { return Ok(None) };
        let Some((model, embedding)) = state.embeddings().iter().find(|(_, embedding)| embedding.op == place) else { return Ok(None) };
        // A backup brings vectors back, and not what came late.
        let is_here = replica.store().vector(node, model, &embedding.source)?.is_some();
        Ok((!is_here).then(|| Self { node: node.clone(), op: op.hash, blob }))
    }

    /// Looks through some operations, not more than one read should look at, for at most `room` that lack something.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn search(replica: &DeviceReplica, within: Range<u32>, room: usize) -> Result<Stretch, StoreError> {
        let last = within.end.min(within.start.saturating_add(STRETCH_OPS));
        let mut found = Stretch { through: within.start, lacking: Vec::new() };
        while found.through < last && found.lacking.len() < room {
            let lacks = Self::find(replica, OpIndex(found.through))?;
            found.lacking.extend(lacks.map(|_| found.through));
            found.through += 1;
        }
        Ok(found)
    }

    /// Those of some that are lacking still, by their places.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn still(replica: &DeviceReplica, places: &[u32]) -> Result<BTreeMap<u32, Self>, StoreError> {
        let mut lacking = BTreeMap::new();
        for place in places {
            lacking.extend(Self::find(replica, OpIndex(*place))?.map(|lacks| (*place, lacks)));
        }
        Ok(lacking)
    }

    /// Whether these bytes are what is missing.
    pub(crate) fn is_met_by(&self, bytes: &[u8]) -> bool {
        is_what_was_announced(&self.blob, bytes)
    }
}

/// What was found among operations in their order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// All before this place were looked at.
    pub(crate) through: u32,
    /// Places of those that lack something.
    pub(crate) lacking: Vec<u32>,
}

/// Whether an attachment is the one that an operation names.
pub(crate) fn is_what_was_announced(blob: &BlobRef, bytes: &[u8]) -> bool {
    bytes.len() == blob.len as usize && attachment_hash(bytes) == blob.hash
}

/// The bytes of an operation's attachment, whenever they came.
///
/// # Errors
/// When the store fails.
pub(crate) fn attachment(replica: &DeviceReplica, op: &Op) -> Result<Option<Arc<[u8]>>, StoreError> {
    match (&op.attachment, op.header.attachment) {
        (Some(bytes), _) => Ok(Some(Arc::clone(bytes))),
        (None, Some(blob)) => Ok(replica.store().value(&bytes_key(&blob))?.map(Arc::from)),
        (None, None) => Ok(None),
    }
}

impl Workspace {
    /// Keeps attachments that came late, durably; the rows of their nodes are written again. Their hashes have been checked.
    ///
    /// # Errors
    /// When the store fails or the device is stopping.
    pub(crate) async fn keep_late(&self, came: Vec<(Lacking, Vec<u8>)>) -> Result<(), ServiceError> {
        let nodes: Vec<NodeId> = came.iter().map(|(lacking, _)| lacking.node.clone()).collect();
        self.read(move |replica| keep(replica, &came)).await??;
        self.feed().add_dirty(nodes);
        self.tell_of_late();
        Ok(())
    }

    /// The nodes whose rows are due because of attachments that came late.
    pub(super) async fn late_rows(&self) -> Result<Vec<NodeId>, ServiceError> {
        let due = self.read(|replica| replica.store().values(ROW_KEY)).await??;
        // What was written by `keep` can be read.
        Ok(due.iter().filter_map(|(key, _)| NodeId::parse(key.strip_prefix(ROW_KEY)?).ok()).collect())
    }

    /// The rows of these nodes are in a table that was made durable.
    pub(super) async fn forget_late_rows(&self, nodes: Vec<NodeId>) -> Result<(), ServiceError> {
        if nodes.is_empty() {
            return Ok(());
        }
        let forget = move |replica: &DeviceReplica| {
            let keys: Vec<String> = nodes.iter().map(row_key).collect();
            let values: Vec<(&str, Option<&[u8]>)> = keys.iter().map(|key| (key.as_str(), None)).collect();
            replica.store().put_values(&values)
        };
        Ok(self.read(forget).await??)
    }
}

/// Bytes and due rows in one: no crash leaves one without the other.
fn keep(replica: &DeviceReplica, came: &[(Lacking, Vec<u8>)]) -> Result<(), StoreError> {
    let keys: Vec<(String, String)> = came.iter().map(|(lacking, _)| (bytes_key(&lacking.blob), row_key(&lacking.node))).collect();
    let mut values: Vec<(&str, Option<&[u8]>)> = Vec::with_capacity(2 * came.len());
    for ((bytes_key, row_key), (_, bytes)) in keys.iter().zip(came) {
        values.push((bytes_key.as_str(), Some(bytes.as_slice())));
        values.push((row_key.as_str(), Some(&[])));
    }
    replica.store().put_values(&values)
}

fn bytes_key(blob: &BlobRef) -> String {
    format!("{BYTES_KEY}{}", hex(&blob.hash))
}

fn row_key(node: &NodeId) -> String {
    format!("{ROW_KEY}{node}")
}
