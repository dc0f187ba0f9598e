//! Checkpoints, restarts and a small memory change nothing.
//!
//! Two devices write at random and exchange what they wrote. Beside each runs a twin that takes in the same, keeps no state in memory that
//! it need not, makes checkpoints at random (some of which are not kept, some of which are saved while it goes on) and is
//! restarted at random. Every device and its twin must agree on every node.

use super::*;
use crate::log::Head;
use crate::replica::{IngestError, LogRange, NodeUpdate, PreparedCheckpoint};
use crate::store::Saver;

/// A seeded generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Brings over what `to` lacks, as segments.
fn copy(from: &Device, to: &mut Device, now: Timestamp) {
    loop {
        let frontier = to.frontier();
        let mut moved = false;
        for (log, _) in from.logs().iter() {
            let heads: &[Head] = frontier.iter().find(|entry| entry.log == *log).map_or(&[], |entry| entry.heads.as_slice());
            let (ranges, _) = from.lacking(*log, heads).unwrap();
            for range in ranges {
                moved |= copy_range(from, to, range, now);
            }
        }
        if !moved {
            return to.commit().unwrap();
        }
    }
}

fn copy_range(from: &Device, to: &mut Device, mut range: LogRange, now: Timestamp) -> bool {
    let mut moved = false;
    while let Some(segment) = from.segment(&range, true, &|_| 0).unwrap() {
        match to.ingest(&segment, now) {
            Ok(ingested) => moved |= ingested.stored > 0,
            Err(IngestError::Missing(_)) => break,
            Err(error) => panic!("{error}"),
        }
        range.after = segment.last_seq();
    }
    moved
}

fn name(n: u64) -> NodeId {
    id(&format!("node-{n}"))
}

/// One random change; changes that cannot be made are none.
fn change(device: &mut Device, dice: &mut Dice, now: Timestamp) {
    let node = name(dice.below(40));
    let other = name(dice.below(40));
    let known = |id: &NodeId| device.node(id).unwrap().is_some();
    let parent = Some(other.clone()).filter(|other| known(other));
    match dice.below(8) {
        0 | 1 => drop(device.create(now, NewNode::text(node, parent, "some words to begin with"))),
        2 | 3 => drop(device.edit_text(now, &node, vec![TextPatch::new(dice.below(10) as u32, dice.below(3) as u32, "more ")])),
        4 => drop(device.move_node(now, &node, parent.as_ref(), &Position::First)),
        5 => drop(device.patch_metadata(now, &node, serde_json::json!({"n": dice.below(9), "deep": {"x": [1.5, "y"]}}))),
        6 => drop(device.delete(now, &node, dice.one_in(2))),
        _ => drop(device.mention(now, &node, vec![other], Vec::new())),
    }
}

/// A device that forgets what it can.
struct Twin {
    device: Device,
    saving: Option<(PreparedCheckpoint, Box<dyn Saver>)>,
}

impl Twin {
    fn of(device: &Device, cache: usize) -> Self {
        let mut twin = Replica::open(device.workspace(), MemoryStore::new(), None, at(0)).unwrap();
        twin.set_cache_bytes(cache);
        Self { device: twin, saving: None }
    }

    fn trouble(&mut self, dice: &mut Dice, cache: usize, now: Timestamp) {
        match dice.below(6) {
            0 => self.device.checkpoint().unwrap(),
            1 => {
                let saver = self.device.store().saver();
                let prepared = self.device.prepare_checkpoint().unwrap();
                assert_eq!(prepared.is_some(), self.saving.is_none(), "one at a time");
                self.saving = prepared.map(|prepared| (prepared, saver)).or_else(|| self.saving.take());
            }
            2 => {
                if let Some((prepared, mut saver)) = self.saving.take() {
                    let kept = !dice.one_in(3);
                    if kept {
                        prepared.save(&mut *saver).unwrap();
                    }
                    self.device.finish_checkpoint(kept);
                }
            }
            3 => {
                // A restart; a checkpoint that was on its way may have arrived.
                if let Some((prepared, mut saver)) = self.saving.take().filter(|_| dice.one_in(2)) {
                    prepared.save(&mut *saver).unwrap();
                }
                self.device.commit().unwrap();
                let workspace = self.device.workspace();
                let device = std::mem::replace(&mut self.device, Replica::open(workspace, MemoryStore::new(), None, now).unwrap());
                self.device = Replica::open(workspace, device.into_store(), None, now).unwrap();
                self.device.set_cache_bytes(cache);
            }
            _ => {}
        }
    }
}

