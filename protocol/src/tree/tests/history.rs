//! Random histories: hostile ones made of whatever bytes allow, and honest ones written by replicas that talk now and then.

use uuid::Uuid;

use crate::clock::{Stamp, Timestamp};
use crate::ids::{NodeId, OpHash};
use crate::tree::{Anchor, Placement, Position, Side, Tree};

/// A seeded generator (xorshift64*); says its seed when the test that holds it fails.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }

    pub(super) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A hash; now and then one that differs from others in its last bytes only.
    pub(super) fn hash(&mut self) -> OpHash {
        let mut bytes = [7; 32];
        if !self.one_in(4) {
            bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        }
        bytes[24..].copy_from_slice(&self.next().to_be_bytes());
        OpHash(bytes)
    }
}

impl Drop for Dice {
    #[expect(clippy::print_stderr, reason = "a failure must say how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.seed);
        }
    }
}

/// A few ids: UUIDs, the nil UUID and dates among them.
pub(super) fn some_nodes(count: u32) -> Vec<NodeId> {
    let id = |i: u32| match i % 4 {
        3 => NodeId::Text(format!("2025-08-{i:02}").into()),
        _ => NodeId::Uuid(Uuid::from_u128(u128::from(i))),
    };
    (0..count).map(id).collect()
}

/// Placements nobody honest would write: any parent, the node itself too; anchors unknown, elsewhere, later, in circles; equal times.
pub(super) fn hostile(dice: &mut Dice, nodes: &[NodeId], count: usize) -> Vec<Placement> {
    let hashes: Vec<OpHash> = (0..count + 2).map(|_| dice.hash()).collect();
    let few = &nodes[..nodes.len().div_ceil(3)];
    let mut made: Vec<Placement> = Vec::new();
    for (i, &hash) in hashes[..count].iter().enumerate() {
        let parents = if dice.one_in(3) { nodes } else { few };
        let mut parent = (!dice.one_in(4)).then(|| dice.pick(parents).clone());
        let anchor = match dice.below(8) {
            0 | 1 => Anchor::Start,
            2 => Anchor::Op(*dice.pick(&hashes)),
            _ if made.is_empty() => Anchor::Start,
            _ => {
                let neighbour = dice.pick(&made);
                parent.clone_from(&neighbour.parent);
                Anchor::Op(neighbour.stamp.hash)
            }
        };
        let version = if dice.one_in(5) { dice.next() % 8 } else { i as u64 };
        let timestamp = Timestamp(dice.next() % (1 + count as u64 / 2));
        let side = if dice.one_in(2) { Side::Left } else { Side::Right };
        made.push(Placement { stamp: Stamp { timestamp, version, hash }, node: dice.pick(nodes).clone(), parent, anchor, side });
    }
    made
}

/// A replica with its clock, as an author uses a tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Author {
    pub(super) tree: Tree,
    pub(super) held: Vec<Placement>,
    latest: (u64, u64),
}

impl Author {
    pub(super) fn receive(&mut self, placements: Vec<Placement>) {
        for placement in &placements {
            self.latest.0 = self.latest.0.max(placement.stamp.timestamp.0);
            self.latest.1 = self.latest.1.max(placement.stamp.version);
        }
        self.held.extend(placements.iter().cloned());
        self.tree.insert_batch(placements);
    }

    /// Writes a create or a move, and takes it in.
    pub(super) fn write(&mut self, dice: &mut Dice, node: &NodeId, parent: Option<&NodeId>, at: &Position) -> Placement {
        let moved = self.tree.parent(node).map(|_| node);
        let (anchor, side) = self.tree.place_for(parent, at, moved).expect("the position was there to be had");
        self.latest = (self.latest.0 + 1 + dice.next() % 3, self.latest.1 + 1);
        let stamp = Stamp { timestamp: Timestamp(self.latest.0), version: self.latest.1, hash: dice.hash() };
        let placement = Placement { stamp, node: node.clone(), parent: parent.cloned(), anchor, side };
        self.held.push(placement.clone());
        self.tree.insert(placement.clone());
        placement
    }
}
