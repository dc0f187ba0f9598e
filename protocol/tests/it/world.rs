//! Devices for tests: keys from small numbers, workspaces founded and joined, operations exchanged, and a pen for operations that no
//! honest device would write.

use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{KeyPair, Purpose};
use nodespace_protocol::ids::{LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::log::Head;
use nodespace_protocol::membership::{Certificate, Role, Ticket};
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, ParentRef, Payload, Segment, attachment_hash, payload_hash};
use nodespace_protocol::replica::{Author, Founding, IngestError, Ingested, NewNode, Refusal, Replica};
use nodespace_protocol::store::{MemoryStore, Store};

/// A replica over memory.
pub(crate) type Device = Replica<MemoryStore>;

/// A moment, in milliseconds after the tests' beginning (14 November 2023).
pub(crate) const fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + ms)
}

/// The device key number `n`. Its user has the key [`user_key`].
pub(crate) fn key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

/// The user whose device is number `n`.
pub(crate) fn user_key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n ^ 0x80; 32])
}

/// The one-time key of an invite.
pub(crate) fn invite_key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n ^ 0x40; 32])
}

/// User `n`'s word that device `n` is theirs.
pub(crate) fn certificate(n: u8) -> Certificate {
    Certificate::issue(&user_key(n), key(n).device())
}

/// Device `n` in the first incarnation of its store.
pub(crate) fn author(n: u8) -> Author {
    Author { key: key(n), epoch: epoch_of(n) }
}

/// The log that device `n` writes.
pub(crate) fn log(n: u8) -> LogId {
    LogId { device: key(n).device(), epoch: epoch_of(n) }
}

fn epoch_of(n: u8) -> u32 {
    0x0100_0000 + u32::from(n)
}

/// A node id.
pub(crate) fn node(name: &str) -> NodeId {
    NodeId::parse(name).expect("a test's node id")
}

/// A workspace founded by device `n`.
pub(crate) fn found(n: u8) -> Device {
    let founding = Founding { name: "Garden".into(), policy: Policy::default(), secret: [n; 32] };
    let mut device = Replica::found(MemoryStore::new(), author(n), certificate(n), founding, at(0)).unwrap();
    device.commit().unwrap();
    device
}

/// Device `n` with nothing of the workspace yet.
pub(crate) fn stranger(n: u8, workspace: WorkspaceId) -> Device {
    Replica::open(workspace, MemoryStore::new(), Some(author(n)), at(0)).unwrap()
}

/// An invite by `owner` for `uses` joins until `expires`.
pub(crate) fn invite(owner: &mut Device, n: u8, role: Role, expires: Timestamp, uses: u32, now: Timestamp) -> Ticket {
    let ticket = owner.invite(now, &invite_key(n), role, expires, uses).unwrap();
    owner.commit().unwrap();
    ticket
}

/// Device `n` as a new member, in step with the owner.
pub(crate) fn join(owner: &mut Device, n: u8, role: Role, now: Timestamp) -> Device {
    let ticket = invite(owner, n, role, at(3_600_000), 1, now);
    let mut device = stranger(n, owner.workspace());
    exchange(owner, &mut device, now);
    device.join(now, &ticket, certificate(n)).unwrap();
    exchange(&mut device, owner, now);
    device
}

/// A text node at the top level.
pub(crate) fn write_node(device: &mut Device, name: &str, text: &str, now: Timestamp) -> OpHash {
    device.create(now, NewNode::text(node(name), None, text)).unwrap()
}

/// Everything of `from` that `to` lacks, as segments, in the order of logs.
pub(crate) fn segments(from: &mut Device, to: &Device) -> Vec<Segment> {
    from.commit().unwrap();
    let known = |log: &LogId| to.logs().get(log).map_or(0, nodespace_protocol::log::Log::last_seq);
    let theirs = to.frontier();
    let mut found = Vec::new();
    for log in from.logs().iter().map(|(log, _)| *log).collect::<Vec<_>>() {
        let heads: Vec<Head> = theirs.iter().filter(|entry| entry.log == log).flat_map(|entry| entry.heads.clone()).collect();
        for mut range in from.lacking(log, &heads).unwrap().0 {
            while let Some(segment) = from.segment(&range, true, &known).unwrap() {
                range.after = segment.last_seq();
                found.push(segment);
            }
        }
    }
    found
}

/// Gives `to` everything of `from`; answers what was refused.
pub(crate) fn exchange(from: &mut Device, to: &mut Device, now: Timestamp) -> Vec<Refusal> {
    let mut waiting: Vec<Segment> = segments(from, to).iter().map(rewritten).collect();
    let mut refused = Vec::new();
    loop {
        let before = waiting.len();
        waiting.retain(|segment| match to.ingest(segment, now) {
            Ok(_) => false,
            Err(IngestError::Refused(refusal)) => {
                refused.push(refusal);
                false
            }
            Err(IngestError::Missing(_)) => true,
            Err(IngestError::Store(error)) => panic!("memory failed: {error}"),
        });
        if waiting.len() == before || waiting.is_empty() {
            break;
        }
    }
    let left: Vec<_> = waiting.iter().map(|segment| (segment.log, segment.first_seq, segment.last_seq())).collect();
    assert_eq!(left, [], "these segments wait for one another");
    to.commit().unwrap();
    refused
}

