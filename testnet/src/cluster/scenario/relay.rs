//! What a scenario says of the relay: that there is one, and what happens to it.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use crate::cluster::relay::LieKind;

/// More instances than one machine is good for.
const INSTANCES_MAX: usize = 8;
/// The longest that something is waited for, in seconds.
const WAIT_SECONDS_MAX: f64 = 600.0;

/// The relay of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySpec {
    /// How many of the program, behind one proxy.
    #[serde(default = "one")]
    pub instances: usize,
    /// Settings that differ from its own, by the names that its configuration has for them.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

const fn one() -> usize {
    1
}

/// How a device shows that a lie was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caught {
    /// It has an alarm with evidence, and does not use the relay.
    Alarm,
    /// It does not take the answers, says that syncing with the relay fails, and goes on trying.
    Failing,
}

/// What can happen to the relay.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum RelayAction {
    /// An instance is killed (`kill -9`).
    RelayKill {
        /// Which.
        instance: usize,
    },
    /// An instance is stopped in order.
    RelayStop {
        /// Which.
        instance: usize,
    },
    /// An instance is started again.
    RelayStart {
        /// Which.
        instance: usize,
    },
    /// An instance is killed and started again at once.
    RelayCrash {
        /// Which.
        instance: usize,
    },
    /// PostgreSQL is killed.
    PostgresKill {},
    /// PostgreSQL is stopped; its clients are cut off.
    PostgresStop {},
    /// PostgreSQL is started again.
    PostgresStart {},
    /// Redis is killed: what it held is gone.
    RedisKill {},
    /// Redis is started again, empty.
    RedisStart {},
    /// Redis forgets everything.
    RedisFlush {},
    /// A backup of the database is written.
    RelayBackUp {},
    /// The first backup is put in place of the database; the instances are stopped meanwhile.
    RelayRestore {},
    /// An empty database is put in place of the one there is; the instances are stopped meanwhile.
    RelayLose {},
    /// From now on some devices are lied to.
    RelayLie {
        /// How.
        lie: LieKind,
        /// Whom.
        to: Vec<usize>,
    },
    /// Nobody is lied to any more.
    RelayHonest {},
    /// A device must have caught the lie.
    RelayCaught {
        /// Which.
        device: usize,
        /// How it shows that.
        by: Caught,
        /// Within so many seconds from here.
        within_s: f64,
    },
    /// A person at a device has it look at the relay (`nodespace relay check`), and the device must trust it then.
    RelayCheck {
        /// Which.
        device: usize,
    },
}

impl RelayAction {
    /// Whether an event of this name is one of these: their names begin with what they happen to.
    pub(super) fn has_name(name: &str) -> bool {
        ["relay_", "postgres_", "redis_"].iter().any(|start| name.starts_with(start))
    }

    /// The devices it speaks of.
    pub(super) fn devices(&self) -> Vec<usize> {
        match self {
            Self::RelayLie { to, .. } => to.clone(),
            Self::RelayCaught { device, .. } | Self::RelayCheck { device } => vec![*device],
            _ => Vec::new(),
        }
    }

    /// In a few words, for the report.
    pub(super) fn words(&self) -> String {
        match self {
            Self::RelayKill { instance } => format!("relay{instance} killed"),
            Self::RelayStop { instance } => format!("relay{instance} stopped"),
            Self::RelayStart { instance } => format!("relay{instance} started"),
            Self::RelayCrash { instance } => format!("relay{instance} killed and started"),
            Self::PostgresKill {} => "PostgreSQL killed".into(),
            Self::PostgresStop {} => "PostgreSQL stopped".into(),
            Self::PostgresStart {} => "PostgreSQL started".into(),
            Self::RedisKill {} => "Redis killed".into(),
            Self::RedisStart {} => "Redis started".into(),
            Self::RedisFlush {} => "Redis flushed".into(),
            Self::RelayBackUp {} => "the relay is backed up".into(),
            Self::RelayRestore {} => "the relay is restored from its backup".into(),
            Self::RelayLose {} => "the relay loses its database".into(),
            Self::RelayLie { lie, to } => {
                let victims: Vec<String> = to.iter().map(|device| format!("d{device}")).collect();
                format!("the relay lies to {} ({})", victims.join(" "), lie.name())
            }
            Self::RelayHonest {} => "the relay is honest".into(),
            Self::RelayCaught { device, .. } => format!("d{device} catches the relay"),
            Self::RelayCheck { device } => format!("d{device} looks at the relay"),
        }
    }

    /// Checks what the form does not. `backups` counts those before it.
    ///
    /// # Errors
    /// When something does not fit.
    pub(super) fn validate(&self, relay: Option<&RelaySpec>, backups: &mut usize) -> Result<()> {
        let Some(relay) = relay else { bail!("there is no `[relay]`") };
        match self {
            Self::RelayKill { instance } | Self::RelayStop { instance } | Self::RelayStart { instance } | Self::RelayCrash { instance } => {
                ensure!(*instance < relay.instances, "instance {instance} does not exist: there are 0 to {}", relay.instances - 1);
            }
            Self::RelayBackUp {} => *backups += 1,
            Self::RelayRestore {} => ensure!(*backups > 0, "there is no backup before it"),
            Self::RelayLie { to, .. } => ensure!(!to.is_empty(), "`to` names nobody"),
            Self::RelayCaught { within_s, .. } => validate_wait(*within_s)?,
            _ => {}
        }
        Ok(())
    }
}

impl RelaySpec {
    /// Checks what the form does not.
    ///
    /// # Errors
    /// When something does not fit.
    pub(super) fn validate(&self) -> Result<()> {
        let instances = self.instances;
        ensure!((1..=INSTANCES_MAX).contains(&instances), "`relay.instances` = {instances} is not between 1 and {INSTANCES_MAX}");
        Ok(())
    }
}

/// Checks how long something is waited for.
///
/// # Errors
/// When that is no time, or longer than anybody has.
pub(super) fn validate_wait(seconds: f64) -> Result<()> {
    ensure!((0.0..=WAIT_SECONDS_MAX).contains(&seconds), "`within_s` = {seconds} is not between 0 and {WAIT_SECONDS_MAX}");
    Ok(())
}
