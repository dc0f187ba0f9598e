//! One author of a workload: writes operations by hand, without a replica of its own.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Purpose;
use nodespace_protocol::ids::{LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::segment::{PREFIX_BYTES, Position, WireOp};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, ParentRef, Payload, PlaceAnchor, Segment, payload_hash};
use nodespace_protocol::replica::Author;

/// An operation as others refer to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    author: LogId,
    seq: u64,
    hash: OpHash,
    version: u64,
}

/// A device that writes.
#[derive(Debug)]
pub(super) struct Scribe {
    workspace: WorkspaceId,
    author: Author,
    cut: Box<[OpHash]>,
    /// The first operation of the next segment.
    first: u64,
    previous: Option<OpHash>,
    /// How the operation before the next segment begins.
    prefix: [u8; PREFIX_BYTES],
    version: u64,
    ops: Vec<WireOp>,
}

impl Scribe {
    pub(super) fn new(workspace: WorkspaceId, author: Author, cut: Vec<OpHash>, seen: u64) -> Self {
        Self { workspace, author, cut: cut.into(), first: 1, previous: None, prefix: [0; PREFIX_BYTES], version: seen, ops: Vec::new() }
    }

    /// The version of its last operation.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Everything written before this round is known now.
    pub(super) fn begin_round(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// How a place names the operation that placed a neighbour.
    pub(super) fn anchor(&self, neighbour: Option<&Written>) -> PlaceAnchor {
        match neighbour {
            None => PlaceAnchor::Start,
            Some(written) if written.author == self.author.log() => PlaceAnchor::Own(self.next_seq() - written.seq),
            Some(written) => PlaceAnchor::Other(written.hash),
        }
    }

    const fn next_seq(&self) -> u64 {
        self.first + self.ops.len() as u64
    }

    /// Writes an operation of a node after `parents`.
    pub(super) fn write(&mut self, node: &NodeId, kind: OpType, parents: &[Written], payload: &Payload, timestamp: Timestamp) -> Written {
        let (log, seq) = (self.author.log(), self.next_seq());
        self.version += 1;
        let mut named: Vec<ParentRef> = parents
            .iter()
            .map(|parent| if parent.author == log { ParentRef::Own(seq - parent.seq) } else { ParentRef::Other(parent.hash) })
            .collect();
        named.sort_unstable();
        let payload = payload.encode();
        let header = Header {
            log,
            seq,
            previous: self.previous,
            node: Some(node.clone()),
            kind,
            timestamp,
            version: self.version,
            parent_version: parents.iter().map(|parent| parent.version).max(),
            parents: named.into_iter().collect(),
            cut: (seq == 1).then(|| self.cut.clone()),
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: None,
        };
        let op = Op::new(&self.workspace, header, payload.into(), None);
        let position = |hash: &OpHash| {
            let parent = parents.iter().find(|parent| parent.hash == *hash)?;
            Some(Position { log: parent.author, seq: parent.seq })
        };
        self.ops.push(WireOp::of(&op, true, position));
        self.previous = Some(op.hash);
        Written { author: log, seq, hash: op.hash, version: self.version }
    }

    /// What was written since the last call, signed and encoded.
    pub(super) fn segment(&mut self) -> Vec<u8> {
        let last = self.previous.unwrap_or(OpHash([0; 32]));
        let signature = self.author.key.sign(Purpose::Operation, &[&last.0]);
        let ops = std::mem::take(&mut self.ops);
        let segment = Segment { log: self.author.log(), first_seq: self.first, previous_prefix: self.prefix, ops, signature };
        self.first = segment.last_seq() + 1;
        self.prefix.copy_from_slice(&last.0[..PREFIX_BYTES]);
        segment.encode()
    }
}
