//! The tree against a model, and what it promises.
//!
//! 1. Any order of arrival, any batching, duplicates, removals and re-insertions: the tree is the model's of the final set.
//! 2. No cycle ever, no node lost: every node with a placement in effect is reached once from the top level or a detached parent.
//! 3. Every difference between before and after is in [`Changed`], also for whoever stands behind what came or went.
//! 4. A node shows where `place_for` was asked to put it, whatever hidden or unanchored places are about; replicas converge.
//! 5. Runs written concurrently at one spot do not interleave, forwards or backwards.
//! 6. `before_sibling`, `root`, `depth`, `is_ancestor` agree with `children` and `parent`.
//! 7. What checkpoints keep of the tree restores it.
//! 8. Neither depth nor a crowd at one spot overflows or stalls.

mod history;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use self::history::{Author, Dice, hostile, some_nodes};
use self::model::{Model, View, view_of};
use super::{Anchor, Changed, PlaceError, Placement, Position, Side, Tree, TreeReader, Verdict};
use crate::clock::{Stamp, Timestamp};
use crate::ids::{NodeId, OpHash};

fn node(number: u128) -> NodeId {
    NodeId::Uuid(Uuid::from_u128(number))
}

/// A placement whose stamp and hash are one number.
fn place(number: u64, child: u128, parent: Option<u128>, anchor: Option<u64>) -> Placement {
    let stamp = Stamp { timestamp: Timestamp(number), version: number, hash: hash(number) };
    let anchor = anchor.map_or(Anchor::Start, |anchor| Anchor::Op(hash(anchor)));
    Placement { stamp, node: node(child), parent: parent.map(node), anchor, side: Side::Right }
}

fn hash(number: u64) -> OpHash {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    OpHash(bytes)
}

fn hashes(placements: &[Placement]) -> Vec<OpHash> {
    placements.iter().map(|placement| placement.stamp.hash).collect()
}

/// Properties 2 and 6.
fn check_shape(tree: &Tree, nodes: &[NodeId]) {
    let mut tops: Vec<Option<NodeId>> = tree.detached().into_iter().map(Some).collect();
    tops.push(None);
    let mut reached = BTreeSet::new();
    while let Some(parent) = tops.pop() {
        let children = tree.children(parent.as_ref());
        let mut before = None;
        for child in children {
            assert_eq!(tree.parent(&child), Some(parent.clone()));
            assert_eq!(tree.before_sibling(&child), before);
            assert!(reached.insert(child.clone()), "{child} shows twice");
            if let Some(parent) = &parent {
                assert!(tree.is_ancestor(parent, &child) && !tree.is_ancestor(&child, parent));
                assert_eq!(tree.depth(&child), Some(tree.depth(parent).unwrap_or(0) + 1));
                assert_eq!(tree.root(&child), tree.root(parent).or_else(|| Some(parent.clone())));
            } else {
                assert_eq!((tree.depth(&child), tree.root(&child)), (Some(0), Some(child.clone())));
            }
            tops.push(Some(child.clone()));
            before = Some(child);
        }
    }
    let placed: BTreeSet<NodeId> = nodes.iter().filter(|node| tree.parent(node).is_some()).cloned().collect();
    assert_eq!(reached, placed, "a node was lost");
    assert_eq!(tree.nodes(), placed.into_iter().collect::<Vec<_>>());
}

/// Property 3.
fn check_changed(before: &View, after: &View, changed: &Changed) {
    for node in before.winners.keys().chain(after.winners.keys()) {
        if before.winners.get(node) != after.winners.get(node) || before.parents.get(node) != after.parents.get(node) {
            assert!(changed.nodes.contains(node), "{node} changed unreported");
        }
    }
    let (stood, stands) = (befores(before), befores(after));
    for (node, sibling) in &stands {
        // One that was not there before is found by its winner.
        if stood.get(node).is_some_and(|stood| stood != sibling) {
            assert!(changed.nodes.contains(node), "{node} stands behind {sibling:?} unreported");
        }
    }
    for parent in before.children.keys().chain(after.children.keys()) {
        if before.children.get(parent) != after.children.get(parent) {
            assert!(changed.parents.contains(parent), "the children of {parent:?} changed unreported");
        }
    }
    for operation in before.verdicts.keys().chain(after.verdicts.keys()) {
        let cycle = |view: &View| view.verdicts.get(operation) == Some(&Verdict::WouldCycle);
        if cycle(before) != cycle(after) {
            assert!(changed.verdicts.contains(operation), "the verdict of {operation} changed unreported");
        }
    }
}

