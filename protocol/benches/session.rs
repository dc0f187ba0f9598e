//! Sessions between two replicas over queues in memory: what finding the differences costs, in turns, bytes and time.
//!
//! A million operations over 100,000 nodes in 20 logs; the replicas are equal, differ by 100 operations, or one of them is new. Frames
//! are counted as they would be written to a stream. Not a criterion benchmark: counts need one run, and the last case takes seconds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock and prints")]

#[path = "support/workspace.rs"]
mod workspace;

use std::time::{Duration, Instant};

use nodespace_protocol::ids::LogId;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{LogRange, NewNode, PendingBuffer};
use nodespace_protocol::session::{Role, Session, SessionConfig, SessionEvent};
use nodespace_protocol::text::TextPatch;
use workspace::{Device, Dice, at, founded, ingest_all, joined, late, node, ops_of, timed};

/// Logs that hold the operations.
const LOGS: u32 = 20;
/// Operations of each log that come in a segment of their own, at its end.
const TAIL: u64 = 5;

/// Everything, in two parts: the bulk of each log, and its last [`TAIL`] operations.
struct Corpus {
    founder: Device,
    bulk: Vec<Vec<Segment>>,
    tails: Vec<Vec<Segment>>,
}

fn main() {
    let (ops, nodes) = if workspace::quick() { (100_000, 10_000) } else { (1_000_000, 100_000) };
    let (building, corpus) = timed(|| build(ops, nodes));
    println!(
        "\n### Sessions: {ops} operations over {nodes} nodes in {LOGS} logs (written and signed in {:.1} s)\n",
        building.as_secs_f64()
    );
    let mut full = joined(&corpus.founder, 1);
    let (ingesting, ()) = timed(|| {
        ingest_all(&mut full, corpus.bulk.clone());
        ingest_all(&mut full, corpus.tails.clone());
    });
    let held = ops_of(&full);
    println!("Filling one replica: {:.1} s, {:.0}k ops/s.", ingesting.as_secs_f64(), held as f64 / ingesting.as_secs_f64() / 1e3);
    let (cold, digest) = timed(|| full.state_digest());
    println!("The state digest for the first time: {:.0} ms; it is kept from then on.\n", cold.as_secs_f64() * 1e3);
    println!("| Replicas | turns until both know | round trips | bytes there | bytes back | until the plan | all of it | sent | rate |");
    println!("|---|---|---|---|---|---|---|---|---|");
    equal(&full, digest);
    few(&corpus, &full);
    everything(&corpus, &mut full);
}

/// Each author makes its own nodes and then types into them, 60 characters at a time; one after the other, to spare memory.
fn build(ops: u64, nodes: u64) -> Corpus {
    let founder = founded(LOGS + 2);
    let (ops_each, nodes_each) = (ops / u64::from(LOGS), nodes / u64::from(LOGS));
    let mut corpus = Corpus { founder, bulk: Vec::new(), tails: Vec::new() };
    for author in 2..LOGS + 2 {
        let mut replica = joined(&corpus.founder, author);
        let mut dice = Dice(u64::from(author));
        let first = u64::from(author) * nodes_each;
        for n in 0..nodes_each {
            let parent = (n > 0).then(|| node(first + n / 5));
            replica.create(at(1_000 + n), NewNode::text(node(first + n), parent, "")).expect("a new id");
        }
        for n in nodes_each..ops_each {
            let id = node(first + dice.below(nodes_each));
            let chars = replica.node(&id).expect("the store is whole").expect("it was made").content_chars();
            replica.edit_text(at(1_000_000 + n * 1_300), &id, vec![TextPatch::new(chars, 0, dice.words(60))]).expect("at the end");
        }
        replica.commit().expect("memory does not fail");
        let log = replica.own_log().expect("an author");
        corpus.bulk.push(cut(&replica, log, 0, ops_each - TAIL));
        corpus.tails.push(cut(&replica, log, ops_each - TAIL, ops_each));
    }
    corpus
}

fn cut(replica: &Device, log: LogId, after: u64, through: u64) -> Vec<Segment> {
    workspace::segments(replica, &LogRange { log, branch: 0, after, through })
}

/// What two devices said to each other.
#[derive(Default)]
struct Talk {
    turns: usize,
    /// Turns when both sides knew that they hold the same.
    turns_until_synced: Option<usize>,
    bytes: [usize; 2],
    /// Bytes when both sides knew.
    bytes_until_synced: [usize; 2],
    planned: Option<Duration>,
    all: Duration,
    received: u64,
}

/// As [`converse`], with the time it takes both sides together.
fn talk(a: &mut Device, b: &mut Device) -> Talk {
    let (all, talk) = timed(|| converse(a, b));
    Talk { all, ..talk }
}

