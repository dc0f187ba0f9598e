//! Editing traces replayed: through the text engine, and through real signed operations between replicas.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::membership::Role;
use nodespace_protocol::op::{OpType, Payload};
use nodespace_protocol::replica::{LogRange, NewNode};
use nodespace_protocol::text::trace::{History, Trace};
use nodespace_protocol::text::{EventIndex, GapBuffer, TextMerge};

use crate::people::Person;

/// The largest trace file that is read, decompressed, in bytes.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What a replay came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Transactions replayed.
    pub transactions: usize,
    /// Whether the text is the one the trace promises.
    pub right: bool,
    /// Time to apply everything, reading not included.
    pub time: Duration,
    /// Memory of the merge at the end, in bytes (the replicas' in-memory stores are not counted).
    pub memory_bytes: usize,
    /// Bytes of all operations: payloads, or what travelled.
    pub bytes: u64,
}

/// A trace file in either format.
#[derive(Debug)]
pub enum TraceFile {
    /// One document's editing trace.
    Trace(Trace),
    /// Many small histories.
    Histories(Vec<History>),
}

/// Reads a trace file: JSON, gzipped or not, of either format.
///
/// # Errors
/// When it cannot be read, is too large, or is neither format.
pub fn read(path: &Path) -> Result<TraceFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut json = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = flate2::read::GzDecoder::new(bytes.as_slice()).take(FILE_BYTES_MAX + 1).read_to_end(&mut json);
        read.with_context(|| format!("{} is not a whole gzip file", path.display()))?;
        ensure!(json.len() as u64 <= FILE_BYTES_MAX, "{} holds more than {FILE_BYTES_MAX} bytes", path.display());
    } else {
        json = bytes;
    }
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'[') => Ok(TraceFile::Histories(History::parse_all(&json)?)),
        Some(b'{') => Ok(TraceFile::Trace(Trace::parse(&json)?)),
        _ => bail!("{} is neither an editing trace nor a list of histories", path.display()),
    }
}

/// Replays a trace through the text engine.
///
/// # Errors
/// When the trace names a parent that does not exist.
pub fn through_engine(trace: &Trace) -> Result<Outcome> {
    let bytes = trace.transactions.iter().map(|transaction| payload_bytes(&transaction.patches)).sum();
    let started = Instant::now();
    let mut merge = TextMerge::new(trace.start_content.chars().count() as u32);
    for (key, transaction) in trace.transactions.iter().enumerate() {
        let parents: Vec<EventIndex> = transaction.parents.iter().map(|parent| EventIndex(*parent)).collect();
        merge.push(&parents, (transaction.agent, key), &transaction.patches)?;
    }
    let mut text = GapBuffer::from(trace.start_content.as_str());
    merge.merge(&mut text);
    let text = text.to_string();
    let time = started.elapsed();
    let transactions = trace.transactions.len();
    Ok(Outcome { transactions, right: text == trace.end_content, time, memory_bytes: merge.memory_bytes(), bytes })
}

fn payload_bytes(patches: &[nodespace_protocol::text::TextPatch]) -> u64 {
    Payload { text: Some(TextChange::Edits(patches.to_vec())), ..Payload::default() }.encode().len() as u64
}

/// Replays small histories through the text engine, in one batch each, or event by event.
///
/// # Errors
/// When a history names a parent that does not exist.
pub fn histories_through_engine(histories: &[History], one_by_one: bool) -> Result<(usize, Outcome)> {
    let started = Instant::now();
    let mut right = 0;
    let mut memory_bytes = 0;
    let mut bytes = 0;
    for history in histories {
        let mut merge = TextMerge::new(0);
        let mut text = GapBuffer::from("");
        for transaction in &history.transactions {
            let parents: Vec<EventIndex> = transaction.parents.iter().map(|parent| EventIndex(*parent)).collect();
            merge.push(&parents, (transaction.agent.as_str(), transaction.sequence), &transaction.patches)?;
            bytes += payload_bytes(&transaction.patches);
            if one_by_one {
                merge.merge(&mut text);
            }
        }
        merge.merge(&mut text);
        right += usize::from(text.to_string() == history.end_content);
        memory_bytes = memory_bytes.max(merge.memory_bytes());
    }
    let time = started.elapsed();
    let transactions = histories.iter().map(|history| history.transactions.len()).sum();
    Ok((right, Outcome { transactions, right: right == histories.len(), time, memory_bytes, bytes }))
}

/// Types a trace on as many replicas as it has agents, each transaction a signed operation made when its author had seen exactly what the
/// trace says. What others have seen travels as segments. At the end everybody has everything.
///
/// # Errors
/// When an agent's transactions do not follow each other (one person cannot type on two branches), or the replicas refuse something.
pub fn through_operations(trace: &Trace, progress: &mut dyn FnMut(usize, usize)) -> Result<Outcome> {
    let agents: BTreeMap<u32, usize> = {
        let mut agents: Vec<u32> = trace.transactions.iter().map(|transaction| transaction.agent).collect();
        agents.sort_unstable();
        agents.dedup();
        agents.into_iter().zip(0..).collect()
    };
    let names: Vec<String> = agents.keys().map(|agent| format!("agent {agent}")).collect();
    let mut people = gather(&names)?;
    let node = NodeId::parse("trace")?;
    people[0].replica.create(at(0), NewNode::text(node.clone(), None, trace.start_content.clone()))?;
    people[0].replica.commit()?;
    everybody(&mut people, at(0))?;
    type_trace(trace, &agents, (&mut people, 1_000), &node, progress)
}

