//! What happens at a moment of a phase.

use serde::Deserialize;

use super::LinkSpec;
use super::relay::RelayAction;
use crate::cluster::link::Cut;

/// Something that happens, and when. In the file both stand side by side: `{ at_s = 1.5, do = "kill", device = 2 }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct Event {
    /// In seconds since the phase began.
    pub at_s: f64,
    /// What happens.
    pub action: Action,
}

// By hand, since serde cannot refuse unknown keys beside a flattened value: derived code would pass over a misspelt one in silence.
impl TryFrom<toml::Table> for Event {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        let at_s = match table.remove("at_s") {
            Some(toml::Value::Integer(seconds)) => seconds as f64,
            Some(toml::Value::Float(seconds)) => seconds,
            Some(other) => return Err(format!("`at_s` = {other} is not a number of seconds")),
            None => return Err(format!("the event `{table}` has no `at_s`")),
        };
        let of_relay = table.get("do").and_then(toml::Value::as_str).is_some_and(RelayAction::has_name);
        let text = table.to_string();
        let action = if of_relay { table.try_into().map(Action::Relay) } else { table.try_into() };
        Ok(Self { at_s, action: action.map_err(|error| format!("the event `{}`: {}", text.trim(), error.message()))? })
    }
}

impl Event {
    /// Makes it earlier and smaller.
    pub(super) fn shorten(&mut self, time: f64, size: f64) {
        self.at_s *= time;
        if let Action::Import { nodes, .. } = &mut self.action {
            *nodes = ((*nodes as f64 * size) as u64).max(1);
        }
    }
}

/// What can happen. Devices are numbers from 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A device is killed (`kill -9`).
    Kill {
        /// Which.
        device: usize,
    },
    /// A device is stopped in order.
    Stop {
        /// Which.
        device: usize,
    },
    /// A device is started again.
    Start {
        /// Which.
        device: usize,
    },
    /// A device is stopped in its tracks (`SIGSTOP`), as a laptop that sleeps.
    Pause {
        /// Which.
        device: usize,
    },
    /// A paused device goes on.
    Resume {
        /// Which.
        device: usize,
    },
    /// Devices reach only those of their own group.
    Partition {
        /// The groups; who is in none is alone.
        groups: Vec<Vec<usize>>,
        /// How the wires between groups are cut.
        cut: Cut,
    },
    /// What one device sends does not reach the other; the way back is open.
    OneWay {
        /// Who is not heard.
        from: usize,
        /// By whom.
        to: usize,
        /// How the way is cut; `refuse` cuts both.
        cut: Cut,
    },
    /// All cuts heal.
    Heal {},
    /// Conditions change.
    Link {
        /// Between these two; everywhere when left out.
        #[serde(default)]
        between: Option<[usize; 2]>,
        /// To what.
        conditions: LinkSpec,
    },
    /// Connections are reset.
    Reset {
        /// Between these two; everywhere when left out.
        #[serde(default)]
        between: Option<[usize; 2]>,
    },
    /// Markdown is imported.
    Import {
        /// Where.
        device: usize,
        /// How many nodes, about.
        nodes: u64,
    },
    /// A device's clock is set: it starts again with this offset.
    Clock {
        /// Which.
        device: usize,
        /// How far it is ahead, in milliseconds; negative when it is behind.
        offset_ms: i64,
    },
    /// A ticket is made.
    Invite {
        /// By whom.
        by: usize,
        /// What later events call it.
        ticket: String,
        /// For how many joiners.
        uses: u64,
        /// For how long.
        expires_s: u64,
    },
    /// A ticket is taken back.
    Revoke {
        /// By whom.
        by: usize,
        /// Which.
        ticket: String,
    },
    /// An outsider tries to join.
    Join {
        /// Who.
        device: usize,
        /// With which ticket.
        ticket: String,
        /// Whether half of it was lost on the way.
        #[serde(default)]
        halved: bool,
        /// How it must end.
        ends: JoinEnd,
    },
    /// A member is removed.
    Remove {
        /// Whose user.
        device: usize,
        /// By whom.
        by: usize,
    },
    /// Devices must hold the same by now, whatever they say.
    Equal {
        /// Which.
        devices: Vec<usize>,
        /// Within so many seconds from here.
        within_s: f64,
    },
    /// A device must say that it is synced: with whom it has a wire to among those that run, and with the relay.
    Synced {
        /// Which.
        device: usize,
        /// Within so many seconds from here.
        within_s: f64,
    },
    /// Something happens to the relay. In the file it stands like all others, see [`RelayAction`].
    #[serde(skip)]
    Relay(RelayAction),
}

