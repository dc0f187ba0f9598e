//! One suite that every store must pass.
//!
//! A store's own tests hand in a function that opens an empty one; the suite writes, reads back, replays and, for stores that can
//! lose power, crashes it. It panics with the broken promise in words, which is what a test wants. The promises are those of
//! [`Store`], in this order:
//!
//! 1. operations get ascending indices and are found by index and by hash; counts agree;
//! 2. replay gives every record in the order of appending, from any place, and nothing past the end;
//! 3. an index that was never given out is [`StoreError::NoSuchOp`], not a panic and not somebody else's operation;
//! 4. the greatest payload and attachment come back byte by byte, and so does an operation without its attachment;
//! 5. a checkpoint holds all of it: its records, its nodes, its parts; a later one replaces what it names and keeps the rest, one
//!    that is whole keeps nothing else; a saver works in another thread, and after the store is gone;
//! 6. after a crash everything synced is there, and of the rest a prefix; a checkpoint is there whole or not at all.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Checkpoint, MemoryStore, OpIndex, PartKey, Record, Store, StoreError};
use crate::clock::Timestamp;
use crate::crypto::Signature;
use crate::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use crate::op::{ATTACHMENT_BYTES_MAX, BlobRef, Header, Op, OpType, PAYLOAD_BYTES_MAX, attachment_hash, payload_hash};

/// A store that a test can cut the power of.
pub trait Crashable: Store + Sized {
    /// The store as it is opened after a power cut: everything synced, and at most the first `keep_unsynced` of the records that
    /// were appended after the last sync.
    #[must_use]
    fn crash(self, keep_unsynced: usize) -> Self;
}

impl Crashable for MemoryStore {
    fn crash(mut self, keep_unsynced: usize) -> Self {
        Self::crash(&mut self, keep_unsynced);
        self
    }
}

/// Runs the suite; `open` answers a new, empty store at every call.
///
/// # Panics
/// When the store breaks a promise.
pub fn run<S: Store>(open: &mut dyn FnMut() -> S) {
    an_empty_store_has_nothing(open());
    operations_are_found(open());
    replay_keeps_order(open());
    unknown_indices_are_refused(open());
    the_greatest_operation_fits(open());
    a_repeated_record_harms_nothing(open());
    checkpoints_are_whole(open());
    savers_work_elsewhere(open());
}

/// Runs the suite of [`run`] and what must hold across power cuts.
///
/// # Panics
/// When the store breaks a promise.
pub fn run_crashable<S: Crashable>(open: &mut dyn FnMut() -> S) {
    run(open);
    what_was_synced_survives(open);
    a_prefix_survives_of_what_was_not(open);
    checkpoints_survive(open);
    groups_survive_whole(open);
    a_crashed_store_goes_on(open());
}

fn an_empty_store_has_nothing<S: Store>(mut store: S) {
    assert_eq!((store.op_count(), store.record_count()), (0, 0), "a new store is empty");
    assert_eq!(took(store.find(&OpHash([9; 32])), "finding"), None, "a new store holds no operation");
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), None, "a new store has no checkpoint");
    assert_eq!(parts(&store), Vec::new(), "a new store has no parts");
    assert_eq!(took(store.node(&node(1)), "reading a node"), None, "a new store has no node");
    assert!(replayed(&store, 0).is_empty(), "a new store replays nothing");
    took(store.sync(), "syncing an empty store");
}

fn operations_are_found<S: Store>(mut store: S) {
    let ops: Vec<Arc<Op>> = (1..=20).map(|seq| op(1, seq)).collect();
    for (index, op) in (0..).zip(&ops) {
        assert_eq!(store.op_count(), index, "the next operation gets the count as its index");
        append(&mut store, Record::Op(Arc::clone(op)));
        append(&mut store, signature(op));
    }
    let both = |store: &S, when: &str| {
        assert_eq!(store.op_count(), 20, "signatures are no operations, {when}");
        assert_eq!(store.record_count(), 40, "signatures are records, {when}");
        for (index, op) in (0..).map(OpIndex).zip(&ops) {
            assert_eq!(took(store.find(&op.hash), "finding"), Some(index), "found by hash, {when}");
            assert_eq!(took(store.op(index), "reading"), *op, "read by index, {when}");
        }
        assert_eq!(took(store.find(&OpHash([9; 32])), "finding"), None, "a hash nobody stored, {when}");
    };
    both(&store, "before a sync");
    took(store.sync(), "syncing");
    both(&store, "after a sync");
}

