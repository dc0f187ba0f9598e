//! Operations made by hand, of any shape: what no honest program would write.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::{KeyPair, Purpose};
use nodespace_protocol::ids::{LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, ParentRef, Payload, Segment, payload_hash};

/// What a crafted operation says.
#[derive(Clone, Debug)]
pub(super) struct Craft {
    pub(super) log: LogId,
    pub(super) seq: u64,
    pub(super) previous: Option<OpHash>,
    pub(super) node: Option<NodeId>,
    pub(super) kind: OpType,
    pub(super) timestamp: Timestamp,
    pub(super) version: u64,
    pub(super) parents: Vec<ParentRef>,
    pub(super) parent_version: Option<u64>,
    pub(super) cut: Option<Vec<OpHash>>,
    pub(super) payload: Payload,
}

impl Craft {
    /// The operation as it is hashed in a workspace.
    pub(super) fn op(&self, workspace: &WorkspaceId) -> Op {
        let payload = self.payload.encode();
        let mut parents = self.parents.clone();
        parents.sort_unstable();
        let header = Header {
            log: self.log,
            seq: self.seq,
            previous: self.previous,
            node: self.node.clone(),
            kind: self.kind,
            timestamp: self.timestamp,
            version: self.version,
            parent_version: self.parent_version,
            parents: parents.into_iter().collect(),
            cut: self.cut.clone().map(Vec::into_boxed_slice),
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: None,
        };
        Op::new(workspace, header, payload.into(), None)
    }

    /// The operation's hash and the segment that carries it, signed by whoever.
    pub(super) fn segment(&self, workspace: &WorkspaceId, signer: &KeyPair) -> (OpHash, Segment) {
        let op = self.op(workspace);
        let mut previous_prefix = [0; PREFIX_BYTES];
        if let Some(previous) = self.previous {
            previous_prefix.copy_from_slice(&previous.0[..PREFIX_BYTES]);
        }
        let segment = Segment {
            log: self.log,
            first_seq: self.seq,
            previous_prefix,
            ops: vec![WireOp::of(&op, false, |_| None)],
            signature: signer.sign(Purpose::Operation, &[&op.hash.0]),
        };
        (op.hash, segment)
    }
}
