//! What the benchmarks build on: a workspace of several devices, authors made by hand, and copying between replicas.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "each benchmark uses a part of it; it reads the clock"
)]

use std::time::{Duration, Instant};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{KeyPair, Purpose};
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::log::Head;
use nodespace_protocol::membership::{Certificate, WorkspaceAction};
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, ParentRef, Payload, Segment, payload_hash};
use nodespace_protocol::replica::{Author, Founding, IngestError, LogRange, Replica};
use nodespace_protocol::store::{MemoryStore, Store as _};
use nodespace_protocol::text::TextPatch;

/// One device's copy.
pub type Device = Replica<MemoryStore>;

/// A seeded generator (xorshift64*): the same work in every run.
pub struct Dice(pub u64);

impl Dice {
    /// 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 20) % bound
    }

    /// `chars` characters of small words.
    pub fn words(&mut self, chars: usize) -> String {
        const WORDS: [&str; 16] = [
            "sync ", "node ", "the ", "of ", "outline ", "a ", "device ", "is ", "writes ", "offline ", "and ", "merges ", "later ",
            "with ", "other ", "people ",
        ];
        let mut text = String::with_capacity(chars + 8);
        while text.len() < chars {
            text.push_str(WORDS[(self.next() >> 60) as usize]);
        }
        text.truncate(chars);
        text
    }
}

/// The key of the n-th device.
pub fn key(n: u32) -> KeyPair {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    KeyPair::from_seed(&seed)
}

/// The n-th device as an author.
pub fn author(n: u32) -> Author {
    Author { key: key(n), epoch: n + 1 }
}

/// The n-th node's id: a UUID without regularity.
pub fn node(n: u64) -> NodeId {
    let mut dice = Dice(n.wrapping_mul(0xd6e8_feb8_6659_fd93) | 1);
    NodeId::Uuid(uuid::Uuid::from_u64_pair(dice.next(), dice.next()))
}

/// A wall clock in milliseconds since the workspace was founded.
pub const fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + ms)
}

/// After everything that any benchmark writes.
pub const fn late() -> Timestamp {
    at(1 << 40)
}

/// A workspace of one user with so many devices; written by device 0.
pub fn founded(devices: u32) -> Device {
    let user = key(u32::MAX);
    let certificate = Certificate::issue(&user, key(0).device());
    let founding = Founding { name: "benchmark".into(), policy: Policy::default(), secret: [9; 32] };
    let mut replica = Replica::found(MemoryStore::new(), author(0), certificate, founding, at(0)).expect("a workspace can be founded");
    for n in 1..devices {
        let certificate = Certificate::issue(&user, key(n).device());
        replica.change_workspace(at(0), WorkspaceAction::AddDevice { certificate }).expect("the owner adds devices");
    }
    replica.commit().expect("memory does not fail");
    replica
}

/// The n-th device's own copy of all that another holds.
pub fn joined(of: &Device, n: u32) -> Device {
    let mut replica = Replica::open(of.workspace(), MemoryStore::new(), Some(author(n)), late()).expect("an empty store opens");
    copy(of, &mut replica);
    replica
}

/// The same store opened as another device.
pub fn reopened(of: &Device, n: u32) -> Device {
    Replica::open(of.workspace(), of.store().clone(), Some(author(n)), late()).expect("the store is whole")
}

/// What of one replica another lacks.
pub fn lacking(from: &Device, to: &Device) -> Vec<LogRange> {
    let frontier = to.frontier();
    let heads = |log: &LogId| -> &[Head] { frontier.iter().find(|entry| entry.log == *log).map_or(&[], |entry| entry.heads.as_slice()) };
    let logs: Vec<LogId> = from.logs().iter().map(|(log, _)| *log).collect();
    let lacks = |log: &LogId| {
        let (ranges, unplaced) = from.lacking(*log, heads(log)).expect("memory does not fail");
        // Where the receiver is ahead there is nothing to send.
        if unplaced.is_empty() { ranges } else { Vec::new() }
    };
    logs.iter().flat_map(lacks).collect()
}

/// Ranges as the segments a peer would send; parents in other logs by hash.
pub fn segments(from: &Device, range: &LogRange) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut range = *range;
    while let Some(segment) = from.segment(&range, true, &|_| 0).expect("memory does not fail") {
        range.after = segment.last_seq();
        segments.push(segment);
    }
    segments
}

