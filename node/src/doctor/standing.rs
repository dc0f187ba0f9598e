//! Whether this device can write and be understood: its clock, its logs, its membership, and operations that wait.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::Store;

use super::finding;
use crate::model::{Finding, Severity, time};

/// Before this time no clock of a running machine is right: 2024.
const CLOCK_MS_MIN: u64 = 1_704_067_200_000;

/// Checks a replica at a time.
#[must_use]
pub fn check<S: Store>(replica: &Replica<S>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(clock(replica, now));
    findings.extend(operations(replica));
    findings.extend(logs(replica));
    findings.extend(membership(replica));
    findings
}

fn clock<S: Store>(replica: &Replica<S>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if now.ms() < CLOCK_MS_MIN {
        let message = format!("this machine's clock says {}", time::to_text(now));
        let advice = "set the clock: what is written now gets times that others will show wrongly";
        findings.push(finding(Severity::Warning, "clock", message, advice));
    }
    let held = replica.held_ops();
    if held > 0 {
        let message = format!("{held} operations are dated after this machine's clock and take effect when it gets there");
        let advice = "compare this machine's clock with that of the device that wrote them";
        findings.push(finding(Severity::Warning, "clock", message, advice));
    }
    findings
}

fn operations<S: Store>(replica: &Replica<S>) -> Option<Finding> {
    let waiting = replica.waiting_ops();
    let message = format!("{waiting} operations wait for others that have not arrived");
    (waiting > 0).then(|| finding(Severity::Note, "operations", message, "sync with a device that has them"))
}

fn logs<S: Store>(replica: &Replica<S>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in replica.frontier().into_iter().filter(|entry| entry.heads.len() > 1) {
        let own = replica.own_log() == Some(entry.log);
        let message = format!("the log {} was continued in {} places with one key", entry.log, entry.heads.len());
        let advice = if own {
            "a copy of this home was used beside it: stop the copy; this device writes again when it has begun a new log"
        } else {
            "a copy of that device's home was used beside it; nothing is lost, tell its owner"
        };
        findings.push(finding(if own { Severity::Error } else { Severity::Warning }, "operations", message, advice));
    }
    if replica.is_own_log_behind() {
        let message = "others hold changes of this device that its store has lost";
        findings.push(finding(Severity::Error, "operations", message, "sync once; they come back, and then this device writes again"));
    }
    findings
}

fn membership<S: Store>(replica: &Replica<S>) -> Option<Finding> {
    let role = replica.device().and_then(|device| replica.membership().role(&device));
    match role {
        Some(role) if role.can_write() => None,
        Some(_) => {
            Some(finding(Severity::Note, "membership", "this device's user may read and not write", "ask an owner for the editor role"))
        }
        None => {
            let message = "this device is no member of the workspace: it can read and export, and not write";
            Some(finding(Severity::Warning, "membership", message, "ask an owner for an invite"))
        }
    }
}