/// How a join ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinEnd {
    /// The outsider is a member.
    Joined,
    /// The ticket is not taken.
    Refused,
}

impl Action {
    /// The devices it speaks of.
    pub fn devices(&self) -> Vec<usize> {
        match self {
            Self::Kill { device, .. }
            | Self::Stop { device, .. }
            | Self::Start { device, .. }
            | Self::Pause { device, .. }
            | Self::Resume { device, .. }
            | Self::Import { device, .. }
            | Self::Clock { device, .. }
            | Self::Synced { device, .. }
            | Self::Join { device, .. } => vec![*device],
            Self::Partition { groups, .. } => groups.concat(),
            Self::OneWay { from, to, .. } => vec![*from, *to],
            Self::Link { between, .. } | Self::Reset { between, .. } => between.map(Vec::from).unwrap_or_default(),
            Self::Invite { by, .. } | Self::Revoke { by, .. } => vec![*by],
            Self::Remove { device, by, .. } => vec![*device, *by],
            Self::Equal { devices, .. } => devices.clone(),
            Self::Relay(action) => action.devices(),
            Self::Heal {} => Vec::new(),
        }
    }

    /// In a few words, for the report.
    pub fn words(&self) -> String {
        match self {
            Self::Kill { device, .. } => format!("d{device} killed"),
            Self::Stop { device, .. } => format!("d{device} stopped"),
            Self::Start { device, .. } => format!("d{device} started"),
            Self::Pause { device, .. } => format!("d{device} paused"),
            Self::Resume { device, .. } => format!("d{device} goes on"),
            Self::Partition { groups, cut, .. } => format!("partition {} ({})", groups_text(groups), cut_name(*cut)),
            Self::OneWay { from, to, cut, .. } => format!("d{from} not heard by d{to} ({})", cut_name(*cut)),
            Self::Heal {} => "healed".into(),
            Self::Link { between, .. } => format!("conditions change {}", between_text(*between)),
            Self::Reset { between, .. } => format!("connections reset {}", between_text(*between)),
            Self::Import { device, nodes, .. } => format!("d{device} imports about {nodes} nodes"),
            Self::Clock { device, offset_ms, .. } => format!("d{device}'s clock set to {offset_ms:+} ms"),
            Self::Invite { by, ticket, .. } => format!("d{by} makes ticket {ticket}"),
            Self::Revoke { by, ticket, .. } => format!("d{by} takes ticket {ticket} back"),
            Self::Join { device, ticket, halved, .. } => format!("d{device} joins by {}{ticket}", if *halved { "half of " } else { "" }),
            Self::Remove { device, by, .. } => format!("d{by} removes d{device}"),
            Self::Equal { devices, .. } => format!("{} hold the same", groups_text(std::slice::from_ref(devices))),
            Self::Synced { device, .. } => format!("d{device} is synced"),
            Self::Relay(action) => action.words(),
        }
    }
}

/// The word for a cut, as the file has it.
const fn cut_name(cut: Cut) -> &'static str {
    match cut {
        Cut::Hold => "hold",
        Cut::Swallow => "swallow",
        Cut::Refuse => "refuse",
    }
}

fn groups_text(groups: &[Vec<usize>]) -> String {
    let group = |members: &Vec<usize>| members.iter().map(|member| format!("d{member}")).collect::<Vec<_>>().join(" ");
    groups.iter().map(group).collect::<Vec<_>>().join(" | ")
}

fn between_text(between: Option<[usize; 2]>) -> String {
    between.map_or_else(|| "everywhere".into(), |[one, other]| format!("between d{one} and d{other}"))
}