fn replay_keeps_order<S: Store>(mut store: S) {
    let records = history(12);
    records.iter().cloned().for_each(|record| append(&mut store, record));
    for synced in [false, true] {
        for from in [0, 1, 7, records.len() - 1, records.len(), records.len() + 5] {
            let expected = &records[from.min(records.len())..];
            assert_same(&replayed(&store, from as u64), expected, &format!("from {from}, synced: {synced}"));
        }
        took(store.sync(), "syncing");
    }
    assert!(replayed(&store, u64::MAX).is_empty(), "nothing comes after the end");
    for wanted in 1..records.len() {
        let mut seen = Vec::new();
        let each = &mut |record| {
            seen.push(record);
            if seen.len() == wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        took(store.replay(1, each), "replaying a few");
        assert_same(&seen, &records[1..records.len().min(1 + wanted)], "replay ends when it is told to");
    }
}

fn unknown_indices_are_refused<S: Store>(mut store: S) {
    append(&mut store, Record::Op(op(1, 1)));
    for index in [1, 2, u32::MAX].map(OpIndex) {
        let found = store.op(index);
        assert!(matches!(found, Err(StoreError::NoSuchOp(named)) if named == index), "{index:?} was never given out: {found:?}");
    }
}

fn the_greatest_operation_fits<S: Store>(mut store: S) {
    let payload: Arc<[u8]> = (0..PAYLOAD_BYTES_MAX).map(|at| (at % 251) as u8).collect();
    let attachment: Arc<[u8]> = (0..ATTACHMENT_BYTES_MAX).map(|at| (at % 241) as u8).collect();
    let whole = Arc::new(with_bytes(1, 1, &payload, Some(&attachment)));
    let declined = Arc::new(Op { attachment: None, ..with_bytes(1, 2, &payload, Some(&attachment)) });
    let empty = Arc::new(with_bytes(1, 3, &Arc::from([]), None));
    let ops = [whole, declined, empty];
    ops.iter().for_each(|op| append(&mut store, Record::Op(Arc::clone(op))));
    took(store.sync(), "syncing");
    for (index, op) in (0..).map(OpIndex).zip(&ops) {
        assert_eq!(took(store.op(index), "reading"), *op, "large and empty parts come back as they were");
    }
}

/// A replica stores no operation twice, but a store need not know that.
fn a_repeated_record_harms_nothing<S: Store>(mut store: S) {
    let (first, other) = (op(1, 1), op(2, 1));
    let records = [&first, &other, &first].map(|op| Record::Op(Arc::clone(op)));
    let records = [&records[..], &[signature(&first), signature(&first)]].concat();
    records.iter().cloned().for_each(|record| append(&mut store, record));
    assert_eq!((store.op_count(), store.record_count()), (3, 5), "every record counts");
    let found = took(store.find(&first.hash), "finding").expect("it was appended");
    assert_eq!(took(store.op(found), "reading").hash, first.hash, "what is found by a hash has it");
    assert_eq!(took(store.op(OpIndex(1)), "reading"), other, "the others keep their places");
    assert_same(&replayed(&store, 0), &records, "with repeated records");
}

fn checkpoints_are_whole<S: Store>(mut store: S) {
    history(4).into_iter().for_each(|record| append(&mut store, record));
    let kept = [(node(3), vec![3]), (node(1), vec![1; 70_000])];
    let first = [(1, vec![7; 100_000]), (1 << 40, vec![1]), (u64::MAX, Vec::new())];
    save(&mut store, false, &kept, &first);
    let saved = store.record_count();
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some(saved), "what the first checkpoint includes");
    assert_eq!(parts(&store), first, "parts come ascending, empty ones too");
    assert_eq!(took(store.node(&node(1)), "reading a node"), Some(vec![1; 70_000]), "a node of the checkpoint");
    append(&mut store, Record::Op(op(3, 1)));
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some(saved), "appending does not touch the checkpoint");
    save(&mut store, false, &[(node(2), Vec::new()), (node(3), vec![33])], &[(1, vec![8]), (2, vec![2])]);
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some(store.record_count()), "what the second checkpoint includes");
    let merged = [(1, vec![8]), (2, vec![2]), (1 << 40, vec![1]), (u64::MAX, Vec::new())];
    assert_eq!(parts(&store), merged, "parts that it names are replaced, the others stay");
    assert_eq!(took(store.node(&node(1)), "reading a node"), Some(vec![1; 70_000]), "nodes that it does not name stay");
    assert_eq!(took(store.node(&node(3)), "reading a node"), Some(vec![33]), "a node that it names is replaced");
    assert_eq!(took(store.node(&node(2)), "reading a node"), Some(Vec::new()), "an empty node is not a missing one");
    assert_eq!(took(store.node(&node(9)), "reading a node"), None, "a node in no checkpoint");
    save(&mut store, true, &[(node(4), vec![4])], &[(5, vec![5])]);
    assert_eq!(parts(&store), [(5, vec![5])], "of what was before one that is whole no part is left");
    assert_eq!(took(store.node(&node(4)), "reading a node"), Some(vec![4]), "a node of one that is whole");
    assert_eq!(took(store.node(&node(1)), "reading a node"), None, "of what was before one that is whole no node is left");
}

