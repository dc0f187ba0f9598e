//! The replicated tree: imports, moves in order and late, batches, merging two branches, local edits, rebuilding an order.
//!
//! "Outline" trees have five children a node; "random" moves put any node under any other, which makes trees far deeper than
//! people do (about the square root of their size) and is the harder case for the cycle check.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nodespace_protocol::clock::{Stamp, Timestamp};
use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::tree::{Anchor, Placement, Position, Side, Tree};
use uuid::Uuid;

/// A seeded generator (xorshift64*): the same work in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 20) % bound
    }
}

fn hash(number: u64) -> OpHash {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = [0; 32];
    for lane in bytes.chunks_exact_mut(8) {
        lane.copy_from_slice(&dice.next().to_le_bytes());
    }
    OpHash(bytes)
}

fn node(number: u64) -> NodeId {
    let mut dice = Dice(number.wrapping_mul(0xd6e8_feb8_6659_fd93) | 1);
    NodeId::Uuid(Uuid::from_u64_pair(dice.next(), dice.next()))
}

fn put(number: u64, child: u64, parent: Option<u64>, anchor: Option<u64>) -> Placement {
    let stamp = Stamp { timestamp: Timestamp(number), version: number, hash: hash(number) };
    let anchor = anchor.map_or(Anchor::Start, |anchor| Anchor::Op(hash(anchor)));
    Placement { stamp, node: node(child), parent: parent.map(node), anchor, side: Side::Right }
}

/// Creates of an outline, parents first, each after its previous sibling.
fn outline(count: u64) -> Vec<Placement> {
    let create = |i: u64| put(i, i, (i >= 5).then_some(i / 5), (!i.is_multiple_of(5) && i != 1).then(|| i - 1));
    (1..=count).map(create).collect()
}

/// Creates of one long list.
fn list(count: u64) -> Vec<Placement> {
    (1..=count).map(|i| put(i, i, None, (i > 1).then(|| i - 1))).collect()
}

/// Moves of any node under any other, `step` apart in time.
fn random_moves(dice: &mut Dice, nodes: u64, from: u64, count: u64, step: u64) -> Vec<Placement> {
    (0..count).map(|i| put(from + i * step, 1 + dice.below(nodes), Some(1 + dice.below(nodes)), None)).collect()
}

/// Moves as in an outline: mostly of leaves, always under a node that has children.
fn outline_moves(dice: &mut Dice, nodes: u64, from: u64, count: u64, step: u64) -> Vec<Placement> {
    let inner = nodes / 5;
    let mut one = |number: u64| {
        let child = if dice.below(20) == 0 { 1 + dice.below(inner) } else { inner + 1 + dice.below(nodes - inner) };
        put(number, child, Some(1 + dice.below(inner)), None)
    };
    (0..count).map(|i| one(from + i * step)).collect()
}

fn tree_of(placements: Vec<Placement>) -> Tree {
    let mut tree = Tree::new();
    tree.insert_batch(placements);
    tree
}

fn one_by_one(mut tree: Tree, placements: Vec<Placement>) -> Tree {
    placements.into_iter().for_each(|placement| tree.insert(placement));
    tree
}

fn import(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree/import outline");
    group.sample_size(10);
    for count in [10_000, 100_000, 1_000_000] {
        group.throughput(Throughput::Elements(count));
        let placements = outline(count);
        group.bench_function(format!("one by one/{count}"), |bench| {
            bench.iter_batched(|| placements.clone(), |placements| one_by_one(Tree::new(), placements), BatchSize::PerIteration);
        });
        group.bench_function(format!("one batch/{count}"), |bench| {
            bench.iter_batched(|| placements.clone(), tree_of, BatchSize::PerIteration);
        });
    }
}

fn late(criterion: &mut Criterion) {
    const MOVES: u64 = 20_000;
    const LATE: u64 = 50;
    let mut group = criterion.benchmark_group("tree/late moves one by one");
    group.throughput(Throughput::Elements(LATE));
    for (name, moves) in [("outline", outline_moves as fn(&mut Dice, u64, u64, u64, u64) -> _), ("random", random_moves)] {
        for late in [10, 100, 1_000] {
            let mut dice = Dice(42);
            let mut tree = tree_of(outline(1_000));
            tree.insert_batch(moves(&mut dice, 1_000, 1_000_000, MOVES, 1_000));
            // All fit in the time between two moves, so each is late by the same number.
            let late_moves = moves(&mut dice, 1_000, 1_000_000 + (MOVES - late) * 1_000 - 999, LATE, 1);
            group.bench_function(format!("{name}/late by {late}"), |bench| {
                let start = || (tree.clone(), late_moves.clone());
                bench.iter_batched(start, |(tree, moves)| one_by_one(tree, moves), BatchSize::PerIteration);
            });
        }
    }
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree/batch");
    group.sample_size(10);
    let mut dice = Dice(42);
    for nodes in [1_000, 10_000, 100_000] {
        let tree = tree_of(outline(nodes));
        let moves = random_moves(&mut dice, nodes, nodes + 1, 100_000, 1);
        group.bench_function(format!("100k random moves/{nodes} nodes"), |bench| {
            bench.iter_batched(
                || (tree.clone(), moves.clone()),
                |(mut tree, moves)| {
                    tree.insert_batch(moves);
                    tree
                },
                BatchSize::PerIteration,
            );
        });
    }
    for nodes in [1_000, 10_000] {
        let mut tree = tree_of(outline(nodes));
        tree.insert_batch(random_moves(&mut dice, nodes, nodes + 2, 10_000, 2));
        let others = random_moves(&mut dice, nodes, nodes + 3, 10_000, 2);
        group.bench_function(format!("merge 10k into 10k/{nodes} nodes"), |bench| {
            bench.iter_batched(
                || (tree.clone(), others.clone()),
                |(mut tree, others)| {
                    tree.insert_batch(others);
                    tree
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn local(criterion: &mut Criterion) {
    const EDITS: u64 = 1_000;
    let mut group = criterion.benchmark_group("tree/local at 10k siblings");
    group.throughput(Throughput::Elements(EDITS));
    let tree = tree_of(list(10_000));
    let fresh: Vec<Placement> = (20_000..20_000 + EDITS).map(|i| put(i, i, None, None)).collect();
    for (name, at) in [("last", Position::Last), ("first", Position::First), ("middle", Position::After(node(5_000)))] {
        group.bench_function(name, |bench| {
            let edit = |(mut tree, fresh): (Tree, Vec<Placement>)| {
                for mut placement in fresh {
                    (placement.anchor, placement.side) = tree.place_for(None, &at, None).expect("the position is there");
                    tree.insert(placement);
                }
                tree
            };
            bench.iter_batched(|| (tree.clone(), fresh.clone()), edit, BatchSize::PerIteration);
        });
    }
    group.finish();
    criterion.bench_function("tree/children of 10k", |bench| bench.iter(|| black_box(&tree).children(None)));
    criterion.bench_function("tree/rebuild 10k", |bench| {
        bench.iter_batched(
            || tree.clone(),
            |mut tree| {
                tree.remove(&hash(10_000));
                tree
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, import, late, batches, local);
criterion_main!(benches);
