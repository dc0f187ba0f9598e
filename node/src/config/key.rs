//! The table of settings.

use std::net::IpAddr;
use std::path::PathBuf;

use super::multiaddress::{check_dial_address, check_listen_address, check_peer_address};
use super::nearest::nearest;
use super::value::Value;
use super::{Config, Loaded, LogFormat, Problem, Source};

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// The table of the file it stands in.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it is.
    pub(super) get: fn(&Config) -> Value,
    /// Sets it, or says why the value is not allowed.
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that overrides it.
    pub fn variable(&self) -> String {
        format!("NODESPACE_{}_{}", self.section, self.name).to_uppercase()
    }

    /// Its value in a configuration.
    pub fn value(&self, config: &Config) -> Value {
        (self.get)(config)
    }
}

/// Makes one row: the section, the name, how it is shown, how it is set.
macro_rules! key {
    ($section:ident . $name:ident, $get:expr, $set:expr) => {
        Key { section: stringify!($section), name: stringify!($name), get: $get, set: $set }
    };
}

/// Every setting, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key!(api.address, |c| Value::Text(c.api.address.to_string()), |c, v| set(&mut c.api.address, address(v))),
    key!(api.port, |c| Value::Number(c.api.port.into()), |c, v| set(&mut c.api.port, port(v))),
    key!(api.allow_remote, |c| Value::Switch(c.api.allow_remote), |c, v| set(&mut c.api.allow_remote, v.switch())),
    key!(api.allowed_hosts, |c| Value::List(c.api.allowed_hosts.clone()), |c, v| set(&mut c.api.allowed_hosts, v.list())),
    key!(api.allowed_origins, |c| Value::List(c.api.allowed_origins.clone()), |c, v| set(&mut c.api.allowed_origins, origins(v))),
    key!(api.body_limit_mib, |c| number(c.api.body_limit_mib), |c, v| set(&mut c.api.body_limit_mib, wide(v.number(1..=1024)))),
    key!(store.node_cache_mib, |c| number(c.store.node_cache_mib), |c, v| set(&mut c.store.node_cache_mib, wide(v.number(1..=4096)))),
    key!(store.op_cache_mib, |c| number(c.store.op_cache_mib), |c, v| set(&mut c.store.op_cache_mib, wide(v.number(1..=4096)))),
    key!(store.checkpoint_mib, |c| number(c.store.checkpoint_mib), |c, v| set(&mut c.store.checkpoint_mib, wide(v.number(1..=1024)))),
    key!(store.changed_nodes_mib, |c| number(c.store.changed_nodes_mib), |c, v| {
        set(&mut c.store.changed_nodes_mib, wide(v.number(1..=4096)))
    }),
    key!(projection.enabled, |c| Value::Switch(c.projection.enabled), |c, v| set(&mut c.projection.enabled, v.switch())),
    key!(projection.interval_ms, |c| number(c.projection.interval_ms), |c, v| {
        set(&mut c.projection.interval_ms, wide(v.number(10..=60_000)))
    }),
    key!(projection.checkpoint_seconds, |c| number(c.projection.checkpoint_seconds), |c, v| {
        set(&mut c.projection.checkpoint_seconds, wide(v.number(1..=3_600)))
    }),
    key!(projection.keep_versions_minutes, |c| number(c.projection.keep_versions_minutes), |c, v| {
        set(&mut c.projection.keep_versions_minutes, wide(v.number(1..=10_080)))
    }),
    key!(projection.index_cache_mib, |c| number(c.projection.index_cache_mib), |c, v| {
        set(&mut c.projection.index_cache_mib, wide(v.number(1..=65_536)))
    }),
    key!(log.level, |c| Value::Text(c.log.level.clone()), |c, v| set(&mut c.log.level, level(v))),
    key!(log.format, |c| Value::Text(format_name(c.log.format).into()), |c, v| set(&mut c.log.format, format(v))),
    key!(log.file, |c| Value::Text(path_text(&c.log.file)), |c, v| set(&mut c.log.file, path(v))),
    key!(search.limit, |c| number(c.search.limit), |c, v| set(&mut c.search.limit, wide(v.number(1..=1000)))),
    key!(search.model, |c| Value::Text(c.search.model.clone().unwrap_or_default()), |c, v| set(&mut c.search.model, optional(v))),
    key!(network.enabled, |c| Value::Switch(c.network.enabled), |c, v| set(&mut c.network.enabled, v.switch())),
    key!(network.listen, |c| Value::List(c.network.listen.clone()), |c, v| set(&mut c.network.listen, listen_addresses(v))),
    key!(network.announce, |c| Value::List(c.network.announce.clone()), |c, v| set(&mut c.network.announce, dial_addresses(v))),
    key!(network.mdns, |c| Value::Switch(c.network.mdns), |c, v| set(&mut c.network.mdns, v.switch())),
    key!(network.peers, |c| Value::List(c.network.peers.clone()), |c, v| set(&mut c.network.peers, peer_addresses(v))),
    key!(network.explicit_only, |c| Value::Switch(c.network.explicit_only), |c, v| set(&mut c.network.explicit_only, v.switch())),
    key!(network.connections_max, |c| number(c.network.connections_max), |c, v| {
        set(&mut c.network.connections_max, wide(v.number(1..=65_536)))
    }),
    key!(sync.interval_s, |c| number(c.sync.interval_s), |c, v| set(&mut c.sync.interval_s, wide(v.number(1..=86_400)))),
    key!(sync.clock_offset_ms, |c| Value::Number(c.sync.clock_offset_ms), |c, v| {
        set(&mut c.sync.clock_offset_ms, v.signed(-CLOCK_OFFSET_MS_MAX..=CLOCK_OFFSET_MS_MAX))
    }),
    key!(relay.urls, |c| Value::List(c.relay.urls.clone()), |c, v| set(&mut c.relay.urls, urls(v))),
];

