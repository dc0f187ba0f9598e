//! Damage is found and named, a torn tail is cut, a failing disk is reported: never a panic, never a silent loss.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{OpIndex, Record, Store, StoreError};
use nodespace_store::disk::SimulatedDisk;
use nodespace_store::disk::simulated::Fault;
use nodespace_store::{Cause, DiskStore, StoreOptions};

use crate::support::{SMALL, WORKSPACE, checkpoint_of, history, replayed, save};

const FIRST: &str = "journal/00000001.journal";

fn open(disk: &SimulatedDisk, options: &StoreOptions) -> Result<DiskStore, StoreError> {
    DiskStore::open_on(Arc::new(disk.clone()), WORKSPACE, options)
}

/// A store of `groups` synced groups of two records, closed.
fn written(groups: u64, options: &StoreOptions) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk, options).unwrap();
    for group in history(groups * 2).chunks(2) {
        store.append(group.to_vec()).unwrap();
        store.sync().unwrap();
    }
    drop(store);
    disk
}

fn lists(disk: &SimulatedDisk) -> Vec<String> {
    use nodespace_store::disk::Disk;
    let names = disk.list("journal").unwrap();
    names.into_iter().filter(|name| name.ends_with(".idx")).map(|name| format!("journal/{name}")).collect()
}

#[test]
fn every_damaged_byte_of_a_closed_journal_is_found() {
    use nodespace_store::disk::Disk;
    let disk = written(30, &SMALL);
    let records = replayed(&open(&disk.snapshot(), &SMALL).unwrap(), 0);
    for name in disk.list("journal").unwrap() {
        let name = format!("journal/{name}");
        for at in (0..disk.bytes(&name).unwrap().len()).step_by(3) {
            let damaged = disk.snapshot();
            damaged.damage(&name, |bytes| bytes[at] ^= 0x10).unwrap();
            let mut found = Vec::new();
            let outcome = open(&damaged, &SMALL).and_then(|store| {
                let mut push = |record| {
                    found.push(record);
                    ControlFlow::Continue(())
                };
                store.replay(0, &mut push)?;
                Ok(store.record_count())
            });
            match outcome {
                // Lists are derived, padding and reserved room mean nothing.
                Ok(count) => assert_eq!((count, found.len()), (records.len() as u64, records.len()), "byte {at} of {name}"),
                Err(StoreError::Corrupt { place, .. }) => assert!(place.contains(".journal at byte"), "{place}"),
                Err(error) => panic!("byte {at} of {name}: {error}"),
            }
        }
    }
}