/// Each node's sibling immediately before it.
fn befores(view: &View) -> BTreeMap<NodeId, Option<NodeId>> {
    let mut befores = BTreeMap::new();
    for children in view.children.values() {
        let before = std::iter::once(None).chain(children.iter().cloned().map(Some));
        befores.extend(children.iter().cloned().zip(before));
    }
    befores
}

/// A node was moved away, another one to the beginning of a list. Those that stood behind them went on showing the old neighbour
/// wherever only what changed was read again. Now they count as changed.
#[test]
fn who_stands_behind_what_came_or_went_is_reported() {
    let mut tree = Tree::new();
    let placed = [place(1, 1, None, None), place(2, 2, None, Some(1)), place(3, 3, None, Some(2)), place(4, 4, None, Some(3))];
    tree.insert_batch(placed.to_vec());
    tree.take_changed();
    tree.insert(place(5, 2, Some(4), None));
    assert_eq!(tree.take_changed().nodes, BTreeSet::from([node(2), node(3)]));
    tree.insert(Placement { side: Side::Left, ..place(6, 5, None, Some(1)) });
    assert_eq!(tree.take_changed().nodes, BTreeSet::from([node(5), node(1)]));
    tree.remove(&hash(5));
    assert!(tree.take_changed().nodes.is_superset(&BTreeSet::from([node(2), node(3)])));
}

/// Everything in front is moved away, so behind each hidden place lie many more: all are reported all the same, in time.
#[test]
fn followers_behind_many_hidden_places_are_reported_in_time() {
    const NODES: u64 = 20_000;
    let mut tree = Tree::new();
    let list = (1..=NODES).map(|number| place(number, number.into(), None, number.checked_sub(1).filter(|before| *before > 0)));
    tree.insert_batch(list.collect());
    tree.take_changed();
    let away = (1..NODES).map(|number| place(NODES + number, number.into(), Some(NODES.into()), None));
    tree.insert_batch(away.collect());
    let changed = tree.take_changed();
    assert!(changed.nodes.contains(&node(NODES.into())), "it is first now");
    assert_eq!(changed.nodes.len() as u64, NODES);
}

/// So many devices put nodes at the beginning of one list that it is ordered anew each time: only those are reported that stand behind another
/// one.
#[test]
fn in_a_crowd_at_one_place_only_those_are_reported_whose_neighbour_changed() {
    let mut tree = Tree::new();
    tree.insert_batch((1..=20_000).map(|number| place(number, number.into(), None, None)).collect());
    tree.take_changed();
    tree.insert_batch((20_001..=20_100).map(|number| place(number, number.into(), None, None)).collect());
    let changed = tree.take_changed().nodes;
    assert!((100..=200).contains(&changed.len()), "{} of 20,100", changed.len());
}

