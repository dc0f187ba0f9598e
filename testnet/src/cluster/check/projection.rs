//! The LanceDB table of every member equals the fold of its log: its own doctor holds row after row against node states, and node states
//! against the operations.

use super::{Case, Verdict};

pub(super) fn equals_the_log(case: &Case<'_>) -> Verdict {
    let mut faults = Vec::new();
    let mut rows = 0;
    for device in &case.evidence.devices {
        let (doctor, status) = (&device.doctor, &device.status);
        rows += doctor.rows;
        if !doctor.healthy {
            let first = doctor.findings.first().map(ToString::to_string).unwrap_or_default();
            faults.push(format!("the doctor of {} says: {first}", device.name));
        }
        if status.projection.state != "off" && status.projection.rows != status.store.nodes {
            faults.push(format!("{} has {} nodes and {} rows", device.name, status.store.nodes, status.projection.rows));
        }
        if doctor.operations != status.store.ops {
            faults.push(format!("the doctor of {} saw {} of {} operations", device.name, doctor.operations, status.store.ops));
        }
    }
    Verdict::of("LanceDB equals the log", &faults, format!("{rows} rows checked by {} doctors", case.evidence.devices.len()))
}