#[test]
fn damage_below_what_was_durable_is_no_torn_tail() {
    let options = StoreOptions { segment_bytes: 60_000, ..SMALL };
    let disk = written(8, &options);
    lists(&disk).iter().for_each(|name| nodespace_store::disk::Disk::remove(&disk, name).unwrap());
    let bytes = disk.bytes(FIRST).unwrap();
    let mut refused = 0;
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for at in 80..used {
        let damaged = disk.snapshot();
        damaged.damage(FIRST, |bytes| bytes[at] ^= 1).unwrap();
        match open(&damaged, &options) {
            Err(StoreError::Corrupt { what, .. }) => {
                assert!(what.contains("durable"), "{what}");
                refused += 1;
            }
            // The mark that closing wrote, and what follows it.
            Ok(store) => assert_eq!(store.record_count(), 16, "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 1000, "{refused} damaged bytes refused");
}

#[test]
fn a_cut_file_is_damage_when_it_was_durable_and_a_torn_tail_when_not() {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk, &StoreOptions::default()).unwrap();
    for group in history(20).chunks(2) {
        store.append(group.to_vec()).unwrap();
        store.sync().unwrap();
    }
    let end = store.journal().end().offset as usize;
    let before_last = disk.snapshot();
    before_last.damage(FIRST, |bytes| bytes.truncate(end - 1)).unwrap();
    let cut = open(&before_last, &StoreOptions::default()).unwrap();
    assert_eq!(cut.record_count(), 18, "the last group has no mark after it");
    drop(cut);
    let middle = disk.snapshot();
    middle.damage(FIRST, |bytes| bytes.truncate(end / 2)).unwrap();
    let cut = open(&middle, &StoreOptions::default()).unwrap();
    assert!(cut.record_count() < 18, "nothing left says that more was durable");
    save(&mut store, 20, Vec::new(), vec![1]).unwrap();
    let middle = disk.snapshot();
    middle.damage(FIRST, |bytes| bytes.truncate(end / 2)).unwrap();
    assert!(matches!(open(&middle, &StoreOptions::default()), Err(StoreError::Corrupt { .. })), "the checkpoint says so");
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    use nodespace_store::disk::Disk;
    let disk = written(60, &SMALL);
    let segments: Vec<String> = disk.list("journal").unwrap().into_iter().filter(|name| name.ends_with(".journal")).collect();
    assert!(segments.len() > 3, "{segments:?}");
    for name in &segments[..segments.len() - 1] {
        let damaged = disk.snapshot();
        damaged.remove(&format!("journal/{name}")).unwrap();
        assert!(matches!(open(&damaged, &SMALL), Err(StoreError::Corrupt { .. })), "{name} is missing");
    }
    let other = DiskStore::open_on(Arc::new(disk.snapshot()), nodespace_protocol::ids::WorkspaceId([8; 32]), &SMALL);
    assert!(matches!(other, Err(StoreError::Corrupt { what, .. }) if what.contains("workspace")));
}

#[test]
fn lists_are_made_anew() {
    let disk = written(60, &SMALL);
    let names = lists(&disk);
    let expected = replayed(&open(&disk.snapshot(), &SMALL).unwrap(), 0);
    for name in &names {
        nodespace_store::disk::Disk::remove(&disk, name).unwrap();
    }
    let store = open(&disk, &SMALL).unwrap();
    assert_eq!(replayed(&store, 0).len(), expected.len());
    for index in 0..store.op_count() {
        let op = store.op(OpIndex(index)).unwrap();
        assert_eq!(store.find(&op.hash).unwrap(), Some(OpIndex(index)));
    }
    drop(store);
    assert_eq!(lists(&disk), names);
}

#[test]
fn a_damaged_index_is_set_aside() {
    use nodespace_store::disk::Disk;
    let disk = SimulatedDisk::new();
    let mut store = open(&disk, &SMALL).unwrap();
    history(10).chunks(2).for_each(|group| store.append(group.to_vec()).unwrap());
    let nodes: Vec<_> = (0..200_u128).map(|number| (NodeId::Uuid(uuid::Uuid::from_u128(number)), vec![number as u8; 300])).collect();
    save(&mut store, 10, nodes.clone(), vec![5; 3000]).unwrap();
    drop(store);
    let len = disk.bytes("index.redb").unwrap().len();
    let (mut whole, mut without, mut met) = (0, 0, 0);
    for step in 0..150 {
        let damaged = disk.snapshot();
        let at = step * len / 150;
        damaged.damage("index.redb", |bytes| bytes[at..(at + 64).min(len)].fill(0x5a)).unwrap();
        let store = open(&damaged, &SMALL).unwrap();
        assert_eq!(store.record_count(), 10, "the journal is untouched");
        let read = nodes.iter().try_for_each(|(id, bytes)| match store.node(id) {
            Ok(Some(found)) => {
                assert_eq!(found, *bytes, "what is answered is what was written");
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        });
        match (checkpoint_of(&store), read) {
            (Ok(Some((10, rest))), Ok(())) => {
                assert_eq!(rest, vec![5; 3000]);
                whole += 1;
            }
            (Ok(None), Ok(())) => without += 1,
            (Err(StoreError::Corrupt { .. }), _) | (_, Err(StoreError::Corrupt { .. })) => {
                met += 1;
                drop(store);
                let again = open(&damaged, &SMALL).unwrap();
                assert_eq!(again.checkpoint().unwrap(), None, "damage that was met is gone at the next start");
            }
            other => panic!("at {at}: {other:?}"),
        }
    }
    assert!(without + met > 0, "the damage was noticed somewhere: {whole} unharmed, {without} set aside at once, {met} when it was met");
    for bytes in [Vec::new(), b"not a database".to_vec(), vec![0; 100_000]] {
        let damaged = disk.snapshot();
        damaged.damage("index.redb", |was| *was = bytes).unwrap();
        let store = open(&damaged, &SMALL).unwrap();
        assert_eq!(store.checkpoint().unwrap(), None);
        assert!(damaged.bytes("index.redb.damaged").is_ok(), "kept for whoever wants to look");
        drop(store);
        assert!(damaged.list("").unwrap().iter().all(|name| name != "index.redb"));
    }
}

/// A disk that is full, or whose sync fails, at every call there is: an error with advice, and nothing acknowledged lost.
#[test]
fn a_failing_disk_loses_nothing_that_was_acknowledged() {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied, io::ErrorKind::Other];
    for after in 0..60 {
        let kind = kinds[after as usize % kinds.len()];
        let disk = SimulatedDisk::new();
        let mut store = open(&disk, &SMALL).unwrap();
        disk.set_fault(Some(Fault { after, kind, lasting: after % 2 == 0 }));
        let (mut acknowledged, mut failed) = (0, None);
        for group in history(40).chunks(2) {
            match store.append(group.to_vec()).and_then(|()| store.sync()) {
                Ok(()) => acknowledged += group.len(),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(StoreError::Environment { source, .. }) = &failed {
            assert!(source.downcast_ref::<Cause>().is_some(), "call {after}: {source}");
        } else {
            assert!(failed.is_none(), "call {after}: {failed:?}");
        }
        drop(store);
        disk.set_fault(None);
        let store = open(&disk, &SMALL).unwrap();
        let found = replayed(&store, 0);
        assert!(found.len() >= acknowledged, "call {after}: {} of {acknowledged} left", found.len());
        assert!(found.len().is_multiple_of(2), "call {after}: groups are whole");
    }
}

#[test]
fn after_a_failed_sync_nothing_more_is_taken() {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk, &StoreOptions::default()).unwrap();
    let records = history(6);
    store.append(records[..2].to_vec()).unwrap();
    store.sync().unwrap();
    store.append(records[2..4].to_vec()).unwrap();
    disk.set_fault(Some(Fault { after: 1, kind: io::ErrorKind::Other, lasting: false }));
    assert!(matches!(store.sync(), Err(StoreError::Environment { .. })));
    let refused = [store.sync(), store.append(records[4..].to_vec())];
    for refused in refused {
        let Err(StoreError::Environment { source, .. }) = refused else { panic!("taken after a failed sync") };
        assert!(matches!(source.downcast_ref::<Cause>(), Some(Cause::Failed { .. })), "{source}");
    }
    drop(store);
    let store = open(&disk, &StoreOptions::default()).unwrap();
    assert!(store.record_count() >= 2);
}

/// Bytes inside an operation that look like a frame must not be taken for one.
#[test]
fn a_payload_cannot_pass_for_frames() {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk, &StoreOptions::default()).unwrap();
    let records = history(4);
    store.append(records[..2].to_vec()).unwrap();
    store.sync().unwrap();
    let synced = store.journal().end().offset as usize;
    let frames = disk.bytes(FIRST).unwrap()[80..synced].to_vec();
    let payload: Arc<[u8]> = frames.repeat(20).into();
    store.append(vec![crate::support::op_with(9, 1, &payload)]).unwrap();
    store.sync().unwrap();
    let end = store.journal().end().offset as usize;
    let torn = disk.snapshot();
    torn.damage(FIRST, |bytes| bytes[synced + 4] ^= 1).unwrap();
    torn.damage(FIRST, |bytes| bytes.truncate(end)).unwrap();
    let store = open(&torn, &StoreOptions::default()).unwrap();
    assert_eq!(store.record_count(), 2, "the torn group is cut, and nothing inside it is believed");
    assert!(matches!(replayed(&store, 0)[..], [Record::Op(_), Record::Op(_)] | [Record::Op(_), Record::Signature { .. }]));
}
