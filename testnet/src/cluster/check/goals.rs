//! What a scenario demands beyond equality.

use super::{Case, Verdict, latency};

pub(super) fn converged(case: &Case<'_>) -> Verdict {
    let allowed = case.scenario.expect.converge_s;
    let found = case.convergence;
    let missing = found.last_missing.as_deref().unwrap_or("nobody knows what");
    let faults = match (found.took_s, found.equal_s) {
        (Some(took), _) if took <= allowed => vec![],
        (Some(took), equal) => {
            let equal = equal.unwrap_or(took);
            vec![format!(
                "equal after {equal:.1} s of quiet, said by all after {took:.1} s; {allowed} s are allowed. Last missing: {missing}"
            )]
        }
        (None, _) => vec![format!("not equal, or not said: {missing}")],
    };
    let (equal, took) = (found.equal_s.unwrap_or_default(), found.took_s.unwrap_or_default());
    Verdict::of(
        "converged",
        &faults,
        format!("equal {equal:.2} s after the quiet began, said by all after {took:.2} s; {allowed} s are allowed"),
    )
}

/// Those that the scenario has.
pub(super) fn all(case: &Case<'_>) -> Vec<Verdict> {
    let expect = &case.scenario.expect;
    let mut verdicts = vec![surprises(case)];
    if expect.conflicts_min > 0 {
        verdicts.push(conflicts(case, expect.conflicts_min));
    }
    if expect.refusals_min > 0 {
        verdicts.push(refusals(case, expect.refusals_min));
    }
    if !expect.latency.is_empty() {
        verdicts.push(fast(case));
    }
    if expect.equal_before_quiet {
        verdicts.push(Verdict::of("equal before quiet", case.before_quiet, "all members held the same before the quiet began"));
    }
    if expect.lies_min > 0 {
        let faults = if case.lies < expect.lies_min { vec![format!("only {} answers were lies", case.lies)] } else { vec![] };
        verdicts.push(Verdict::of("lied to", &faults, format!("{} answers of the relay were lies", case.lies)));
    }
    if let Some(allowed) = expect.idle_bytes_per_s {
        verdicts.push(idle(case, allowed));
    }
    verdicts
}

fn surprises(case: &Case<'_>) -> Verdict {
    Verdict::of("as told", case.surprises, "every event ended as the scenario says")
}

fn conflicts(case: &Case<'_>, least: usize) -> Verdict {
    let found = case.evidence.devices.first().map_or(0, |first| first.conflicts.len());
    let faults = if found < least { vec![format!("{found} conflicts were found, at least {least} were to be made")] } else { vec![] };
    Verdict::of("conflicts found", &faults, format!("{found} conflicts, at least {least} were to be made"))
}

fn refusals(case: &Case<'_>, least: u64) -> Verdict {
    let mut reasons = std::collections::BTreeMap::new();
    for (reason, count) in case.evidence.devices.iter().flat_map(|device| &device.refused) {
        *reasons.entry(reason.clone()).or_insert(0) += count;
    }
    let found: u64 = reasons.values().sum();
    let told: Vec<String> = reasons.iter().filter(|(_, count)| **count > 0).map(|(reason, count)| format!("{count} {reason}")).collect();
    let faults = if found < least { vec![format!("members counted {found} refusals, at least {least} were to be made")] } else { vec![] };
    Verdict::of("refused with a reason", &faults, told.join(", "))
}

fn fast(case: &Case<'_>) -> Verdict {
    let measured = latency::all(case);
    let mut faults = Vec::new();
    let mut told = Vec::new();
    for goal in &case.scenario.expect.latency {
        let Some(found) = measured.iter().find(|measured| measured.phase == goal.phase && measured.everywhere.count > 0) else {
            faults.push(format!("nothing was measured in phase {}", goal.phase));
            continue;
        };
        let (p50, p99) = (found.everywhere.p50_ms, found.everywhere.p99_ms);
        let text = format!("{}: seen by all after {p50:.1} ms (p50), {p99:.1} ms (p99)", goal.phase);
        if p50 >= goal.p50_ms || p99 >= goal.p99_ms {
            faults.push(format!("{text}; {} and {} ms are allowed", goal.p50_ms, goal.p99_ms));
        }
        told.push(text);
    }
    Verdict::of("fast", &faults, told.join("; "))
}

/// Bytes a second that each device sent and received in the last phase.
fn idle(case: &Case<'_>, allowed: f64) -> Verdict {
    let Some(last) = case.phases.last() else { return Verdict::of("idle", &["there was no phase".into()], "") };
    let seconds = last.ended_s - last.begun_s;
    let all: Vec<f64> = last.bytes_by_device(case.scenario.devices_all()).into_iter().map(|bytes| bytes as f64 / seconds).collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    let faults = if most > allowed { vec![format!("a device sent and received {most:.0} B/s; {allowed} are allowed")] } else { vec![] };
    Verdict::of("idle", &faults, format!("each device sent and received at most {most:.0} B/s; {allowed} are allowed"))
}
