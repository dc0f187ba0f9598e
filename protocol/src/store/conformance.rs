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
//! 5. a checkpoint holds all of it: its records, its rest, its nodes; a later one replaces what it names and keeps the other nodes;
//! 6. after a crash everything synced is there, and of the rest a prefix; a checkpoint makes durable what it includes, and is
//!    there whole or not at all.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Checkpoint, MemoryStore, OpIndex, Record, Store, StoreError};
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
    assert_eq!(took(store.node_ids(), "listing nodes"), Vec::new(), "a new store has no nodes");
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
    let first = Checkpoint { records: 4, nodes: vec![(node(3), vec![3]), (node(1), vec![1; 70_000])], rest: vec![7; 100_000] };
    took(store.save_checkpoint(first.clone()), "saving a checkpoint");
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some((4, first.rest)), "the first checkpoint");
    assert_eq!(took(store.node_ids(), "listing nodes"), sorted(&[1, 3]), "node ids ascend");
    assert_eq!(took(store.node(&node(1)), "reading a node"), Some(vec![1; 70_000]), "a node of the checkpoint");
    append(&mut store, Record::Op(op(3, 1)));
    assert_eq!(took(store.node_ids(), "listing nodes"), sorted(&[1, 3]), "appending does not touch the checkpoint");
    let second = Checkpoint { records: store.record_count(), nodes: vec![(node(2), Vec::new()), (node(3), vec![33])], rest: Vec::new() };
    let records = second.records;
    took(store.save_checkpoint(second), "saving a second checkpoint");
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some((records, Vec::new())), "the second checkpoint");
    assert_eq!(took(store.node_ids(), "listing nodes"), sorted(&[1, 2, 3]), "nodes that it does not name stay");
    assert_eq!(took(store.node(&node(3)), "reading a node"), Some(vec![33]), "a node that it names is replaced");
    assert_eq!(took(store.node(&node(2)), "reading a node"), Some(Vec::new()), "an empty node is not a missing one");
    assert_eq!(took(store.node(&node(9)), "reading a node"), None, "a node in no checkpoint");
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
    took(store.save_checkpoint(Checkpoint { records: saved, nodes: vec![(node(1), vec![1])], rest: vec![1] }), "saving a checkpoint");
    append(&mut store, Record::Op(op(3, 1)));
    let store = store.crash(0);
    assert_eq!(took(store.checkpoint(), "reading the checkpoint"), Some((saved, vec![1])), "a saved checkpoint survives");
    assert_eq!(took(store.node(&node(1)), "reading a node"), Some(vec![1]), "with its nodes");
    let after = replayed(&store, 0);
    assert!(after.len() as u64 >= saved, "a checkpoint makes durable what it includes");
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
    took(store.replay(from, &mut |record| records.push(record)), "replaying");
    records
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

fn sorted(numbers: &[u64]) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = numbers.iter().map(|number| node(*number)).collect();
    ids.sort_unstable();
    ids
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
