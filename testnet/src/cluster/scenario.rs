//! A scenario: what devices do and what is done to them, as a TOML file. `docs/TESTNET.md` explains every key.
//!
//! A scenario has phases one after the other. In a phase people write at some rate while things happen at given times. After the last one
//! everything heals, and the quiet begins: devices have so long to become equal. Then all is checked.

mod event;
mod relay;
mod validate;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub use self::event::{Action, Event, JoinEnd};
pub use self::relay::{Caught, RelayAction, RelaySpec};
use super::link::{Conditions, Way};

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, for people.
    pub story: String,
    /// What everything is drawn from.
    #[serde(default = "one")]
    pub seed: u64,
    /// Devices that are members from the beginning.
    pub devices: usize,
    /// Devices that have keys, and no workspace before they join one.
    #[serde(default)]
    pub outsiders: usize,
    /// Who has a wire to whom.
    #[serde(default)]
    pub topology: Topology,
    /// The wires' conditions at the beginning.
    #[serde(default)]
    pub link: LinkSpec,
    /// Nodes that everybody quarrels about.
    #[serde(default = "four")]
    pub hot_nodes: usize,
    /// Settings of all devices, by the names that their configuration has for them.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Settings of single devices.
    #[serde(default)]
    pub device: Vec<DeviceSpec>,
    /// The relay, which all devices use: the first is told its URL, the others have it from their tickets.
    #[serde(default)]
    pub relay: Option<RelaySpec>,
    /// What happens.
    pub phase: Vec<Phase>,
    /// What must hold in the end.
    #[serde(default)]
    pub expect: Expect,
    /// How it is shortened for a quick run.
    #[serde(default)]
    pub short: Short,
}

/// Who has a wire to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// All to all.
    #[default]
    Mesh,
    /// All to the first.
    Star,
    /// Each to the one before.
    Line,
    /// Nobody to anybody: there is only the relay.
    None,
}

/// The conditions of wires; what is left out is as good as the machine can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Delay of each way, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Up to so many milliseconds more.
    #[serde(default)]
    pub jitter_ms: u64,
    /// How many KiB fit through in a second, each way; 0 = any number.
    #[serde(default)]
    pub kib_per_s: u64,
    /// Of a thousand pieces, how many are lost once.
    #[serde(default)]
    pub loss_per_mille: u64,
    /// Connections are reset after about so many seconds; 0 = never.
    #[serde(default)]
    pub lifetime_s: f64,
}

/// Settings of one device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSpec {
    /// Which.
    pub number: usize,
    /// By the names that its configuration has for them.
    pub settings: BTreeMap<String, String>,
}

/// A stretch of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What it is called.
    pub name: String,
    /// How long it lasts, in seconds.
    pub for_s: f64,
    /// How often each writer writes, a second; 0 = nobody writes.
    #[serde(default)]
    pub writes_per_s: f64,
    /// Who writes; everybody when left out.
    #[serde(default)]
    pub writers: Option<Vec<usize>>,
    /// What is written.
    #[serde(default)]
    pub mix: Mix,
    /// After it, devices that run and are not cut off get so many seconds to become equal.
    #[serde(default)]
    pub settle_s: Option<f64>,
    /// What happens in it.
    #[serde(default)]
    pub event: Vec<Event>,
}

/// How much each kind of write weighs. A mix that names some kinds has none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default = "Mix::none")]
pub struct Mix {
    /// New nodes.
    pub create: u64,
    /// A word typed into some node.
    pub edit: u64,
    /// Metadata of some node.
    pub metadata: u64,
    /// A node to another place.
    pub r#move: u64,
    /// A node deleted.
    pub delete: u64,
    /// A hot node's text written anew.
    pub rewrite: u64,
    /// The same metadata of a hot node.
    pub retag: u64,
    /// A hot node below another, which may be below it.
    pub tangle: u64,
    /// A hot node deleted, or brought back.
    pub toggle: u64,
}

impl Default for Mix {
    /// What people do when nobody quarrels.
    fn default() -> Self {
        Self { edit: 70, create: 15, metadata: 8, r#move: 5, delete: 2, ..Self::NONE }
    }
}

impl Mix {
    const fn none() -> Self {
        Self::NONE
    }

    const NONE: Self = Self { create: 0, edit: 0, metadata: 0, r#move: 0, delete: 0, rewrite: 0, retag: 0, tangle: 0, toggle: 0 };

    /// The weights, in the order of [`super::workload::Work::ALL`].
    pub const fn weights(&self) -> [u64; 9] {
        let Self { create, edit, metadata, r#move, delete, rewrite, retag, tangle, toggle } = *self;
        [create, edit, metadata, r#move, delete, rewrite, retag, tangle, toggle]
    }
}

/// What must hold in the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Equal within so many seconds of quiet.
    pub converge_s: f64,
    /// At least so many conflicts were found, settled or not.
    pub conflicts_min: usize,
    /// At least so many times somebody was turned away.
    pub refusals_min: u64,
    /// How fast changes are seen at other devices.
    pub latency: Vec<LatencyGoal>,
    /// In the last phase no device may have sent and received more than so many bytes a second.
    pub idle_bytes_per_s: Option<f64>,
    /// Devices must be equal before the quiet begins: those that do not run by what they held when they were stopped.
    pub equal_before_quiet: bool,
    /// At least so many answers of the relay were lies.
    pub lies_min: u64,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            converge_s: 10.0,
            conflicts_min: 0,
            refusals_min: 0,
            latency: Vec::new(),
            idle_bytes_per_s: None,
            equal_before_quiet: false,
            lies_min: 0,
        }
    }
}

/// How fast changes of a phase must be seen at every other device, from sending the write. Short runs only report it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyGoal {
    /// Which phase.
    pub phase: String,
    /// Half of them.
    pub p50_ms: f64,
    /// Of a hundred, all but one.
    pub p99_ms: f64,
}

/// How a scenario is shortened.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Short {
    /// What times are multiplied with.
    pub time: f64,
    /// What the size of imports is multiplied with.
    pub size: f64,
}

impl Default for Short {
    fn default() -> Self {
        Self { time: 0.25, size: 0.1 }
    }
}

const fn one() -> u64 {
    1
}

const fn four() -> usize {
    4
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no scenario: with the key or the event that is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no scenario", path.display()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// As [`Scenario::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// All devices, outsiders included.
    pub const fn devices_all(&self) -> usize {
        self.devices + self.outsiders
    }

    /// Makes it shorter by its own measure.
    pub fn shorten(&mut self) {
        let Short { time, size } = self.short;
        for phase in &mut self.phase {
            phase.for_s *= time;
            phase.event.iter_mut().for_each(|event| event.shorten(time, size));
        }
        // What a busy machine makes of a few seconds says nothing about speed.
        self.expect.latency.clear();
    }
}

impl LinkSpec {
    /// As the proxy takes it.
    pub fn conditions(&self) -> Conditions {
        let way = Way {
            delay: Duration::from_millis(self.delay_ms),
            jitter: Duration::from_millis(self.jitter_ms),
            bytes_per_s: (self.kib_per_s > 0).then_some(self.kib_per_s * 1024),
            loss_per_mille: self.loss_per_mille,
            cut: None,
        };
        let lifetime = (self.lifetime_s > 0.0).then(|| Duration::from_secs_f64(self.lifetime_s));
        Conditions { lifetime, ..Conditions::both(way) }
    }
}

#[cfg(test)]
mod tests;