/// How far a clock may be set off, in milliseconds: a hundred years.
const CLOCK_OFFSET_MS_MAX: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;

fn set<T>(slot: &mut T, value: Result<T, String>) -> Result<(), String> {
    *slot = value?;
    Ok(())
}

fn number(value: u64) -> Value {
    Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

fn wide(value: Result<u32, String>) -> Result<u64, String> {
    value.map(u64::from)
}

fn address(value: &Value) -> Result<IpAddr, String> {
    let text = value.text()?;
    text.parse().map_err(|_| format!("`{text}` is no IP address; the usual one is 127.0.0.1"))
}

fn port(value: &Value) -> Result<u16, String> {
    let number = value.number(0..=u16::MAX.into())?;
    u16::try_from(number).map_err(|error| error.to_string())
}

/// An origin is a scheme and an authority, nothing more (RFC 6454): with a path it would never match.
fn origins(value: &Value) -> Result<Vec<String>, String> {
    let origins = value.list()?;
    let is_origin = |origin: &&String| origin.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && !host.contains('/'));
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(wrong) => Err(format!("`{wrong}` is no origin; write it like http://localhost:5173, without a path or a slash at the end")),
        None => Ok(origins),
    }
}

fn listen_addresses(value: &Value) -> Result<Vec<String>, String> {
    value.list()?.iter().map(|text| check_listen_address(text)).collect()
}

fn dial_addresses(value: &Value) -> Result<Vec<String>, String> {
    value.list()?.iter().map(|text| check_dial_address(text)).collect()
}

fn peer_addresses(value: &Value) -> Result<Vec<String>, String> {
    value.list()?.iter().map(|text| check_peer_address(text)).collect()
}

fn urls(value: &Value) -> Result<Vec<String>, String> {
    let urls = value.list()?;
    urls.iter().map(|url| crate::relay_client::RelayUrl::parse(url).map(String::from).map_err(|error| error.to_string())).collect()
}

fn level(value: &Value) -> Result<String, String> {
    let text = value.text()?;
    crate::logging::check_level(text)?;
    Ok(text.to_owned())
}

const fn format_name(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    }
}

fn format(value: &Value) -> Result<LogFormat, String> {
    match value.text()? {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("`{other}` is no log format; there are `human` and `json`")),
    }
}

fn path_text(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
}

fn path(value: &Value) -> Result<Option<PathBuf>, String> {
    value.optional_text().map(|text| text.map(PathBuf::from))
}

fn optional(value: &Value) -> Result<Option<String>, String> {
    value.optional_text().map(|text| text.map(str::to_owned))
}

/// The place of a setting in [`KEYS`], or what is wrong with its name.
pub(super) fn find(section: &str, name: &str) -> Result<usize, String> {
    if let Some(index) = KEYS.iter().position(|key| key.section == section && key.name == name) {
        return Ok(index);
    }
    let names = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let elsewhere = KEYS.iter().find(|key| key.name == name);
    let hint = match (nearest(name, names.clone()), elsewhere) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(key)) => format!("`{name}` belongs to `[{}]`", key.section),
        (None, None) => format!("`[{section}]` knows {}", names.collect::<Vec<_>>().join(", ")),
    };
    Err(format!("there is no setting `{section}.{name}`; {hint}"))
}

/// What is wrong with a section's name, if anything is.
pub(super) fn check_section(section: &str) -> Result<(), String> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    if sections.contains(&section) {
        return Ok(());
    }
    Err(match nearest(section, sections.iter().copied()) {
        Some(near) => format!("there is no section `{section}`; did you mean `{near}`?"),
        None => format!("there is no section `{section}`; there are {}", sections.join(", ")),
    })
}

/// Sets one setting and notes where it came from.
pub(super) fn apply(loaded: &mut Loaded, index: usize, value: &Value, source: Source) -> Result<(), String> {
    (KEYS[index].set)(&mut loaded.config, value)?;
    loaded.sources[index] = source;
    Ok(())
}

/// Applies the environment's overrides. A variable that begins like one of a section's and is none is a mistake too.
pub(super) fn apply_environment(loaded: &mut Loaded, environment: impl IntoIterator<Item = (String, String)>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (variable, text) in environment {
        let outcome = match KEYS.iter().position(|key| key.variable() == variable) {
            Some(index) => Value::from_environment(&text, &KEYS[index].value(&loaded.config))
                .and_then(|value| apply(loaded, index, &value, Source::Environment(variable.clone()))),
            None => check_variable(&variable),
        };
        if let Err(message) = outcome {
            problems.push(Problem { place: variable, line: None, message });
        }
    }
    problems.sort_by(|one, other| one.place.cmp(&other.place));
    problems
}

fn check_variable(variable: &str) -> Result<(), String> {
    // The relay, another program, has variables of its own that begin like this, and both may be set in one environment.
    let belongs = |key: &Key| key.section != "relay" && variable.starts_with(&format!("NODESPACE_{}_", key.section.to_uppercase()));
    let Some(section) = KEYS.iter().find(|key| belongs(key)).map(|key| key.section) else { return Ok(()) };
    let variables: Vec<String> = KEYS.iter().filter(|key| key.section == section).map(Key::variable).collect();
    let names = variables.iter().map(String::as_str);
    Err(match nearest(variable, names) {
        Some(near) => format!("no setting has this variable; did you mean {near}?"),
        None => format!("no setting has this variable; those of `[{section}]` are {}", variables.join(", ")),
    })
}
