//! A device that shows something else than its operations make, as after a fault in the program that folded them.
//!
//! The journal is in order. What is wrong is derived: a checkpoint that passes every checksum has another text of one node, and the digest
//! of the whole state is the digest of that. At the next start it is read and believed, as a checkpoint is: folding everything again at
//! each start is what checkpoints are there to spare.

use std::path::Path;
use std::sync::Arc;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{Checkpoint, PartKey};
use nodespace_store::Index;
use nodespace_store::disk::RealDisk;

use super::company::{Offline, Somebody};
use crate::engine::Workspace;

/// The part of a checkpoint that holds the sum of all digests.
const BASE: PartKey = PartKey(0);
/// The part that has the first nodes by name, each with the digest of the order below it.
const DIRECTORY: PartKey = PartKey(3 << 56);
/// Before the name of a node: such a digest follows it.
const HAS_ORDER: u8 = 128;
/// The sum comes after so many numbers of variable length: the form's version, operations, and two of the clock.
const NUMBERS_BEFORE_SUM: usize = 4;
/// Bytes of the sum, and of each digest in it.
const SUM_BYTES: usize = 32;

/// Stops a device and makes its state of a node wrong: `wrong` stands where `right` did. Both have the same length.
pub(super) async fn falsify(somebody: Somebody, node: &NodeId, right: &str, wrong: &str) -> Offline {
    assert_eq!(right.len(), wrong.len(), "lengths stand beside the texts");
    somebody.workspace().checkpoint().await.unwrap();
    let truth = digest_of(&somebody.workspace(), node).await;
    let stopped = somebody.stop().await;
    let folder = stopped.workspace_folder().await;
    change(&folder, |index, checkpoint| {
        let mut record = index.node(node).unwrap().expect("the checkpoint has the node");
        replace(&mut record, right.as_bytes(), wrong.as_bytes());
        checkpoint.nodes.push((node.clone(), record.into()));
    });
    let device = stopped.open().await;
    let lie = digest_of(&device.workspace(None).unwrap(), node).await;
    device.close().await.unwrap();
    assert_ne!(truth, lie, "it is read as it was written");
    change(&folder, |index, checkpoint| {
        let mut record = index.node(node).unwrap().expect("the checkpoint has the node");
        replace(&mut record, &truth, &lie);
        checkpoint.nodes.push((node.clone(), record.into()));
        let mut base = part(index, BASE);
        let at = after_numbers(&base, NUMBERS_BEFORE_SUM);
        exchange(&mut base[at..at + SUM_BYTES], &truth, &lie);
        checkpoint.parts.push((BASE, base));
    });
    stopped
}

/// Stops a device and makes the sum of all digests wrong, and nothing else.
pub(super) async fn falsify_sum(somebody: Somebody) -> Offline {
    falsify_part(somebody, BASE, |base| {
        let at = after_numbers(base, NUMBERS_BEFORE_SUM);
        base[at] ^= 1;
    })
    .await
}

/// Stops a device and makes the digest wrong that is kept of the order below a node, and nothing else.
pub(super) async fn falsify_order(somebody: Somebody, parent: &NodeId) -> Offline {
    let name = parent.to_string();
    falsify_part(somebody, DIRECTORY, |directory| {
        // A name comes after its length and one.
        let record = [&[u8::try_from(name.len() + 1).unwrap()], name.as_bytes()].concat();
        let at = directory.windows(record.len()).position(|window| window == record).expect("the node is in it");
        assert_ne!(directory[at - 1] & HAS_ORDER, 0, "there is something below it");
        directory[at + record.len()] ^= 1;
    })
    .await
}

/// Stops a device and changes a part of its checkpoint.
async fn falsify_part(somebody: Somebody, key: PartKey, falsify: impl FnOnce(&mut [u8])) -> Offline {
    somebody.workspace().checkpoint().await.unwrap();
    let stopped = somebody.stop().await;
    change(&stopped.workspace_folder().await, |index, checkpoint| {
        let mut bytes = part(index, key);
        falsify(&mut bytes);
        checkpoint.parts.push((key, bytes));
    });
    stopped
}

async fn digest_of(workspace: &Workspace, node: &NodeId) -> [u8; SUM_BYTES] {
    let node = node.clone();
    workspace.read(move |replica| replica.node_digest(&node)).await.unwrap().unwrap().expect("the node is there")
}

/// Writes a checkpoint over the one that is there: of the same operations, with something else in it.
fn change(folder: &Path, change: impl FnOnce(&Index, &mut Checkpoint)) {
    let index = Index::open(Arc::new(RealDisk::new(folder).unwrap()), 1 << 20).unwrap();
    let anchor = index.anchor().unwrap().expect("a checkpoint was taken");
    let mut checkpoint = Checkpoint { records: anchor.records, ..Checkpoint::default() };
    change(&index, &mut checkpoint);
    index.save(checkpoint, &anchor.place).unwrap();
}

fn part(index: &Index, wanted: PartKey) -> Vec<u8> {
    let mut found = None;
    let mut look = |key: PartKey, bytes: &[u8]| {
        if key == wanted {
            found = Some(bytes.to_vec());
        }
    };
    index.parts(&mut look).unwrap();
    found.expect("the checkpoint has the part")
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let at = bytes.windows(old.len()).position(|window| window == old).expect("it stands in the record");
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// Where the bytes after some LEB128 numbers begin.
fn after_numbers(bytes: &[u8], count: usize) -> usize {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte < 0x80).map(|(at, _)| at + 1);
    ends.nth(count - 1).expect("the numbers are there")
}

/// Takes one digest out of a sum of four numbers, and puts another one in.
fn exchange(sum: &mut [u8], out: &[u8; SUM_BYTES], new: &[u8; SUM_BYTES]) {
    for (at, lane) in sum.chunks_exact_mut(8).enumerate() {
        let before = number(&lane[..8]);
        let after = before.wrapping_sub(number(&out[at * 8..][..8])).wrapping_add(number(&new[at * 8..][..8]));
        lane.copy_from_slice(&after.to_le_bytes());
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}