/// Ingests segments of several logs, each log in order, those that must wait after the others.
pub fn ingest_all(to: &mut Device, logs: Vec<Vec<Segment>>) {
    let mut queues: Vec<_> = logs.into_iter().map(|log| log.into_iter().peekable()).collect();
    loop {
        let mut moved = false;
        for queue in &mut queues {
            while let Some(segment) = queue.peek() {
                match to.ingest(segment, late()) {
                    Ok(_) => drop(queue.next()),
                    Err(IngestError::Missing(_)) => break,
                    Err(error) => panic!("a benchmark's segment was not taken: {error}"),
                }
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    assert!(queues.iter_mut().all(|queue| queue.peek().is_none()), "segments wait for what never comes");
    to.commit().expect("memory does not fail");
}

/// Brings everything from one replica to another.
pub fn copy(from: &Device, to: &mut Device) {
    let ranges = lacking(from, to);
    ingest_all(to, ranges.iter().map(|range| segments(from, range)).collect());
}

/// A payload that inserts at a position.
pub fn insert(position: u32, text: &str) -> Payload {
    Payload { text: Some(TextChange::Edits(vec![TextPatch::new(position, 0, text)])), ..Payload::default() }
}

/// An operation as a parent is named: its hash and version.
#[derive(Clone, Copy)]
pub struct Parent {
    pub hash: OpHash,
    pub version: u64,
}

impl Parent {
    /// This operation as a parent.
    pub const fn of(op: &Op) -> Self {
        Self { hash: op.hash, version: op.header.version }
    }

    /// The only head of a node.
    pub fn head(replica: &Device, id: &NodeId) -> Self {
        let head = replica.node(id).expect("the store is whole").expect("the node is there").heads()[0];
        Self { hash: head.stamp.hash, version: head.stamp.version }
    }
}

/// A device's log written by hand, without a replica of its own: any shape of graph, and a thousand authors, at no cost.
pub struct Scribe {
    workspace: WorkspaceId,
    author: Author,
    cut: Box<[OpHash]>,
    first: u64,
    previous: Option<OpHash>,
    before: [u8; PREFIX_BYTES],
    version: u64,
    written: Vec<OpHash>,
    ops: Vec<Op>,
}

impl Scribe {
    /// The n-th device, at the beginning of its log, under the membership of `replica`.
    pub fn new(replica: &Device, n: u32) -> Self {
        let cut = replica.membership().heads().into();
        Self {
            workspace: replica.workspace(),
            author: author(n),
            cut,
            first: 1,
            previous: None,
            before: [0; PREFIX_BYTES],
            version: 0,
            written: Vec::new(),
            ops: Vec::new(),
        }
    }

    /// Writes an update of a node after `parents`.
    pub fn update(&mut self, node: &NodeId, parents: &[Parent], payload: &Payload) -> Parent {
        let seq = self.first + self.ops.len() as u64;
        let latest = parents.iter().map(|parent| parent.version).max().unwrap_or(0);
        let version = latest.max(self.version) + 1;
        let mut named: Vec<ParentRef> = parents.iter().map(|parent| self.name(seq, parent)).collect();
        named.sort_unstable();
        let payload = payload.encode();
        let header = Header {
            log: self.author.log(),
            seq,
            previous: self.previous,
            node: Some(node.clone()),
            kind: OpType::Update,
            // One time for each version: every operation is later than its parents.
            timestamp: at((1 << 30) + version),
            version,
            parent_version: Some(latest),
            parents: named.into_iter().collect(),
            cut: (seq == 1).then(|| self.cut.clone()),
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: None,
        };
        let op = Op::new(&self.workspace, header, payload.into(), None);
        (self.version, self.previous) = (version, Some(op.hash));
        self.written.push(op.hash);
        let parent = Parent::of(&op);
        self.ops.push(op);
        parent
    }

    /// Own operations go by distance, as everywhere.
    fn name(&self, seq: u64, parent: &Parent) -> ParentRef {
        let back = self.written.iter().rev().position(|hash| *hash == parent.hash);
        back.map_or(ParentRef::Other(parent.hash), |back| {
            debug_assert!((back as u64) < seq - 1);
            ParentRef::Own(back as u64 + 1)
        })
    }

    /// What was written since the last call, signed, as one segment.
    pub fn segment(&mut self) -> Segment {
        let ops: Vec<WireOp> = self.ops.iter().map(|op| WireOp::of(op, true, |_| None)).collect();
        let last = self.ops.last().expect("something was written").hash;
        let signature = self.author.key.sign(Purpose::Operation, &[&last.0]);
        let segment = Segment { log: self.author.log(), first_seq: self.first, previous_prefix: self.before, ops, signature };
        self.first += self.ops.len() as u64;
        self.before.copy_from_slice(&last.0[..PREFIX_BYTES]);
        self.ops.clear();
        segment
    }
}

/// How long `work` keeps one core busy: the processor's time where the system tells it (Linux), because a shared machine's clock on
/// the wall measures the neighbours too. Short work, for which that is too coarse, by the wall: take the fastest of a few rounds.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let (busy, start) = (busy(), Instant::now());
    let result = work();
    let wall = start.elapsed();
    let time = match (busy, self::busy()) {
        (Some(before), Some(after)) if wall > COARSE => after.saturating_sub(before),
        _ => wall,
    };
    (time, result)
}

/// The system counts in ticks of a few milliseconds.
const COARSE: Duration = Duration::from_millis(100);

/// Processor time of the main thread so far, which is the only one here.
pub fn busy() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Whether cargo asked for a measurement (`--bench`), rather than for a look whether it runs.
pub fn measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Whether a smaller run is wanted: `-- --quick`, or no measurement at all.
pub fn quick() -> bool {
    !measuring() || std::env::args().any(|argument| argument == "--quick")
}

/// Operations a replica holds.
pub fn ops_of(replica: &Device) -> u64 {
    replica.store().op_count().into()
}
