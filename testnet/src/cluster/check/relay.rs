//! The relay in the end: it holds everything, is trusted, and a restored one was noticed.

use super::{Case, Verdict};

/// Every member has come to the end of the same log of the relay, which holds all that the member holds.
pub(super) fn holds_all(case: &Case<'_>) -> Verdict {
    let mut faults = Vec::new();
    let mut first = None;
    for device in &case.evidence.devices {
        let [relay] = device.relays.as_slice() else {
            faults.push(format!("{} has {} relays", device.name, device.relays.len()));
            continue;
        };
        if let Some(alarm) = &relay.alarm {
            faults.push(format!("{} does not trust the relay: {}", device.name, alarm.message));
        }
        if relay.missing_there_max > 0 {
            faults.push(format!("{} operations of {} may be missing at the relay", relay.missing_there_max, device.name));
        }
        let reached = (relay.epoch, relay.version);
        if *first.get_or_insert(reached) != reached {
            faults.push(format!("{} has come to {reached:?} of the relay's log, the first to {first:?}", device.name));
        }
    }
    let version = first.map_or(0, |(_, version)| version);
    Verdict::of("relay holds all", &faults, format!("{version} operations, followed and confirmed by all members"))
}

/// Every member follows a later epoch than that before the restore.
pub(super) fn restore_noticed(case: &Case<'_>) -> Verdict {
    let before = case.epochs.iter().copied().max().unwrap_or(0);
    let is_late = |epoch: Option<u64>| epoch.is_some_and(|epoch| epoch > before);
    let late = |device: &&crate::cluster::run::evidence::DeviceEvidence| !device.relays.iter().all(|relay| is_late(relay.epoch));
    let fault =
        |device: &crate::cluster::run::evidence::DeviceEvidence| format!("{} still follows the epoch before the restore", device.name);
    let faults: Vec<String> = case.evidence.devices.iter().filter(late).map(fault).collect();
    Verdict::of("restore noticed", &faults, "all members follow the epoch that began with the restore")
}