#[test]
fn any_arrival_gives_the_tree_of_the_model() {
    for seed in 0..1_500 {
        let mut dice = Dice::new(seed);
        let nodes = some_nodes(3 + dice.below(12) as u32);
        let count = 1 + dice.below(70);
        let placements = hostile(&mut dice, &nodes, count);
        let (mut tree, mut model) = (Tree::new(), Model::default());
        let mut arrivals = placements.clone();
        dice.shuffle(&mut arrivals);
        let (mut before, mut disk) = (View::default(), Disk::default());
        while !arrivals.is_empty() {
            if dice.one_in(3) {
                disk.save(&mut tree);
            }
            if dice.one_in(4) {
                let gone: Vec<Placement> = (0..dice.below(5)).map(|_| dice.pick(&placements).clone()).collect();
                gone.iter().for_each(|gone| model.remove(&gone.stamp.hash));
                tree.remove_batch(&hashes(&gone));
                if dice.one_in(2) {
                    arrivals.extend(gone);
                }
            } else {
                let mut batch = arrivals.split_off(arrivals.len() - 1 - dice.below(arrivals.len().min(12)));
                batch.extend_from_within(..dice.below(2));
                batch.iter().for_each(|placement| model.insert(placement));
                match batch.as_slice() {
                    [only] => tree.insert(only.clone()),
                    _ => tree.insert_batch(batch),
                }
            }
            let after = view_of(&tree, &nodes, hashes(&placements));
            assert_eq!(after, model.view(), "SEED={seed}");
            check_changed(&before, &after, &tree.take_changed());
            before = after;
        }
        check_shape(&tree, &nodes);
        let skipped: Vec<OpHash> = hashes(&tree.skipped().collect::<Vec<_>>());
        assert!(skipped.iter().all(|operation| before.verdicts[operation] == Verdict::WouldCycle));
        assert_eq!(skipped.len(), before.verdicts.values().filter(|&&verdict| verdict == Verdict::WouldCycle).count());
        disk.save(&mut tree);
        assert_eq!(view_of(&disk.read(), &nodes, hashes(&placements)), before, "SEED={seed}");
    }
}

/// Where a node just written must show: `(before it, its parent's children without it)`.
fn expected_after_write(tree: &Tree, node: &NodeId, parent: Option<&NodeId>, at: &Position) -> Vec<NodeId> {
    let mut siblings = tree.children(parent);
    siblings.retain(|sibling| sibling != node);
    let index = match at {
        Position::First => 0,
        Position::Last => siblings.len(),
        Position::After(sibling) => 1 + siblings.iter().position(|other| other == sibling).expect("it was picked from these"),
    };
    siblings.insert(index, node.clone());
    siblings
}

fn some_position(dice: &mut Dice, siblings: &[NodeId], node: &NodeId) -> Position {
    let others: Vec<&NodeId> = siblings.iter().filter(|&sibling| sibling != node).collect();
    match dice.below(4) {
        0 => Position::First,
        1 => Position::Last,
        _ if others.is_empty() => Position::Last,
        _ => Position::After((*dice.pick(&others)).clone()),
    }
}

#[test]
fn a_node_shows_where_its_author_put_it_and_replicas_converge() {
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let nodes = some_nodes(16);
        let mut authors = vec![Author::default(); 3];
        for _ in 0..80 {
            let index = dice.below(authors.len());
            let (node, parent) = (dice.pick(&nodes).clone(), (!dice.one_in(2)).then(|| dice.pick(&nodes[..4]).clone()));
            let cycle = parent.as_ref().is_some_and(|parent| *parent == node || authors[index].tree.is_ancestor(&node, parent));
            if !cycle {
                let siblings = authors[index].tree.children(parent.as_ref());
                let at = some_position(&mut dice, &siblings, &node);
                let expected = expected_after_write(&authors[index].tree, &node, parent.as_ref(), &at);
                authors[index].write(&mut dice, &node, parent.as_ref(), &at);
                assert_eq!(authors[index].tree.children(parent.as_ref()), expected, "SEED={seed}: {node} to {at:?}");
            }
            if dice.one_in(3) {
                // Only some of what the other has, in any order: anchors go missing for a while.
                let from = dice.below(authors.len());
                let mut some: Vec<Placement> = authors[from].held.clone();
                dice.shuffle(&mut some);
                some.truncate(dice.below(20));
                authors[index].receive(some);
            }
        }
        let all: Vec<Placement> = authors.iter().flat_map(|author| author.held.clone()).collect();
        let mut model = Model::default();
        all.iter().for_each(|placement| model.insert(placement));
        for author in &mut authors {
            let mut missing = all.clone();
            dice.shuffle(&mut missing);
            author.receive(missing);
            assert_eq!(view_of(&author.tree, &nodes, hashes(&all)), model.view(), "SEED={seed}");
            check_shape(&author.tree, &nodes);
        }
    }
}

