//! A small workspace of two members, and segments thrown at it.
//!
//! Two targets. `ingest` takes segments as they are: nearly all are refused for their signature. `resigned` is a member who lies: whatever
//! decodes is put at the end of a member's log, its hashes computed and its signature made, so that nothing but the rules
//! themselves stands in its way. Then the state must be readable, the same in every order of arrival, and the same after a restart.

use std::sync::OnceLock;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{KeyPair, Purpose, Signature};
use nodespace_protocol::ids::{LogId, NodeId, OpHash, UserId, WorkspaceId};
use nodespace_protocol::membership::{Certificate, Role};
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireParent};
use nodespace_protocol::op::{BlobRef, Header, ParentRef, Segment, payload_hash};
use nodespace_protocol::replica::{Author, Founding, IngestError, LogRange, NewNode, Replica};
use nodespace_protocol::store::{MemoryStore, OpIndex, Store};

type Device = Replica<MemoryStore>;

/// The most segments of one script.
const SEGMENTS_MAX: usize = 12;
/// The most operations that are signed and folded: beyond it a run tells nothing new.
const OPS_MAX: usize = 64;

/// A segment's operations come into being before its signature is checked: some 700 bytes each, at most 4,096 of them; and the
/// replica itself is opened within the measurement.
pub(crate) const fn allocation_max(len: usize) -> usize {
    32 * len + (16 << 20)
}

/// The moment at which everything arrives.
pub(crate) const fn now() -> Timestamp {
    Timestamp::from_ms(1_700_000_100_000)
}

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

fn author(n: u8) -> Author {
    Author { key: key(n), epoch: 0x0100_0000 + u32::from(n) }
}

fn certificate(n: u8) -> Certificate {
    Certificate::issue(&key(n ^ 0x80), key(n).device())
}

/// The owner.
pub(crate) fn user() -> UserId {
    key(1 ^ 0x80).user()
}

struct Prepared {
    workspace: WorkspaceId,
    store: MemoryStore,
}

/// Founded by device 1, joined by device 2, with a page, a child and a concurrent edit.
fn prepared() -> &'static Prepared {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    PREPARED.get_or_init(|| prepare().expect("an honest workspace can be made"))
}

fn prepare() -> Option<Prepared> {
    let start = Timestamp::from_ms(1_700_000_000_000);
    let founding = Founding { name: "Garden".into(), policy: Policy::default(), secret: [1; 32] };
    let mut owner = Replica::found(MemoryStore::new(), author(1), certificate(1), founding, start).ok()?;
    let ticket = owner.invite(start, &key(0x41), Role::Editor, start.plus_ms(1 << 30), 3).ok()?;
    let page = NodeId::parse("page").ok()?;
    owner.create(start, NewNode::text(page.clone(), None, "Hello, world")).ok()?;
    owner.create(start, NewNode::text(NodeId::parse("child").ok()?, Some(page.clone()), "one")).ok()?;
    let mut editor = Replica::open(owner.workspace(), MemoryStore::new(), Some(author(2)), start).ok()?;
    give(&mut owner, &mut editor);
    editor.join(start, &ticket, certificate(2)).ok()?;
    editor.set_text(start, &page, "Hello, whole world").ok()?;
    owner.set_text(start, &page, "Hello, world!").ok()?;
    give(&mut editor, &mut owner);
    Some(Prepared { workspace: owner.workspace(), store: owner.into_store() })
}

fn give(from: &mut Device, to: &mut Device) {
    drop(from.commit());
    for (log, entry) in from.logs().iter() {
        let mut range = LogRange { log: *log, branch: 0, after: 0, through: entry.last_seq() };
        while let Ok(Some(segment)) = from.segment(&range, true, &|_| 0) {
            range.after = segment.last_seq();
            drop(to.ingest(&segment, now()));
        }
    }
    drop(to.commit());
}

/// The owner's replica.
pub(crate) fn open() -> Device {
    let Prepared { workspace, store } = prepared();
    Replica::open(*workspace, store.clone(), Some(author(1)), now()).expect("an honest store opens")
}

