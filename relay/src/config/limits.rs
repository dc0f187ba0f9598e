//! How fast each may ask, and how much each may keep.

use serde::{Deserialize, Serialize};

/// A rate: so many a second in the long run, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// In the long run, each second; greater than 0.
    pub per_second: f64,
    /// At once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// How fast each may ask. All instances of a relay together enforce one limit, while Redis is there, and each enforces it alone otherwise; but
/// requests of an address and WebSockets are counted at each instance always.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// Requests from one network address (IPv6: one /64).
    pub address_requests: Rate,
    /// Challenges for one network address: what somebody can ask who has shown nothing yet.
    pub address_challenges: Rate,
    /// Requests of one device.
    pub device_requests: Rate,
    /// Operations pushed by one device.
    pub device_operations: Rate,
    /// Operations pushed by one user, from all devices.
    pub user_operations: Rate,
    /// WebSocket connections of one device.
    pub device_sockets: u32,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            address_requests: Rate::new(100.0, 500),
            address_challenges: Rate::new(2.0, 60),
            device_requests: Rate::new(50.0, 200),
            // An import of a large workspace is pushed in a few minutes; typing needs a thousandth of it.
            device_operations: Rate::new(2_000.0, 50_000),
            user_operations: Rate::new(4_000.0, 100_000),
            device_sockets: 4,
        }
    }
}

/// How much each may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// Whether packets may bring workspaces the relay does not hold yet.
    pub new_workspaces: bool,
    /// How many workspaces one user may bring.
    pub workspaces_per_user: u32,
    /// Operations of one workspace, in MiB of headers and payloads.
    pub workspace_mib: u64,
    /// Attachments of one workspace, in MiB.
    pub workspace_attachments_mib: u64,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self { new_workspaces: true, workspaces_per_user: 100, workspace_mib: 4_096, workspace_attachments_mib: 4_096 }
    }
}
