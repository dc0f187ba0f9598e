//! What a link does to what passes through it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a way is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Nothing passes, nothing is lost.
    Hold,
    /// Bytes vanish.
    Swallow,
    /// Connections are reset and refused, both ways.
    Refuse,
}

/// The conditions of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Each piece comes so much later.
    pub delay: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// How much fits through in a second; nothing = as much as the machine can.
    pub bytes_per_s: Option<u64>,
    /// Of a thousand pieces, how many wait for a retransmission.
    pub loss_per_mille: u64,
    /// Whether anything passes.
    pub cut: Option<Cut>,
}

/// The conditions of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// From the dialler.
    pub forward: Way,
    /// To the dialler.
    pub backward: Way,
    /// A connection is reset after about this long, somewhere between no time and twice as much.
    pub lifetime: Option<Duration>,
    /// Connections of an earlier generation are reset.
    pub generation: u64,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the dialler.
    Forward,
    /// To the dialler.
    Backward,
}

impl Conditions {
    /// The same both ways.
    pub fn both(way: Way) -> Self {
        Self { forward: way, backward: way, ..Self::default() }
    }

    /// The conditions of a direction.
    pub const fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Backward => &self.backward,
        }
    }

    /// The conditions of a direction, to be changed.
    pub const fn way_mut(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Backward => &mut self.backward,
        }
    }

    /// Whether connections are refused.
    pub fn refuses(&self) -> bool {
        [self.forward.cut, self.backward.cut].contains(&Some(Cut::Refuse))
    }

    /// Whether bytes vanish on one way or both.
    pub fn swallows(&self) -> bool {
        [self.forward.cut, self.backward.cut].contains(&Some(Cut::Swallow))
    }

    /// Cuts both ways, or heals them.
    pub const fn set_cut(&mut self, cut: Option<Cut>) {
        self.forward.cut = cut;
        self.backward.cut = cut;
    }
}
