//! Whom a ticket names.

use nodespace_protocol::ids::DeviceId;

/// Whom a ticket names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    /// A member's device.
    Device(DeviceId),
    /// A relay, by its URL.
    Relay(String),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(device) => write!(f, "device {}", device.short()),
            Self::Relay(url) => write!(f, "the relay {url}"),
        }
    }
}
