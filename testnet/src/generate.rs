//! A workload of any size: signed segments of several authors, as they would come in from the network.
//!
//! For benchmarks and tests of devices. Everything is drawn from a seed, so two runs get the same bytes. The authors write in
//! rounds: in a round each knows what all wrote in the rounds before, and of this one only what it wrote itself. So now and then two edit
//! the same node at once, and the next one to touch it brings both histories together. What they do is what people do with
//! an outliner: most operations edit text, some make, move, delete, mention, or set metadata.
//!
//! ```no_run
//! use nodespace_protocol::op::Segment;
//! use nodespace_protocol::replica::Replica;
//! use nodespace_protocol::store::MemoryStore;
//! use nodespace_testnet::generate::{Generator, Workload};
//!
//! # fn main() -> anyhow::Result<()> {
//! let generator = Generator::new(&Workload::default())?;
//! let now = generator.now();
//! let mut replica = Replica::open(generator.workspace(), MemoryStore::new(), None, now)?;
//! for batch in generator {
//!     for bytes in &batch.segments {
//!         replica.ingest(&Segment::decode(bytes)?, now)?;
//!     }
//!     replica.commit()?;
//! }
//! # Ok(())
//! # }
//! ```

mod nodes;
mod scribe;

use anyhow::{Context as _, Result, ensure};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{Domain, KeyPair};
use nodespace_protocol::ids::{NodeId, WorkspaceId};
use nodespace_protocol::membership::{Certificate, WorkspaceAction};
use nodespace_protocol::replica::{Author, Founding, LogRange, Replica};
use nodespace_protocol::store::{MemoryStore, Store as _};

use crate::sim::dice::Dice;
use nodes::Nodes;
use scribe::Scribe;

/// Operations that one author writes in a round, at most: what one segment brings.
const OPS_PER_SEGMENT: u64 = 250;
/// The most authors: a segment may name the logs of so many others.
pub const AUTHORS_MAX: u32 = 64;
/// When the workspace is founded, in milliseconds since the Unix epoch.
const FOUNDED_MS: u64 = 1_700_000_000_000;
/// How much later each round begins.
const ROUND_MS: u64 = 1_000;

/// How much is to be written, and by how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Operations in all, those that found the workspace included.
    pub ops: u64,
    /// Nodes that come to be.
    pub nodes: u64,
    /// Devices that write, all of one user.
    pub authors: u32,
    /// What everything is drawn from.
    pub seed: u64,
}

impl Default for Workload {
    /// A million operations on a hundred thousand nodes by four devices.
    fn default() -> Self {
        Self { ops: 1_000_000, nodes: 100_000, authors: 4, seed: 1 }
    }
}

/// What comes in at once: segments in an order in which each can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Encoded segments ([`nodespace_protocol::op::Segment`]).
    pub segments: Vec<Vec<u8>>,
    /// Operations in them.
    pub ops: u64,
}

/// Writes a workload, batch by batch: about a thousand operations each with four authors.
#[derive(Debug)]
pub struct Generator {
    workload: Workload,
    founder: Author,
    workspace: WorkspaceId,
    /// The segments that found the workspace, until they are handed out.
    founding: Option<Batch>,
    scribes: Vec<Scribe>,
    nodes: Nodes,
    dice: Dice,
    written: u64,
    round: u64,
}

impl Generator {
    /// A generator at its beginning.
    ///
    /// # Errors
    /// When the workload is none: no authors or too many, fewer operations than found the workspace and make its nodes.
    pub fn new(workload: &Workload) -> Result<Self> {
        let Workload { ops, nodes, authors, seed } = *workload;
        ensure!((1..=AUTHORS_MAX).contains(&authors), "a workload has 1 to {AUTHORS_MAX} authors, not {authors}");
        let founding_ops = u64::from(authors) + 1;
        ensure!(ops >= founding_ops + nodes, "{nodes} nodes of {authors} authors take at least {} operations", founding_ops + nodes);
        ensure!(nodes > 0 && u32::try_from(nodes).is_ok(), "a workload has 1 to {} nodes, not {nodes}", u32::MAX);
        let user = key(seed, "user", 0);
        let founder = author(seed, 0);
        let certificate = Certificate::issue(&user, founder.key.device());
        let founding = Founding { name: "generated".into(), policy: Policy::default(), secret: secret(seed, "workspace", 0) };
        let mut replica = Replica::found(MemoryStore::new(), founder.clone(), certificate, founding, at(0))?;
        for number in 1..=authors {
            let certificate = Certificate::issue(&user, author(seed, number).key.device());
            replica.change_workspace(at(0), WorkspaceAction::AddDevice { certificate })?;
        }
        replica.commit()?;
        let workspace = replica.workspace();
        let cut = replica.membership().heads().to_vec();
        let seen = replica.membership().len() as u64;
        let scribes = (1..=authors).map(|number| Scribe::new(workspace, author(seed, number), cut.clone(), seen)).collect();
        Ok(Self {
            workload: *workload,
            founder,
            workspace,
            founding: Some(segments_of(&replica)?),
            scribes,
            nodes: Nodes::new(seed),
            dice: Dice::new(seed, 2),
            written: 0,
            round: 0,
        })
    }