/// Reads everything there is to read.
pub(crate) fn look_at(replica: &mut Device) {
    drop(replica.conflicts());
    for id in replica.node_ids() {
        drop((replica.view(&id).map(drop), replica.history(&id).map(drop), replica.conflicts_of(&id)));
    }
    drop((replica.placeholders(), replica.membership().members(), replica.fork_proofs()));
    replica.state_digest();
}

pub(crate) fn ingest(bytes: &[u8]) {
    let Ok(segment) = Segment::decode(bytes) else { return };
    let mut replica = open();
    drop(replica.ingest(&segment, now()));
    look_at(&mut replica);
}

pub(crate) fn resigned(bytes: &[u8]) {
    let segments = script(bytes);
    if segments.is_empty() {
        return;
    }
    let mut first = open();
    let mut last = open();
    let taken = segments.iter().filter(|segment| take(&mut first, segment)).count();
    // The other way round, as far as each log allows: as often as anything is taken.
    let mut left: Vec<&Segment> = segments.iter().rev().collect();
    loop {
        let before = left.len();
        left.retain(|segment| !take(&mut last, segment));
        if left.len() == before {
            break;
        }
    }
    look_at(&mut first);
    if taken == segments.len() && left.is_empty() {
        assert_eq!(first.frontier_digest(), last.frontier_digest(), "the same segments give the same frontier");
        assert_eq!(first.state_digest(), last.state_digest(), "the same segments give the same state in any order");
    }
    write_on(&mut first);
    let state = first.state_digest();
    let (workspace, author) = (first.workspace(), author(1));
    let mut again = Replica::open(workspace, first.into_store(), Some(author), now()).expect("what was stored opens again");
    assert_eq!(again.state_digest(), state, "a restart changes nothing");
}

fn take(replica: &mut Device, segment: &Segment) -> bool {
    match replica.ingest(segment, now()) {
        Ok(_) => true,
        Err(IngestError::Refused(_) | IngestError::Missing(_)) => false,
        Err(IngestError::Store(error)) => panic!("memory failed: {error}"),
    }
}

/// An honest device goes on whatever it has read.
fn write_on(replica: &mut Device) {
    for id in replica.node_ids() {
        drop(replica.set_text(now(), &id, "after it all"));
    }
}

/// Reads segments with their lengths before them, and makes each the next of a member's log.
fn script(mut bytes: &[u8]) -> Vec<Segment> {
    let mut pens = [Pen::of(1), Pen::of(2)];
    let mut segments = Vec::new();
    let mut ops = 0;
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (segment, rest) = rest.split_at(len);
        bytes = rest;
        let Ok(segment) = Segment::decode(segment) else { continue };
        ops += segment.ops.len();
        if segments.len() == SEGMENTS_MAX || ops > OPS_MAX {
            break;
        }
        let pen = &mut pens[usize::from(segment.log.device.0[0]) % 2];
        segments.extend(pen.sign(&segment));
    }
    segments
}

/// The end of a member's log.
struct Pen {
    key: KeyPair,
    workspace: WorkspaceId,
    log: LogId,
    seq: u64,
    previous: Option<OpHash>,
    timestamp: Timestamp,
    version: u64,
    /// Operations held by everybody, to serve as parents.
    known: Vec<(OpHash, Option<NodeId>, u64)>,
}

impl Pen {
    fn of(n: u8) -> Self {
        let replica = open();
        let store = replica.store();
        let log = author(n).log();
        let held: Vec<_> = (0..store.op_count()).filter_map(|index| store.op(OpIndex(index)).ok()).collect();
        let last = held.iter().rfind(|op| op.header.log == log);
        Self {
            key: key(n),
            workspace: replica.workspace(),
            log,
            seq: last.map_or(0, |op| op.header.seq),
            previous: last.map(|op| op.hash),
            timestamp: last.map(|op| op.header.timestamp).unwrap_or_default(),
            version: last.map_or(0, |op| op.header.version),
            known: held.iter().map(|op| (op.hash, op.header.node.clone(), op.header.version)).collect(),
        }
    }

