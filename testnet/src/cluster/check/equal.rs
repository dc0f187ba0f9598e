//! All members hold the same: operations, state, what applications read, conflicts.

use super::{Case, Verdict};
use crate::cluster::run::evidence::DeviceEvidence;

/// How many bytes around the first difference are shown, and how much of the line's beginning, where the id stands.
const EXCERPT: usize = 160;
const ID: usize = 46;

pub(super) fn operations(case: &Case<'_>) -> Verdict {
    let faults = compare(case, |first, other| {
        let missing = first.ops.difference(&other.ops).count();
        let surplus = other.ops.difference(&first.ops).count();
        (missing + surplus > 0).then(|| format!("{} lacks {missing} operations of {} and has {surplus} more", other.name, first.name))
    });
    Verdict::of("equal operations", &faults, format!("{} operations, the same at all", case.evidence.operations()))
}

pub(super) fn states(case: &Case<'_>) -> Verdict {
    let faults = compare(case, |first, other| {
        let (one, two) = (&first.status.state_digest, &other.status.state_digest);
        (one != two).then(|| format!("{} has the state {one}, {} has {two}", first.name, other.name))
    });
    let digest = case.evidence.devices.first().map_or("", |first| first.status.state_digest.as_str());
    Verdict::of("equal states", &faults, format!("state {}", &digest[..digest.len().min(16)]))
}

pub(super) fn exports(case: &Case<'_>) -> Verdict {
    let faults = compare(case, |first, other| {
        let differs = first.export.iter().zip(&other.export).find(|(one, two)| one != two);
        if let Some((one, two)) = differs {
            let at = one.bytes().zip(two.bytes()).take_while(|(one, two)| one == two).count();
            return Some(format!("{} exports {} where {} exports {}", first.name, excerpt(one, at), other.name, excerpt(two, at)));
        }
        let (one, two) = (first.export.len(), other.export.len());
        (one != two).then(|| format!("{} exports {one} nodes, {} exports {two}", first.name, other.name))
    });
    let nodes = case.evidence.devices.first().map_or(0, |first| first.export.len());
    Verdict::of("equal exports", &faults, format!("{nodes} nodes, byte for byte the same"))
}

pub(super) fn conflicts(case: &Case<'_>) -> Verdict {
    let faults = compare(case, |first, other| {
        let (one, two) = (&first.conflicts, &other.conflicts);
        let differs = one.iter().find(|conflict| !two.contains(conflict)).or_else(|| two.iter().find(|conflict| !one.contains(conflict)));
        differs.map(|conflict| format!("{} and {} do not agree about the conflict {conflict:?}", first.name, other.name))
    });
    let (all, open) = case.evidence.devices.first().map_or((0, 0), |first| (first.conflicts.len(), first.status.open_conflicts));
    Verdict::of("equal conflicts", &faults, format!("{all} conflicts, {open} of them open, the same at all"))
}

/// Holds every member against the first.
fn compare(case: &Case<'_>, differ: impl Fn(&DeviceEvidence, &DeviceEvidence) -> Option<String>) -> Vec<String> {
    let Some((first, others)) = case.evidence.devices.split_first() else { return vec!["there are no members".into()] };
    others.iter().filter_map(|other| differ(first, other)).collect()
}

/// The node's id, and what stands around a place in the line.
fn excerpt(line: &str, at: usize) -> String {
    let head: String = line.chars().take(ID).collect();
    let around = String::from_utf8_lossy(&line.as_bytes()[at.saturating_sub(EXCERPT / 2)..line.len().min(at + EXCERPT / 2)]).into_owned();
    format!("{head}.. {around}")
}
