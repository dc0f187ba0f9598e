//! What a seed draws before anything happens: how many devices, which policy, what people do, what goes wrong and how often.

use nodespace_protocol::conflict::{ConflictType, Policy, ResolutionStrategy};

use super::dice::Dice;
use super::workload::Work;

/// How often the network misbehaves, in thousandths of frames or segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetworkPlan {
    pub(crate) latency_ms: (u64, u64),
    pub(crate) frame_lost: u64,
    pub(crate) frame_corrupted: u64,
    /// How many devices of a thousand hear of a fresh operation by gossip.
    pub(crate) gossip: u64,
    pub(crate) gossip_lost: u64,
    pub(crate) gossip_duplicated: u64,
    pub(crate) gossip_reordered: u64,
    pub(crate) gossip_corrupted: u64,
}

/// How often each kind of trouble comes up, as weights against each other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TroubleWeights {
    pub(crate) cut: u64,
    pub(crate) partition: u64,
    pub(crate) crash: u64,
    pub(crate) crash_while_writing: u64,
    pub(crate) sync_fails: u64,
    pub(crate) checkpoint: u64,
    pub(crate) snapshot: u64,
    pub(crate) restore: u64,
    pub(crate) copy: u64,
    pub(crate) clock_jump: u64,
}

impl TroubleWeights {
    /// The weights in the order of [`super::trouble::Trouble::ALL`].
    pub(crate) const fn list(&self) -> [u64; 10] {
        [
            self.cut,
            self.partition,
            self.crash,
            self.crash_while_writing,
            self.sync_fails,
            self.checkpoint,
            self.snapshot,
            self.restore,
            self.copy,
            self.clock_jump,
        ]
    }
}

/// How many hostile devices of each kind there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostilePlan {
    pub(crate) equivocators: usize,
    pub(crate) forgers: usize,
    pub(crate) flooders: usize,
    pub(crate) rogues: usize,
    pub(crate) liars: usize,
}

/// Everything a seed decides beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Honest devices.
    pub(crate) devices: usize,
    /// Devices that may join later.
    pub(crate) reserve: usize,
    pub(crate) policy: Policy,
    pub(crate) chaos_ms: u64,
    /// Things people do during the chaos.
    pub(crate) works: u64,
    pub(crate) weights: [u64; Work::ALL.len()],
    pub(crate) network: NetworkPlan,
    /// Things that go wrong during the chaos, beside the network's.
    pub(crate) troubles: u64,
    pub(crate) trouble: TroubleWeights,
    /// In thousandths: devices whose clock is off, or drifts.
    pub(crate) clocks_wrong: u64,
    pub(crate) clock_jump_ms: u64,
    pub(crate) hostile: HostilePlan,
    /// Connections a device tries to keep.
    pub(crate) degree: usize,
    /// Whether sessions hold operations of others for a moment before they forward them.
    pub(crate) holding: bool,
}

/// The longest a seed's chaos lasts, in virtual milliseconds.
const CHAOS_MS: (u64, u64) = (10_000, 60_000);

impl Plan {
    /// What a seed draws, with a number of devices in a range (both included).
    pub(crate) fn draw(seed: u64, devices: (usize, usize)) -> Self {
        let dice = &mut Dice::new(seed, 0);
        let (low, high) = (devices.0 as u64, devices.1 as u64);
        // The lesser of two draws: large worlds are rarer than small ones.
        let devices = dice.between(low, high).min(dice.between(low, high)) as usize;
        Self {
            seed,
            devices,
            reserve: dice.index(3),
            policy: draw_policy(dice),
            chaos_ms: dice.between(CHAOS_MS.0, CHAOS_MS.1),
            works: dice.between(30, 120),
            weights: Work::ALL.map(|work| if dice.chance(750) { work.weight() * dice.between(1, 4) } else { 0 }),
            network: draw_network(dice),
            troubles: if dice.chance(150) { 0 } else { dice.between(3, 25) },
            trouble: draw_troubles(dice),
            clocks_wrong: if dice.chance(500) { dice.between(50, 600) } else { 0 },
            clock_jump_ms: if dice.chance(500) { 200_000 } else { 30_000 },
            hostile: HostilePlan { liars: usize::from(Dice::new(seed, 4).chance(150)), ..draw_hostile(dice) },
            degree: dice.between(1, 3) as usize,
            // From a stream of its own, as liars are: what else a seed draws is what it drew before these were thought of.
            holding: Dice::new(seed, 3).chance(500),
        }
    }

    /// A world of this many devices in which nothing goes wrong: tests add what they are about.
    #[cfg(test)]
    pub(crate) fn calm(seed: u64, devices: usize) -> Self {
        Self {
            seed,
            devices,
            reserve: 0,
            policy: Policy::default(),
            chaos_ms: 20_000,
            works: 60,
            weights: Work::ALL.map(|work| if work == Work::Membership { 0 } else { work.weight() }),
            network: NetworkPlan { latency_ms: (5, 50), gossip: 500, ..NetworkPlan::default() },
            troubles: 0,
            trouble: TroubleWeights::default(),
            clocks_wrong: 0,
            clock_jump_ms: 0,
            hostile: HostilePlan::default(),
            degree: 2,
            holding: false,
        }
    }
}

fn draw_policy(dice: &mut Dice) -> Policy {
    if dice.chance(500) {
        return Policy::default();
    }
    random_policy(dice)
}

/// Any policy at all.
pub(crate) fn random_policy(dice: &mut Dice) -> Policy {
    ConflictType::ALL.into_iter().fold(Policy::default(), |policy, kind| {
        let strategy = dice.pick(&ResolutionStrategy::ALL).copied().unwrap_or(ResolutionStrategy::LastWriteWins);
        policy.with(kind, strategy)
    })
}

/// A rate that is zero in some worlds and up to `most` in others.
fn rate(dice: &mut Dice, most: u64) -> u64 {
    if dice.chance(400) { 0 } else { dice.between(1, most) }
}

fn draw_network(dice: &mut Dice) -> NetworkPlan {
    NetworkPlan {
        latency_ms: (dice.between(1, 20), dice.between(30, 400)),
        frame_lost: rate(dice, 20),
        frame_corrupted: rate(dice, 10),
        gossip: if dice.chance(200) { 0 } else { dice.between(100, 700) },
        gossip_lost: rate(dice, 400),
        gossip_duplicated: rate(dice, 200),
        gossip_reordered: rate(dice, 300),
        gossip_corrupted: rate(dice, 100),
    }
}

fn draw_troubles(dice: &mut Dice) -> TroubleWeights {
    TroubleWeights {
        cut: rate(dice, 10),
        partition: rate(dice, 6),
        crash: rate(dice, 8),
        crash_while_writing: rate(dice, 8),
        sync_fails: rate(dice, 5),
        checkpoint: rate(dice, 10),
        snapshot: rate(dice, 6),
        restore: rate(dice, 3),
        copy: rate(dice, 1),
        clock_jump: rate(dice, 5),
    }
}

fn draw_hostile(dice: &mut Dice) -> HostilePlan {
    HostilePlan {
        equivocators: usize::from(dice.chance(200)),
        forgers: usize::from(dice.chance(250)),
        flooders: usize::from(dice.chance(200)),
        rogues: usize::from(dice.chance(250)),
        liars: 0,
    }
}
