//! Records to write, and a way to read all of them back.

use std::ops::ControlFlow;
use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, payload_hash};
use nodespace_protocol::store::{Checkpoint, PartKey, Record, Store, StoreError};
use nodespace_store::{DiskStore, StoreOptions};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId([7; 32]);

/// Small segments, so that a short history crosses many of them; no caches, so that what is read was written.
pub(crate) const SMALL: StoreOptions = StoreOptions { segment_bytes: 4096, op_cache_bytes: 0, block_cache_bytes: 0 };

pub(crate) fn op_with(device: u8, seq: u64, payload: &Arc<[u8]>) -> Record {
    let header = Header {
        log: LogId { device: DeviceId([device; 32]), epoch: 1 },
        seq,
        previous: (seq > 1).then_some(OpHash([device; 32])),
        node: Some(NodeId::Uuid(uuid::Uuid::from_u128(seq.into()))),
        kind: OpType::Update,
        timestamp: Timestamp::from_ms(seq),
        version: seq,
        parent_version: None,
        parents: [].into_iter().collect(),
        cut: None,
        payload: BlobRef { hash: payload_hash(payload), len: payload.len() as u32, encryption: 0 },
        attachment: None,
    };
    Record::Op(Arc::new(Op::new(&WORKSPACE, header, Arc::clone(payload), None)))
}

/// Records: operations of two logs, every fourth record a signature.
pub(crate) fn history(records: u64) -> Vec<Record> {
    (0..records)
        .map(|at| {
            let (device, seq) = (1 + (at % 2) as u8, 1 + at / 2);
            if at % 4 == 3 {
                let log = LogId { device: DeviceId([device; 32]), epoch: 1 };
                return Record::Signature { log, seq, hash: OpHash([at as u8; 32]), signature: Signature([at as u8; 64]) };
            }
            op_with(device, seq, &format!("payload {at}").into_bytes().into())
        })
        .collect()
}

pub(crate) fn replayed<S: Store>(store: &S, from: u64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut push = |record| {
        records.push(record);
        ControlFlow::Continue(())
    };
    store.replay(from, &mut push).unwrap();
    records
}

/// Saves a checkpoint with one part, and makes durable what it includes.
pub(crate) fn save(store: &mut DiskStore, records: u64, nodes: Vec<(NodeId, Vec<u8>)>, part: Vec<u8>) -> Result<(), StoreError> {
    store.sync()?;
    let nodes = nodes.into_iter().map(|(id, bytes)| (id, bytes.into())).collect();
    store.saver().save(Checkpoint { records, whole: false, nodes, parts: vec![(PartKey(0), part)] })
}

/// The records and the part of the checkpoint.
pub(crate) fn checkpoint_of(store: &DiskStore) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let Some(records) = store.checkpoint()? else { return Ok(None) };
    let mut found = Vec::new();
    store.parts(&mut |_, bytes| found = bytes.to_vec())?;
    Ok(Some((records, found)))
}