#[test]
fn concurrent_runs_do_not_interleave() {
    const RUN: u128 = 12;
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let mut common = Author::default();
        common.write(&mut dice, &node(1), None, &Position::Last);
        if dice.one_in(2) {
            common.write(&mut dice, &node(2), None, &Position::Last);
        }
        let forwards = dice.one_in(2);
        let mut written = Vec::new();
        for author in 1..4 {
            let mut here = common.clone();
            let mut at = node(1);
            for i in 0..RUN {
                let fresh = node(author * 100 + i);
                written.push(here.write(&mut dice, &fresh, None, &Position::After(at.clone())));
                if forwards {
                    at = fresh;
                }
            }
        }
        dice.shuffle(&mut written);
        common.receive(written);
        let shown = common.tree.children(None);
        let mut authors: Vec<u128> = shown
            .iter()
            .map(|id| match id {
                NodeId::Uuid(uuid) => uuid.as_u128() / 100,
                NodeId::Text(_) => 0,
            })
            .filter(|&author| author > 0)
            .collect();
        assert_eq!(authors.len(), 3 * RUN as usize);
        authors.dedup();
        assert_eq!(authors.len(), 3, "SEED={seed}: runs interleave in {shown:?}");
    }
}

/// Two devices move a under b and b under a. The later move is shown as undone; when its rival turns out void, it takes effect.
#[test]
fn the_later_of_two_moves_that_close_a_cycle_is_undone() {
    let mut tree = Tree::new();
    tree.insert_batch(vec![place(1, 10, None, None), place(2, 20, None, Some(1)), place(4, 20, Some(10), None)]);
    assert_eq!(tree.verdict(&hash(4)), Some(Verdict::Applied));
    tree.take_changed();
    tree.insert(place(3, 10, Some(20), None));
    assert_eq!((tree.verdict(&hash(3)), tree.verdict(&hash(4))), (Some(Verdict::Applied), Some(Verdict::WouldCycle)));
    assert_eq!((tree.parent(&node(10)), tree.parent(&node(20))), (Some(Some(node(20))), Some(None)));
    let changed = tree.take_changed();
    assert_eq!(changed.verdicts, BTreeSet::from([hash(4)]));
    assert_eq!(changed.nodes, BTreeSet::from([node(10), node(20)]));
    assert_eq!(changed.parents, BTreeSet::from([None, Some(node(10)), Some(node(20))]));
    tree.remove(&hash(3));
    assert_eq!(tree.parent(&node(20)), Some(Some(node(10))));
    assert_eq!(tree.verdict(&hash(3)), None);
    tree.insert(place(3, 10, Some(20), None));
    assert_eq!(tree.verdict(&hash(4)), Some(Verdict::WouldCycle));
}

#[test]
fn a_child_may_come_before_its_parent() {
    let mut tree = Tree::new();
    tree.insert(place(5, 2, Some(1), None));
    assert_eq!((tree.root(&node(2)), tree.depth(&node(2)), tree.detached()), (Some(node(1)), Some(1), vec![node(1)]));
    assert_eq!((tree.parent(&node(1)), tree.root(&node(1))), (None, None));
    tree.insert(place(4, 1, None, None));
    assert_eq!((tree.children(None), tree.children(Some(&node(1))), tree.detached()), (vec![node(1)], vec![node(2)], vec![]));
}

#[test]
fn a_lost_anchor_sorts_last_until_it_arrives() {
    let mut tree = Tree::new();
    tree.insert_batch(vec![place(1, 10, None, None), place(3, 30, None, Some(2)), place(4, 40, None, Some(1))]);
    assert_eq!(tree.children(None), [node(10), node(40), node(30)]);
    tree.take_changed();
    tree.insert(place(2, 20, None, Some(1)));
    assert_eq!(tree.children(None), [node(10), node(20), node(30), node(40)]);
    assert!(tree.take_changed().parents.contains(&None));
    tree.remove(&hash(2));
    assert_eq!(tree.children(None), [node(10), node(40), node(30)]);
    let early = Placement { stamp: Stamp { version: 1, ..place(5, 50, None, None).stamp }, ..place(5, 50, None, Some(4)) };
    tree.insert(early);
    assert_eq!(tree.children(None).last(), Some(&node(50)), "an anchor of a version its author cannot have seen does not hold");
}