/// Runs a session of `a`, which opens it, with `b` until nobody has anything to say.
fn converse(a: &mut Device, b: &mut Device) -> Talk {
    let (device_a, device_b) = (a.device().expect("an author"), b.device().expect("an author"));
    let mut sessions = [
        Session::new(Role::Initiator, device_b, SessionConfig::member(1, [1; 16]), late()),
        Session::new(Role::Responder, device_a, SessionConfig::member(2, [2; 16]), late()),
    ];
    let mut pending = [PendingBuffer::default(), PendingBuffer::default()];
    let replicas = [a, b];
    let (mut talk, mut synced) = (Talk::default(), [false; 2]);
    let start = Instant::now();
    sessions[0].start(replicas[0], late()).expect("the secret is held");
    loop {
        let mut moved = false;
        for from in 0..2 {
            let mut spoke = false;
            while let Some(frame) = sessions[from].poll_frame(replicas[from]).expect("memory does not fail") {
                talk.turns += usize::from(!std::mem::replace(&mut spoke, true));
                talk.bytes[from] += frame.len();
                let to = 1 - from;
                sessions[to].receive(&frame, replicas[to], &mut pending[to], late()).expect("an honest peer");
                note_events(&mut sessions, &mut talk, &mut synced, start);
            }
            moved |= spoke;
        }
        if !moved {
            break;
        }
    }
    assert!(synced == [true; 2], "the session ended without both holding the same");
    talk
}

fn note_events(sessions: &mut [Session; 2], talk: &mut Talk, synced: &mut [bool; 2], start: Instant) {
    for (side, session) in sessions.iter_mut().enumerate() {
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Planned { .. } => talk.planned = talk.planned.or_else(|| Some(start.elapsed())),
                SessionEvent::Received { ops } => talk.received += ops,
                SessionEvent::Synced { .. } => synced[side] = true,
                SessionEvent::Diverged => panic!("two replicas hold the same and show different states"),
                _ => {}
            }
        }
    }
    if *synced == [true; 2] && talk.turns_until_synced.is_none() {
        talk.turns_until_synced = Some(talk.turns);
        talk.bytes_until_synced = talk.bytes;
    }
}

fn row(name: &str, talk: &Talk) {
    let turns = talk.turns_until_synced.unwrap_or(talk.turns);
    let planned = talk.planned.map_or_else(|| "-".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3));
    let rate =
        if talk.received > 1_000 { format!("{:.0}k ops/s", talk.received as f64 / talk.all.as_secs_f64() / 1e3) } else { "-".to_owned() };
    println!(
        "| {name} | {turns} | {} | {} | {} | {planned} | {:.2} ms | {} ops | {rate} |",
        turns.div_ceil(2),
        talk.bytes[0],
        talk.bytes[1],
        talk.all.as_secs_f64() * 1e3,
        talk.received,
    );
}

fn equal(full: &Device, digest: [u8; 32]) {
    let (mut a, mut b) = (workspace::reopened(full, 1), workspace::reopened(full, 2));
    assert!(a.state_digest() == digest && b.state_digest() == digest);
    let talk = talk(&mut a, &mut b);
    row("equal", &talk);
}

/// 100 operations differ: five in each of twenty logs, or all in one, and in either direction.
fn few(corpus: &Corpus, full: &Device) {
    let partial = || {
        let mut replica = joined(&corpus.founder, 2);
        ingest_all(&mut replica, corpus.bulk.clone());
        replica.state_digest();
        replica
    };
    let mut full_again = workspace::reopened(full, 1);
    full_again.state_digest();
    let mut behind = partial();
    row("100 differ, 5 in each log; the one behind opens", &talk(&mut behind, &mut full_again));
    let mut behind = partial();
    row("100 differ, 5 in each log; the one ahead opens", &talk(&mut full_again, &mut behind));
    both_ways(full);
}

/// Each side wrote 50 operations that the other does not hold.
fn both_ways(full: &Device) {
    let (mut a, mut b) = (workspace::reopened(full, 1), workspace::reopened(full, 2));
    for (replica, salt) in [(&mut a, 1), (&mut b, 2)] {
        let mut dice = Dice(salt);
        let ids = replica.node_ids();
        for n in 0..50 {
            let id = &ids[dice.below(ids.len() as u64) as usize];
            replica.edit_text(at((1 << 39) + n), id, vec![TextPatch::new(0, 0, dice.words(60))]).expect("at the start");
        }
        replica.commit().expect("memory does not fail");
        replica.state_digest();
    }
    row("100 differ, 50 new on each side", &talk(&mut a, &mut b));
    assert!(a.state_digest() == b.state_digest(), "states differ");
}

/// A new device that knows the members and nothing else takes everything.
fn everything(corpus: &Corpus, full: &mut Device) {
    let mut new = joined(&corpus.founder, 3);
    let talk = talk(&mut new, full);
    row("all differ: a new device takes everything", &talk);
    assert!(new.state_digest() == full.state_digest(), "states differ");
}