/// Types a trace into a node that everybody has, one person an agent, from a moment on. See [`through_operations`].
///
/// # Errors
/// As [`through_operations`].
pub fn type_trace(
    trace: &Trace,
    agents: &BTreeMap<u32, usize>,
    (people, start_ms): (&mut [Person], u64),
    node: &NodeId,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Outcome> {
    let started = Instant::now();
    let mut typist = Typist::new(people, trace.transactions.len());
    for (number, transaction) in trace.transactions.iter().enumerate() {
        let author = *agents.get(&transaction.agent).context("an agent without a person")?;
        typist.see(number, author, &transaction.parents)?;
        let replica = &mut typist.people[author].replica;
        replica
            .edit_text(at(start_ms + number as u64 * 10), node, transaction.patches.clone())
            .with_context(|| format!("transaction {number} of agent {}", transaction.agent))?;
        replica.commit()?;
        typist.wrote(number, author)?;
        if number % 64 == 0 {
            progress(number, trace.transactions.len());
        }
    }
    let end = at(start_ms + 1_000 + trace.transactions.len() as u64 * 10);
    let mut bytes = typist.bytes;
    bytes += everybody(people, end)?;
    let time = started.elapsed();
    progress(trace.transactions.len(), trace.transactions.len());
    let right =
        people.iter().all(|person| person.replica.node(node).ok().flatten().is_some_and(|state| state.content() == trace.end_content));
    Ok(Outcome { transactions: trace.transactions.len(), right, time, memory_bytes: 0, bytes })
}

/// Who has seen what while a trace is typed.
struct Typist<'a> {
    people: &'a mut [Person],
    /// By transaction: how far its author's knowledge reached into each log, itself included.
    clocks: Vec<Vec<u64>>,
    /// By person: how far they hold each other's log.
    held: Vec<Vec<u64>>,
    /// By person: whether they have typed anything.
    typed: Vec<bool>,
    bytes: u64,
}

impl<'a> Typist<'a> {
    fn new(people: &'a mut [Person], transactions: usize) -> Self {
        let ends: Vec<u64> = people.iter().map(own_end).collect();
        let held = vec![ends; people.len()];
        let typed = vec![false; people.len()];
        Self { people, clocks: Vec::with_capacity(transactions), held, typed, bytes: 0 }
    }

    /// Brings to an author what a transaction's parents had seen.
    fn see(&mut self, number: usize, author: usize, parents: &[u32]) -> Result<()> {
        let mut clock = self.held[author].clone();
        let mut own = 0;
        for parent in parents {
            let seen = self.clocks.get(*parent as usize).context("a transaction names a later one as parent")?;
            own = own.max(seen[author]);
            clock.iter_mut().zip(seen).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        }
        ensure!(!self.typed[author] || own == self.held[author][author], "transaction {number}: its author types on two branches at once");
        for other in (0..self.people.len()).filter(|other| *other != author) {
            self.deliver(other, author, clock[other])?;
        }
        Ok(())
    }

    /// Hands over operations of one person's log up to a position.
    fn deliver(&mut self, from: usize, to: usize, through: u64) -> Result<()> {
        let after = self.held[to][from];
        if after >= through {
            return Ok(());
        }
        let log = self.people[from].replica.own_log().context("a replica that writes")?;
        let mut range = LogRange { log, branch: 0, after, through };
        while range.after < range.through {
            let segment = self.people[from].replica.segment(&range, true, &|_| 0)?.context("operations that were written")?;
            range.after = segment.last_seq();
            self.bytes += segment.encode().len() as u64;
            self.people[to].replica.ingest(&segment, at(1_000_000_000))?;
        }
        self.people[to].replica.commit()?;
        self.held[to][from] = through;
        Ok(())
    }

    fn wrote(&mut self, number: usize, author: usize) -> Result<()> {
        self.typed[author] = true;
        self.held[author][author] = own_end(&self.people[author]);
        ensure!(self.clocks.len() == number, "transactions are typed in order");
        self.clocks.push(self.held[author].clone());
        Ok(())
    }
}

fn own_end(person: &Person) -> u64 {
    let own = person.replica.own_log();
    own.and_then(|log| person.replica.logs().get(&log)).map_or(0, nodespace_protocol::log::Log::last_seq)
}

/// People in one workspace: the first founds it, the others join.
///
/// # Errors
/// When founding or joining fails.
pub fn gather(names: &[String]) -> Result<Vec<Person>> {
    let (first, others) = names.split_first().context("at least one person")?;
    let mut people = vec![Person::found(first, "replay", Policy::default(), at(0))?];
    for name in others {
        let ticket = people[0].invite(at(0), Role::Editor, name)?;
        let joined = Person::join(name, &ticket, &mut people[0], at(0))?;
        people.push(joined);
    }
    everybody(&mut people, at(0))?;
    Ok(people)
}

/// Lets everybody talk to the first until all hold the same; answers the bytes it took.
///
/// # Errors
/// When a session fails.
pub fn everybody(people: &mut [Person], now: Timestamp) -> Result<u64> {
    let mut bytes = 0;
    for _ in 0..2 {
        let Some((first, others)) = people.split_first_mut() else { return Ok(0) };
        for other in others {
            bytes += first.sync(other, now)?.bytes.iter().sum::<u64>();
        }
    }
    Ok(bytes)
}

/// A moment of the replay: the wall clock stands at a fixed day.
pub const fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_756_512_000_000 + ms)
}

/// How many operations of each type a person holds.
pub fn ops_by_type(person: &Person) -> Result<BTreeMap<OpType, u64>> {
    use nodespace_protocol::store::{OpIndex, Store};
    let mut counts = BTreeMap::new();
    for index in 0..person.replica.store().op_count() {
        *counts.entry(person.replica.store().op(OpIndex(index))?.header.kind).or_insert(0) += 1;
    }
    Ok(counts)
}