    /// A segment with the same operations as the next of this log, or `None` when a header would break its own rules.
    fn sign(&mut self, segment: &Segment) -> Option<Segment> {
        let mut signed = segment.clone();
        (signed.log, signed.first_seq) = (self.log, self.seq + 1);
        signed.previous_prefix = [0; PREFIX_BYTES];
        if let Some(previous) = self.previous {
            signed.previous_prefix.copy_from_slice(&previous.0[..PREFIX_BYTES]);
        }
        for wire in &mut signed.ops {
            self.adapt(wire);
            let header = self.header(wire);
            header.check().ok()?;
            let hash = header.hash(&self.workspace, &mut Vec::new());
            (self.seq, self.previous) = (self.seq + 1, Some(hash));
            (self.timestamp, self.version) = (header.timestamp, header.version);
            self.known.push((hash, header.node, header.version));
        }
        signed.signature = self.previous.map_or(Signature([0; 64]), |hash| self.key.sign(Purpose::Operation, &[&hash.0]));
        Some(signed)
    }

    /// Makes clocks advance, and parents and cuts exist, where the input left them impossible. Odd versions keep what they say.
    fn adapt(&self, wire: &mut nodespace_protocol::op::segment::WireOp) {
        if wire.timestamp <= self.timestamp || wire.timestamp > now().plus_ms(120_000) {
            wire.timestamp = self.timestamp.next();
        }
        if wire.version <= self.version || wire.version > 1 << 40 {
            wire.version = self.version + 1 + wire.version % 16;
        }
        wire.cut = None;
        let mut parents: Vec<ParentRef> = Vec::new();
        for (at, parent) in wire.parents.iter().enumerate() {
            let choice = match parent {
                WireParent::Own(distance) => *distance as usize,
                WireParent::Hash(hash) => usize::from(hash.0[0]),
                WireParent::At(position) => position.seq as usize,
                WireParent::Prefix(prefix) => usize::from(prefix[0]),
            };
            let same: Vec<_> = self.known.iter().filter(|(_, node, _)| *node == wire.node).collect();
            if let Some((hash, ..)) = same.iter().rev().nth((choice + at) % same.len().max(1)) {
                parents.push(ParentRef::Other(*hash));
            }
        }
        parents.sort_unstable();
        parents.dedup();
        let version_of =
            |parent: &ParentRef| self.known.iter().find(|(hash, ..)| *parent == ParentRef::Other(*hash)).map(|(_, _, version)| *version);
        let greatest = parents.iter().filter_map(version_of).max();
        wire.version = wire.version.max(greatest.map_or(0, |version| version + 1));
        wire.parent_version = greatest;
        wire.parents = parents
            .into_iter()
            .filter_map(|parent| match parent {
                ParentRef::Other(hash) => Some(WireParent::Hash(hash)),
                ParentRef::Own(_) => None,
            })
            .collect();
    }

    fn header(&self, wire: &nodespace_protocol::op::segment::WireOp) -> Header {
        let parents = wire.parents.iter().filter_map(|parent| match parent {
            WireParent::Own(distance) => Some(ParentRef::Own(*distance)),
            WireParent::Hash(hash) => Some(ParentRef::Other(*hash)),
            WireParent::At(_) | WireParent::Prefix(_) => None,
        });
        Header {
            log: self.log,
            seq: self.seq + 1,
            previous: self.previous,
            node: wire.node.clone(),
            kind: wire.kind,
            timestamp: wire.timestamp,
            version: wire.version,
            parent_version: wire.parent_version,
            parents: parents.collect(),
            cut: wire.cut.clone(),
            payload: BlobRef { hash: payload_hash(&wire.payload), len: wire.payload.len() as u32, encryption: wire.encryption },
            attachment: wire.attachment.as_ref().map(|(blob, _)| *blob),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target is worth something only if much of what it signs is taken.
    #[test]
    fn resigned_seeds_are_taken() {
        let (mut signed, mut taken, mut changed) = (0, 0, 0);
        for seed in crate::seeds::scripts() {
            let mut replica = open();
            let before = replica.state_digest();
            for segment in script(&seed) {
                signed += 1;
                taken += usize::from(take(&mut replica, &segment));
            }
            changed += usize::from(replica.state_digest() != before);
        }
        eprintln!("{signed} segments signed, {taken} taken, {changed} scripts changed the state");
        assert!(taken * 2 > signed && changed > 5, "{signed} segments signed, {taken} taken, {changed} scripts changed the state");
    }
}