#[expect(clippy::disallowed_methods, reason = "the promise is about another thread")]
fn savers_work_elsewhere<S: Store>(mut store: S) {
    append(&mut store, Record::Op(op(1, 1)));
    took(store.sync(), "syncing");
    let mut saver = store.saver();
    let checkpoint = Checkpoint { records: 1, whole: false, nodes: vec![(node(1), [1].into())], parts: vec![(PartKey(1), vec![1])] };
    let elsewhere = std::thread::spawn(move || saver.save(checkpoint).map(|()| saver));
    append(&mut store, Record::Op(op(1, 2)));
    let Ok(saver) = elsewhere.join() else { panic!("a saver in another thread panicked") };
    let mut saver = took(saver, "saving in another thread");
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some(1), "what was saved in another thread shows here");
    assert_eq!(took(store.node(&node(1)), "reading a node"), Some(vec![1]), "its nodes too");
    drop(store);
    took(saver.save(Checkpoint { records: 1, ..Checkpoint::default() }), "saving after the store is gone");
}

fn what_was_synced_survives<S: Crashable>(open: &mut dyn FnMut() -> S) {
    let records = history(10);
    for synced in 0..=records.len() {
        let mut store = open();
        for (at, record) in records.iter().enumerate() {
            if at == synced {
                took(store.sync(), "syncing");
            }
            append(&mut store, record.clone());
        }
        if synced == records.len() {
            took(store.sync(), "syncing");
        }
        let after = replayed(&store.crash(0), 0);
        assert!(after.len() >= synced, "{synced} records were synced, {} survived", after.len());
        assert_same(&after, &records[..after.len()], "what is there after a crash is what was written");
    }
}

fn a_prefix_survives_of_what_was_not<S: Crashable>(open: &mut dyn FnMut() -> S) {
    let records = history(10);
    for keep in 0..8 {
        let mut store = open();
        for (at, record) in records.iter().enumerate() {
            append(&mut store, record.clone());
            if at == 9 {
                took(store.sync(), "syncing");
            }
        }
        let store = store.crash(keep);
        let after = replayed(&store, 0);
        assert!(after.len() >= 10, "ten records were synced, {} survived", after.len());
        assert_same(&after, &records[..after.len()], "a prefix, not a selection");
        let ops: Vec<&Arc<Op>> = records[..after.len()].iter().filter_map(as_op).collect();
        assert_eq!(store.op_count() as usize, ops.len(), "the count is that of the survivors");
        for (index, op) in (0..).map(OpIndex).zip(ops) {
            assert_eq!(took(store.find(&op.hash), "finding"), Some(index), "survivors are found");
        }
        for lost in records[after.len()..].iter().filter_map(as_op) {
            assert_eq!(took(store.find(&lost.hash), "finding"), None, "what was lost is not found");
        }
    }
}

fn checkpoints_survive<S: Crashable>(open: &mut dyn FnMut() -> S) {
    let mut store = open();
    let records = history(6);
    records.iter().cloned().for_each(|record| append(&mut store, record));
    let saved = store.record_count();
    save(&mut store, false, &[(node(1), vec![1])], &[(1, vec![1])]);
    append(&mut store, Record::Op(op(3, 1)));
    let store = store.crash(0);
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some(saved), "a saved checkpoint survives");
    assert_eq!(parts(&store), [(1, vec![1])], "with its parts");
    assert_eq!(took(store.node(&node(1)), "reading a node"), Some(vec![1]), "with its nodes");
    let after = replayed(&store, 0);
    assert!(after.len() as u64 >= saved, "what a checkpoint includes was durable before it");
    assert_same(&after[..records.len()], &records, "after a checkpoint and a crash");
}

fn groups_survive_whole<S: Crashable>(open: &mut dyn FnMut() -> S) {
    let records = history(9);
    for keep in 0..=9 {
        let mut store = open();
        for group in records.chunks(3) {
            took(store.append(group.to_vec()), "appending a group");
        }
        let after = replayed(&store.crash(keep), 0);
        assert_eq!(after.len() % 3, 0, "a crash that kept up to {keep} records cut a group: {} survived", after.len());
    }
}

fn a_crashed_store_goes_on<S: Crashable>(mut store: S) {
    append(&mut store, Record::Op(op(1, 1)));
    took(store.sync(), "syncing");
    append(&mut store, Record::Op(op(1, 2)));
    let mut store = store.crash(0);
    let index = OpIndex(store.op_count());
    append(&mut store, Record::Op(op(2, 1)));
    took(store.sync(), "syncing after a crash");
    let store = store.crash(0);
    assert_eq!(took(store.find(&op(2, 1).hash), "finding"), Some(index), "what is written after a crash gets the next index");
    assert_eq!(took(store.op(index), "reading"), op(2, 1), "and survives the next crash");
}