#[test]
fn positions_that_cannot_be_had_are_named() {
    let mut tree = Tree::new();
    tree.insert_batch(vec![place(1, 10, None, None), place(2, 20, Some(10), None)]);
    let ask =
        |parent: Option<u128>, at: &Position, moved: Option<u128>| tree.place_for(parent.map(node).as_ref(), at, moved.map(node).as_ref());
    let cycle = PlaceError::WouldCycle { node: node(10), parent: node(20) };
    assert_eq!(ask(Some(20), &Position::Last, Some(10)), Err(cycle));
    assert_eq!(ask(Some(10), &Position::First, Some(10)), Err(PlaceError::WouldCycle { node: node(10), parent: node(10) }));
    assert_eq!(ask(None, &Position::After(node(10)), Some(10)), Err(PlaceError::AfterItself { node: node(10) }));
    let stranger = ask(None, &Position::After(node(20)), None).unwrap_err();
    assert_eq!(stranger.to_string(), format!("node {} is not a child of the top level", node(20)));
    assert_eq!(ask(Some(99), &Position::Last, None), Ok((Anchor::Start, Side::Right)));
    assert!(tree.place_for(Some(&node(99)), &Position::After(node(98)), None).is_err());
}

#[test]
fn a_deep_chain_neither_overflows_nor_stalls() {
    const DEEP: u64 = 100_000;
    let chain = |i: u64| place(i, u128::from(i), (i > 1).then(|| u128::from(i - 1)), None);
    let mut tree = Tree::new();
    tree.insert_batch((1..=DEEP).rev().map(chain).collect());
    assert_eq!(tree.depth(&node(u128::from(DEEP))), Some(DEEP as usize - 1));
    assert_eq!(tree.root(&node(u128::from(DEEP))), Some(node(1)));
    tree.insert(place(DEEP + 1, 1, Some(u128::from(DEEP)), None));
    assert_eq!(tree.verdict(&hash(DEEP + 1)), Some(Verdict::WouldCycle));

    // As deep a chain of places: each right of the one before, then each left of it.
    for side in [Side::Right, Side::Left] {
        let beside = |i: u64| Placement { side, ..place(i, u128::from(i), None, (i > 1).then(|| i - 1)) };
        let mut tree = Tree::new();
        tree.insert_batch((1..=DEEP).map(beside).collect());
        tree.remove(&hash(1));
        let shown = tree.children(None);
        assert_eq!(shown.len(), DEEP as usize - 1);
        assert_eq!(shown[0], node(if side == Side::Right { 2 } else { u128::from(DEEP) }));
    }
}

/// A node's children are counted up to a bound only; past it nothing about cycles may change, neither while they are there nor after.
#[test]
fn more_children_than_are_counted_do_no_harm() {
    const MANY: u64 = 300;
    let mut tree = Tree::new();
    tree.insert(place(1, 1, None, None));
    tree.insert_batch((2..=MANY).map(|i| place(i, u128::from(i), Some(1), Some(i - 1))).collect());
    tree.insert(place(MANY + 1, 1, Some(u128::from(MANY)), None));
    assert_eq!(tree.verdict(&hash(MANY + 1)), Some(Verdict::WouldCycle));
    tree.insert_batch((2..=MANY).map(|i| place(MANY + i, u128::from(i), None, None)).collect());
    tree.insert(place(3 * MANY, 1, Some(u128::from(MANY)), None));
    assert_eq!(tree.verdict(&hash(3 * MANY)), Some(Verdict::Applied));
    tree.insert(place(3 * MANY + 1, u128::from(MANY), Some(1), None));
    assert_eq!(tree.verdict(&hash(3 * MANY + 1)), Some(Verdict::WouldCycle));
}

