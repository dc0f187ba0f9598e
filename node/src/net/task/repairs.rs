//! With whom gossip was repaired lately: nobody keeps us connecting anew all the time.

use std::collections::BTreeMap;

use nodespace_protocol::ids::DeviceId;

/// How often gossip with one peer is repaired, in milliseconds, at most.
const REPAIR_MS: u64 = 30_000;

/// With whom gossip was repaired lately.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    lately: BTreeMap<DeviceId, u64>,
}

impl Repairs {
    /// Whether gossip with a device may be repaired; then that counts as done.
    pub(super) fn begin(&mut self, device: DeviceId, now: u64) -> bool {
        self.lately.retain(|_, at| now < at.saturating_add(REPAIR_MS));
        let may = !self.lately.contains_key(&device);
        if may {
            self.lately.insert(device, now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_once_in_a_while_and_is_forgotten_after_that() {
        let (one, other) = (DeviceId([1; 32]), DeviceId([2; 32]));
        let mut repairs = Repairs::default();
        assert!(repairs.begin(one, 0));
        assert!(!repairs.begin(one, REPAIR_MS - 1));
        assert!(repairs.begin(other, REPAIR_MS));
        assert_eq!(repairs.lately.len(), 1, "what is over is not kept");
        assert!(repairs.begin(one, REPAIR_MS));
    }
}