fn assert_same(device: &mut Device, twin: &mut Device, seed: u64) {
    let say = format!("SEED={seed}");
    assert_eq!(device.frontier_digest(), twin.frontier_digest(), "{say}");
    assert_eq!(device.node_ids(), twin.node_ids(), "{say}");
    for id in device.node_ids() {
        assert_eq!(device.view(&id).unwrap(), twin.view(&id).unwrap(), "{say}");
        assert_eq!(device.history(&id).unwrap(), twin.history(&id).unwrap(), "{say}");
        assert_eq!(device.tree().children(Some(&id)), twin.tree().children(Some(&id)), "{say}");
    }
    assert_eq!(device.conflicts().unwrap(), twin.conflicts().unwrap(), "{say}");
    assert_eq!(device.placeholders(), twin.placeholders(), "{say}");
    assert_eq!(device.counts(), twin.counts(), "{say}");
    assert_eq!(device.state_digest(), twin.state_digest(), "{say}");
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let cache = [0, 3_000, 1 << 20][dice.below(3) as usize];
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    let mut twin = Twin::of(&a, cache);
    let mut ms = 1_000;
    for _ in 0..12 {
        for _ in 0..dice.below(12) {
            ms += dice.below(5);
            change(if dice.one_in(2) { &mut a } else { &mut b }, &mut dice, at(ms));
        }
        ms += 10;
        a.commit().unwrap();
        b.commit().unwrap();
        let from = if dice.one_in(2) { &a } else { &b };
        copy(from, &mut twin.device, at(ms));
        if dice.one_in(2) {
            copy(&a, &mut b, at(ms));
            copy(&b, &mut a, at(ms));
        }
        twin.trouble(&mut dice, cache, at(ms));
        twin.device.state_digest();
    }
    copy(&a, &mut b, at(ms));
    copy(&b, &mut a, at(ms));
    copy(&a, &mut twin.device, at(ms));
    assert_same(&mut a, &mut twin.device, seed);
    twin.device.checkpoint().unwrap();
    assert_eq!(twin.device.audit_texts().unwrap(), [], "SEED={seed}");
    for device in [&mut a, &mut b, &mut twin.device] {
        assert_eq!(audit::doubts(device), [], "SEED={seed}");
    }
    let mut reopened = Replica::open(a.workspace(), twin.device.store().clone(), None, at(ms)).unwrap();
    assert_same(&mut a, &mut reopened, seed);
    let mut anew = Replica::open_anew(a.workspace(), twin.device.into_store(), None, at(ms)).unwrap();
    assert_same(&mut a, &mut anew, seed);
}

#[test]
fn a_small_memory_checkpoints_and_restarts_change_nothing() {
    (0..150).for_each(run);
}

#[test]
fn what_is_unchanged_leaves_memory_and_comes_back() {
    let mut a = found(Policy::default());
    for n in 0..200 {
        a.create(at(10 + n), NewNode::text(name(n), None, "x".repeat(1_000))).unwrap();
    }
    assert_eq!(a.dirty_nodes(), 200, "what no checkpoint has stays");
    a.set_cache_bytes(20_000);
    a.checkpoint().unwrap();
    assert_eq!(a.dirty_nodes(), 0);
    let in_memory = |a: &Device| (0..200).filter(|n| a.nodes.resident(*n).is_some()).count();
    assert!(in_memory(&a) <= 16, "{} states in memory", in_memory(&a));
    a.edit_text(at(900), &name(3), vec![TextPatch::new(0, 1, "y")]).unwrap();
    assert!(a.node(&name(3)).unwrap().unwrap().content().starts_with("yx"));
    assert_eq!(a.dirty_nodes(), 1);
}

#[test]
fn a_checkpoint_follows_what_changed_not_what_there_is() {
    let mut a = found(Policy::default());
    for n in 0..3_000 {
        a.create(at(10 + n), NewNode::text(name(n), None, "some words")).unwrap();
    }
    let bytes = |prepared: PreparedCheckpoint| {
        let checkpoint = prepared.encode();
        let nodes: usize = checkpoint.nodes.iter().map(|(_, bytes)| bytes.len()).sum();
        (checkpoint.whole, nodes + checkpoint.parts.iter().map(|(_, bytes)| bytes.len()).sum::<usize>())
    };
    let all = bytes(a.prepare_checkpoint().unwrap().unwrap());
    a.finish_checkpoint(false);
    a.checkpoint().unwrap();
    a.edit_text(at(9_000), &name(3), vec![TextPatch::new(0, 1, "y")]).unwrap();
    let few = bytes(a.prepare_checkpoint().unwrap().unwrap());
    a.finish_checkpoint(true);
    assert!(all.0 && !few.0, "only the first stands alone");
    assert!(few.1 * 8 < all.1, "{few:?} of {all:?}");
}

#[test]
fn what_no_checkpoint_has_is_packed_and_unpacked_as_it_was() {
    let (mut small, mut large) = (found(Policy::default()), found(Policy::default()));
    small.set_cache_bytes(20_000);
    for a in [&mut small, &mut large] {
        for n in 0..500 {
            a.create(at(10 + n), NewNode::text(name(n), None, "some words")).unwrap();
        }
        for n in 0..500 {
            a.edit_text(at(1_000 + n), &name(n * 7 % 500), vec![TextPatch::new(0, 1, "y")]).unwrap();
            a.update(at(2_000 + n), &name(n), NodeUpdate { metadata: Some(serde_json::json!({ "n": n })), ..NodeUpdate::default() })
                .unwrap();
        }
    }
    assert!(small.dirty_bytes() * 2 < large.dirty_bytes(), "{} and {} bytes", small.dirty_bytes(), large.dirty_bytes());
    assert_eq!(small.dirty_nodes(), 500);
    let same = |small: &mut Device, large: &mut Device| {
        assert_eq!(small.state_digest(), large.state_digest());
        (0..500).for_each(|n| assert_eq!(small.view(&name(n)).unwrap(), large.view(&name(n)).unwrap()));
        assert_eq!(small.audit().unwrap(), []);
        assert_eq!(small.audit_texts().unwrap(), []);
    };
    same(&mut small, &mut large);
    // One that was not kept loses nothing, one that was leaves nothing behind.
    for kept in [false, true] {
        let saved = small.prepare_checkpoint().unwrap().unwrap().save(&mut *small.store().saver());
        saved.unwrap();
        for a in [&mut small, &mut large] {
            a.edit_text(at(9_000 + u64::from(kept)), &name(3), vec![TextPatch::new(0, 1, "z")]).unwrap();
        }
        small.finish_checkpoint(kept);
        assert_eq!(small.dirty_nodes(), if kept { 1 } else { 500 });
        same(&mut small, &mut large);
    }
    assert!(small.dirty_bytes() < 5_000, "{} bytes of one node", small.dirty_bytes());
}
