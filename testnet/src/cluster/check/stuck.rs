//! Nobody is stuck: every member says that it is synced, nothing waits for a parent or a person.

use super::{Case, Verdict};

pub(super) fn nobody(case: &Case<'_>) -> Verdict {
    let mut faults = Vec::new();
    for device in &case.evidence.devices {
        if case.evidence.devices.len() > 1 && device.sync.summary.state != "synced" {
            faults.push(format!("{} says that it is {}", device.name, device.sync.summary.state));
        }
        if let Some(help) = device.sync.help_wanted.first() {
            faults.push(format!("{} waits for a person: {help}", device.name));
        }
        let store = &device.status.store;
        if store.waiting + store.held > 0 {
            faults.push(format!("at {} {} operations wait and {} are held back", device.name, store.waiting, store.held));
        }
    }
    Verdict::of("nobody stuck", &faults, format!("all {} members say that they are synced", case.evidence.devices.len()))
}