/// The value of a call that must not fail here.
fn took<T>(result: Result<T, StoreError>, doing: &str) -> T {
    result.unwrap_or_else(|error| panic!("{doing} failed: {error}"))
}

fn append<S: Store>(store: &mut S, record: Record) {
    let before = store.record_count();
    took(store.append(vec![record]), "appending");
    assert_eq!(store.record_count(), before + 1, "an appended record counts at once");
}

fn replayed<S: Store>(store: &S, from: u64) -> Vec<Record> {
    let mut records = Vec::new();
    let each = &mut |record| {
        records.push(record);
        ControlFlow::Continue(())
    };
    took(store.replay(from, each), "replaying");
    records
}

/// Saves a checkpoint of everything appended so far.
fn save<S: Store>(store: &mut S, whole: bool, nodes: &[(NodeId, Vec<u8>)], parts: &[(u64, Vec<u8>)]) {
    took(store.sync(), "syncing");
    let parts = parts.iter().map(|(key, bytes)| (PartKey(*key), bytes.clone())).collect();
    let mut nodes: Vec<_> = nodes.iter().map(|(id, bytes)| (id.clone(), bytes.as_slice().into())).collect();
    nodes.sort_unstable();
    let checkpoint = Checkpoint { records: store.record_count(), whole, nodes, parts };
    took(store.saver().save(checkpoint), "saving a checkpoint");
}

fn parts<S: Store>(store: &S) -> Vec<(u64, Vec<u8>)> {
    let mut parts = Vec::new();
    took(store.parts(&mut |key, bytes| parts.push((key.0, bytes.to_vec()))), "reading the parts");
    parts
}

fn assert_same(found: &[Record], expected: &[Record], when: &str) {
    assert_eq!(found.len(), expected.len(), "number of records replayed, {when}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(same(found, expected), "record {at} differs, {when}: {found:?} instead of {expected:?}");
    }
}

fn same(a: &Record, b: &Record) -> bool {
    match (a, b) {
        (Record::Op(a), Record::Op(b)) => a == b,
        (
            Record::Signature { log, seq, hash, signature },
            Record::Signature { log: log_b, seq: seq_b, hash: hash_b, signature: signature_b },
        ) => (log, seq, hash, signature) == (log_b, seq_b, hash_b, signature_b),
        _ => false,
    }
}

const fn as_op(record: &Record) -> Option<&Arc<Op>> {
    match record {
        Record::Op(op) => Some(op),
        Record::Signature { .. } => None,
    }
}

/// Operations of two logs with a signature after every other one.
fn history(ops: u64) -> Vec<Record> {
    let mut records = Vec::new();
    for at in 0..ops {
        let op = op(1 + (at % 2) as u8, 1 + at / 2);
        records.push(Record::Op(Arc::clone(&op)));
        if at % 2 == 1 {
            records.push(signature(&op));
        }
    }
    records
}

fn signature(op: &Op) -> Record {
    let (log, seq, hash) = (op.header.log, op.header.seq, op.hash);
    Record::Signature { log, seq, hash, signature: Signature([seq as u8; 64]) }
}

fn op(device: u8, seq: u64) -> Arc<Op> {
    let payload: Arc<[u8]> = format!("payload {seq} of {device}").into_bytes().into();
    Arc::new(with_bytes(device, seq, &payload, None))
}

fn with_bytes(device: u8, seq: u64, payload: &Arc<[u8]>, attachment: Option<&Arc<[u8]>>) -> Op {
    let header = Header {
        log: LogId { device: DeviceId([device; 32]), epoch: 1 },
        seq,
        previous: (seq > 1).then_some(OpHash([device; 32])),
        node: Some(node(seq)),
        kind: OpType::Update,
        timestamp: Timestamp::from_ms(seq),
        version: seq,
        parent_version: None,
        parents: SmallVec::new(),
        cut: Some([OpHash([1; 32])].into()),
        payload: BlobRef { hash: payload_hash(payload), len: payload.len() as u32, encryption: 0 },
        attachment: attachment.map(|bytes| BlobRef { hash: attachment_hash(bytes), len: bytes.len() as u32, encryption: 0 }),
    };
    Op::new(&WorkspaceId([7; 32]), header, Arc::clone(payload), attachment.cloned())
}

fn node(number: u64) -> NodeId {
    match number % 2 {
        0 => NodeId::Uuid(uuid::Uuid::from_u128(number.into())),
        _ => NodeId::Text(format!("node {number}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_in_memory_conforms() {
        run(&mut MemoryStore::new);
        run_crashable(&mut MemoryStore::new);
    }
}
