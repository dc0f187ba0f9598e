//! Bytes that went to and came from each device since the program started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::ids::DeviceId;

/// Devices that are counted apart; those that come later are counted together with nobody, so that strangers cannot fill memory.
const DEVICES_MAX: usize = 4_096;

/// One device's bytes, or those of one session with it.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    sent: AtomicU64,
    received: AtomicU64,
    /// What these are a part of.
    whole: Option<Arc<Self>>,
}

impl Bytes {
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.sent(bytes);
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.received(bytes);
        }
    }

    /// Sent and received.
    pub(super) fn both(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// All devices' bytes. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    devices: Arc<Mutex<BTreeMap<DeviceId, Arc<Bytes>>>>,
}

impl Traffic {
    /// The counters of a device.
    pub(super) fn of(&self, device: DeviceId) -> Arc<Bytes> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if devices.len() >= DEVICES_MAX && !devices.contains_key(&device) {
            return Arc::default();
        }
        Arc::clone(devices.entry(device).or_default())
    }

    /// Counters of a session with a device, from nothing: several workspaces may be synced with it at once. What they count the device's count
    /// too.
    pub(super) fn of_session(&self, device: DeviceId) -> Arc<Bytes> {
        Arc::new(Bytes { whole: Some(self.of(device)), ..Bytes::default() })
    }
}