/// Most are found by the crowd's own order; a removal and a chain have parents rebuilt. The order must not show which.
#[test]
fn a_crowd_at_one_spot_has_one_order() {
    for seed in 0..4 {
        let mut dice = Dice::new(seed);
        let mut placements = vec![place(1, 1, None, None)];
        for number in 2..600 {
            let chance = dice.below(4);
            let at = if chance == 0 { Some(number - 1) } else { (chance == 1).then_some(1) };
            let side = if dice.one_in(2) { Side::Left } else { Side::Right };
            let placement = Placement { side, ..place(number, u128::from(number), None, at) };
            placements.push(placement);
        }
        let mut model = Model::default();
        placements.iter().for_each(|placement| model.insert(placement));
        let expected = model.view().children.remove(&None).expect("all are at the top level");
        let (mut batched, mut single) = (Tree::new(), Tree::new());
        dice.shuffle(&mut placements);
        placements.iter().for_each(|placement| single.insert(placement.clone()));
        batched.insert_batch(placements);
        assert_eq!(batched.children(None), expected, "SEED={seed}");
        assert_eq!(single.children(None), expected, "SEED={seed}");
    }
}

/// One by one, each among more than could be stepped over.
#[test]
fn a_crowd_at_one_spot_takes_in_others_in_time() {
    const MANY: u64 = 50_000;
    let mut tree = Tree::new();
    tree.insert_batch((1..=MANY).map(|number| place(number, number.into(), None, None)).collect());
    for number in MANY + 1..2 * MANY {
        tree.insert(place(number, number.into(), None, None));
    }
    let expected: Vec<NodeId> = (1..2 * MANY).map(|number| node(number.into())).collect();
    assert_eq!(tree.children(None), expected);
}

/// Chunks as checkpoints keep them.
#[derive(Default)]
struct Disk {
    nodes: BTreeMap<u32, Vec<u8>>,
    places: BTreeMap<u32, Vec<u8>>,
}

impl Disk {
    fn save(&mut self, tree: &mut Tree) -> usize {
        let changed = tree.begin_save();
        let count = changed.nodes.len() + changed.places.len();
        self.nodes.extend(changed.nodes);
        self.places.extend(changed.places);
        tree.finish_save(true);
        count
    }

    fn read(&self) -> Tree {
        let mut reader = TreeReader::default();
        reader.reserve(0, 0);
        self.nodes.iter().for_each(|(chunk, bytes)| reader.read_nodes(*chunk, bytes).unwrap());
        self.places.iter().for_each(|(chunk, bytes)| reader.read_places(*chunk, bytes).unwrap());
        reader.finish().unwrap()
    }
}

#[test]
fn a_checkpoint_writes_what_changed() {
    let (mut tree, mut disk) = (Tree::new(), Disk::default());
    tree.insert_batch((1..=5_000).map(|n| place(n, u128::from(n), (n > 9).then(|| u128::from(n / 10)), (n > 20).then(|| n - 1))).collect());
    assert_eq!(disk.save(&mut tree), 20, "ten chunks of each");
    assert_eq!(disk.save(&mut tree), 0);
    tree.insert(place(6_000, 77, None, None));
    assert_eq!(disk.save(&mut tree), 1, "no new id");
    tree.insert(place(6_001, 6_001, Some(1), Some(9_999)));
    tree.remove(&hash(3));
    let changed = tree.begin_save();
    assert_eq!((changed.nodes.len(), changed.places.len()), (1, 2));
    tree.finish_save(false);
    assert_eq!(disk.save(&mut tree), 3, "what was not kept comes again");
    let mut restored = disk.read();
    for n in 0..=6_001 {
        let parent = node(n);
        assert_eq!(restored.children(Some(&parent)), tree.children(Some(&parent)));
    }
    assert_eq!(restored.children(None), tree.children(None));
    assert!(restored.take_changed().is_empty());
    assert_eq!(disk.save(&mut restored), 0, "what was read is no change");
    assert_eq!((restored.len(), restored.is_empty()), (tree.len(), false));
}
