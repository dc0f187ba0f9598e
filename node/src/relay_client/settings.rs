//! Which relays a workspace uses beside those of the configuration: a local setting, as a relay can read what it is given.

use nodespace_protocol::store::StoreError;

use super::url::RelayUrl;
use crate::engine::DeviceReplica;

/// Relays of one workspace; further ones are refused.
pub(crate) const RELAYS_MAX: usize = 8;

/// The setting: URLs, one a line, the preferred one first.
const URLS_KEY: &str = "relay/urls";

/// The workspace's own relays, the preferred one first.
///
/// # Errors
/// When the store fails.
pub(crate) fn own_urls(replica: &DeviceReplica) -> Result<Vec<RelayUrl>, StoreError> {
    let bytes = replica.store().value(URLS_KEY)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // What was written by `put_own_urls` can be read; a line that cannot is nobody's.
    Ok(text.lines().filter_map(|line| RelayUrl::parse(line).ok()).take(RELAYS_MAX).collect())
}

/// Keeps them, durably.
///
/// # Errors
/// When the store fails.
pub(crate) fn put_own_urls(replica: &DeviceReplica, urls: &[RelayUrl]) -> Result<(), StoreError> {
    let lines: Vec<&str> = urls.iter().map(RelayUrl::as_str).collect();
    replica.store().put_value(URLS_KEY, lines.join("\n").as_bytes())
}