/// Both give each other everything.
pub(crate) fn meet(a: &mut Device, b: &mut Device, now: Timestamp) {
    assert_eq!(exchange(a, b, now), [], "nothing is refused among honest devices");
    assert_eq!(exchange(b, a, now), [], "nothing is refused among honest devices");
}

/// A segment that went through its bytes.
pub(crate) fn rewritten(segment: &Segment) -> Segment {
    Segment::decode(&segment.encode()).expect("a segment reads what it wrote")
}

/// Writes operations of a log that no replica guards: what a broken or hostile device could sign.
#[derive(Clone, Debug)]
pub(crate) struct Pen {
    pub(crate) log: LogId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) seq: u64,
    pub(crate) previous: Option<OpHash>,
    pub(crate) timestamp: Timestamp,
    pub(crate) version: u64,
}

impl Pen {
    /// Continues the log that a device has written.
    pub(crate) fn of(device: &Device, n: u8, now: Timestamp) -> Self {
        let log = log(n);
        let branch = device.logs().get(&log).map(|log| log.branches()[0].clone());
        let version = u64::from(device.store().op_count());
        Self {
            log,
            workspace: device.workspace(),
            seq: branch.as_ref().map_or(0, |branch| branch.last_seq()),
            previous: branch.and_then(|branch| branch.last),
            timestamp: now,
            version: 100 + version,
        }
    }

    /// The next operation on a node, with clocks that advance.
    pub(crate) fn op(&mut self, node: &NodeId, kind: OpType, payload: &Payload, parents: &[&Op]) -> Op {
        self.sign_off(Some(node), kind, payload.encode(), parents, |_| {})
    }

    /// The next operation, whatever is in it; `change` has the last word on the header.
    pub(crate) fn sign_off(
        &mut self,
        node: Option<&NodeId>,
        kind: OpType,
        payload: Vec<u8>,
        parents: &[&Op],
        change: impl FnOnce(&mut Header),
    ) -> Op {
        self.seq += 1;
        self.timestamp = self.timestamp.next();
        self.version += 1;
        let mut refs: Vec<ParentRef> = parents
            .iter()
            .map(|op| if op.header.log == self.log { ParentRef::Own(self.seq - op.header.seq) } else { ParentRef::Other(op.hash) })
            .collect();
        refs.sort_unstable();
        let mut header = Header {
            log: self.log,
            seq: self.seq,
            previous: self.previous,
            node: node.cloned(),
            kind,
            timestamp: self.timestamp,
            version: self.version,
            parent_version: parents.iter().map(|op| op.header.version).max(),
            parents: refs.into_iter().collect(),
            cut: None,
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: None,
        };
        change(&mut header);
        let op = Op::new(&self.workspace, header, payload.into(), None);
        (self.seq, self.previous) = (op.header.seq, Some(op.hash));
        (self.timestamp, self.version) = (op.header.timestamp, op.header.version);
        op
    }
}

/// The segment of some operations of one log, signed by `key`.
pub(crate) fn signed(key: &KeyPair, ops: &[Op]) -> Segment {
    let (first, last) = (&ops[0], &ops[ops.len() - 1]);
    let mut previous_prefix = [0; PREFIX_BYTES];
    if let Some(previous) = first.header.previous {
        previous_prefix.copy_from_slice(&previous.0[..PREFIX_BYTES]);
    }
    Segment {
        log: first.header.log,
        first_seq: first.header.seq,
        previous_prefix,
        ops: ops.iter().map(|op| WireOp::of(op, true, |_| None)).collect(),
        signature: key.sign(Purpose::Operation, &[&last.hash.0]),
    }
}

/// Ingests a segment that must be taken.
pub(crate) fn take(device: &mut Device, segment: &Segment, now: Timestamp) -> Ingested {
    let taken = device.ingest(&rewritten(segment), now).unwrap_or_else(|error| panic!("must be taken, but {error}"));
    device.commit().unwrap();
    taken
}

/// Ingests a segment that must be refused, and checks that nothing of it was stored.
pub(crate) fn refuse(device: &mut Device, segment: &Segment, now: Timestamp) -> Refusal {
    let before = (device.counts(), device.store().record_count(), device.state_digest(), device.frontier_digest());
    let refusal = match device.ingest(segment, now) {
        Err(IngestError::Refused(refusal)) => refusal,
        other => panic!("must be refused, but {other:?}"),
    };
    let after = (device.counts(), device.store().record_count(), device.state_digest(), device.frontier_digest());
    assert_eq!(before, after, "nothing of a refused segment stays");
    refusal
}

/// The operation of a hash, which the device holds.
pub(crate) fn op(device: &Device, hash: &OpHash) -> Arc<Op> {
    device.op(hash).unwrap().expect("it is held")
}

/// An attachment with its reference.
pub(crate) fn attach(bytes: &[u8]) -> (BlobRef, Arc<[u8]>) {
    (BlobRef { hash: attachment_hash(bytes), len: bytes.len() as u32, encryption: 0 }, bytes.into())
}