    /// The workspace that is written to.
    pub const fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// The device that founded the workspace and writes nothing else: open a replica with it to write beside the workload.
    pub fn founder(&self) -> Author {
        self.founder.clone()
    }

    /// A time after everything that is written.
    pub fn now(&self) -> Timestamp {
        let rounds = self.workload.ops / OPS_PER_SEGMENT + 3;
        at((rounds + 1) * ROUND_MS)
    }

    /// The id of the `number`-th node that is made, from 0.
    pub fn node(&self, number: u64) -> NodeId {
        self.nodes.id(number as u32)
    }

    /// One author's part of a round.
    fn segment(&mut self, author: usize, ops: u64, time: Timestamp) -> Vec<u8> {
        let Self { workload, scribes, nodes, dice, written, .. } = self;
        let scribe = &mut scribes[author];
        for number in 0..ops {
            let left = workload.ops - *written;
            // Nodes come to be evenly over the whole.
            let wanted = workload.nodes - u64::from(nodes.made());
            let makes = nodes.settled() == 0 || wanted >= left || dice.below(left) < wanted;
            if makes {
                nodes.create(scribe, author as u32, dice, time.plus_ms(number));
            } else {
                nodes.change(scribe, author as u32, dice, time.plus_ms(number));
            }
            *written += 1;
        }
        scribe.segment()
    }
}

impl Iterator for Generator {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if let Some(batch) = self.founding.take() {
            self.written += batch.ops;
            return Some(batch);
        }
        let before = self.written;
        self.round += 1;
        let (time, version) = (at(self.round * ROUND_MS), self.scribes.iter().map(Scribe::version).max().unwrap_or(0));
        let mut segments = Vec::with_capacity(self.scribes.len());
        // In the first round somebody makes the first node; only then there is something to work on.
        let (authors, most) = if self.nodes.settled() == 0 { (1, 1) } else { (self.scribes.len(), OPS_PER_SEGMENT) };
        for author in 0..authors {
            let ops = most.min(self.workload.ops - self.written);
            if ops > 0 {
                self.scribes[author].begin_round(version);
                segments.push(self.segment(author, ops, time));
            }
        }
        self.nodes.end_round();
        (!segments.is_empty()).then(|| Batch { segments, ops: self.written - before })
    }
}

fn segments_of(replica: &Replica<MemoryStore>) -> Result<Batch> {
    let log = replica.own_log().context("the founder has a log")?;
    let through = replica.logs().get(&log).map_or(0, nodespace_protocol::log::Log::last_seq);
    let mut range = LogRange { log, branch: 0, after: 0, through };
    let mut segments = Vec::new();
    while let Some(segment) = replica.segment(&range, true, &|_| 0)? {
        range.after = segment.last_seq();
        segments.push(segment.encode());
    }
    Ok(Batch { segments, ops: replica.store().op_count().into() })
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(FOUNDED_MS + ms)
}

fn secret(seed: u64, what: &str, number: u32) -> [u8; 32] {
    Domain::Secret.hash_parts(&[b"testnet workload", &seed.to_le_bytes(), what.as_bytes(), &number.to_le_bytes()])
}

fn key(seed: u64, what: &str, number: u32) -> KeyPair {
    KeyPair::from_seed(&secret(seed, what, number))
}

fn author(seed: u64, number: u32) -> Author {
    Author { key: key(seed, "device", number), epoch: number + 1 }
}

#[cfg(test)]
mod tests;
