//! The page: everything in one file, without a script and without anything to load.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Report, plot};

const STYLE: &str = "
:root { color-scheme: light; --ink: #1f2430; --soft: #5b6270; --line: #e4e6ea; --good: #00795a; --bad: #b3261e; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; color: var(--ink); background: #f6f7f9; margin: 0 }
main { max-width: 980px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 17px; margin: 0 0 10px }
p { margin: 0 0 8px; color: var(--soft) }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin-top: 18px; overflow-x: auto }
svg { width: 100%; height: auto; display: block }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 5px 12px 5px 0; border-top: 1px solid var(--line); vertical-align: top }
th { border-top: 0; color: var(--soft); font-weight: 500 } td.number, th.number { text-align: right }
.facts { display: flex; flex-wrap: wrap; gap: 10px 34px; margin-top: 16px }
.facts div { color: var(--soft); font-size: 13px } .facts b { display: block; font-size: 20px; color: var(--ink); font-weight: 600 }
.checks td:nth-child(-n+2) { white-space: nowrap; width: 1%; padding-right: 24px }
.good { color: var(--good); font-weight: 600; white-space: nowrap } .bad { color: var(--bad); font-weight: 600; white-space: nowrap }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; color: var(--soft); margin-bottom: 6px }
.legend i { display: inline-block; width: 14px; height: 3px; margin: 0 6px 4px 0 }
";

/// Makes the page.
pub(super) fn render(report: &Report) -> Result<String> {
    let mut page = String::new();
    head(&mut page, report)?;
    verdicts(&mut page, report)?;
    let devices: Vec<&str> = report.devices.iter().map(String::as_str).collect();
    let explained = "Thin lines are events; the shaded part is the quiet, in which nobody writes and everything is healed.";
    figure(&mut page, ("Convergence: operations held", explained), &devices, &plot::operations(report)?)?;
    figure(&mut page, ("How many different states there are", "1 means that all who answer are equal."), &[], &plot::states(report)?)?;
    if report.latencies.iter().any(|latency| latency.everywhere.count > 0) {
        let phases: Vec<&str> =
            report.latencies.iter().filter(|latency| latency.everywhere.count > 0).map(|latency| latency.phase.as_str()).collect();
        let explained =
            "From sending the write at its author until the last other device showed it. So many % of the writes took at most so long.";
        figure(&mut page, ("Latency", explained), &phases, &plot::latency(report)?)?;
        latencies(&mut page, report)?;
    }
    figure(&mut page, ("Bytes", "What passed all wires together, both ways."), &[], &plot::bytes(report)?)?;
    wires(&mut page, report)?;
    usages(&mut page, report)?;
    moments(&mut page, report)?;
    page.push_str("</main>\n");
    Ok(page)
}

fn head(page: &mut String, report: &Report) -> Result<()> {
    let name = escape(&report.scenario);
    let (class, word) = if report.passed() { ("good", "passed") } else { ("bad", "failed") };
    writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">"
    )?;
    writeln!(page, "<title>{name}: {word}</title>\n<style>{STYLE}</style>\n<main>")?;
    writeln!(page, "<h1>{name} <span class=\"{class}\">{word}</span></h1>\n<p>{}</p>\n<div class=\"facts\">", escape(&report.story))?;
    let took = report.convergence.took_s.map_or_else(|| "never".to_owned(), |took| format!("{took:.2} s"));
    let bytes: u64 = report.wires.iter().map(|(_, _, traffic)| traffic.bytes()).sum();
    for (what, value) in [
        ("devices", report.devices.len().to_string()),
        ("operations", report.operations.to_string()),
        ("writes acknowledged", report.writes.acknowledged.to_string()),
        ("refused", report.writes.refused.values().sum::<u64>().to_string()),
        ("without an answer", report.writes.unknown.to_string()),
        ("equal after the quiet began", took),
        ("over the wires", size(bytes)),
        ("seed", report.seed.to_string()),
        ("program", report.program.clone()),
    ] {
        writeln!(page, "<div><b>{}</b>{what}</div>", escape(&value))?;
    }
    Ok(writeln!(page, "</div>")?)
}

fn verdicts(page: &mut String, report: &Report) -> Result<()> {
    writeln!(page, "<section><h2>Checks</h2><table class=\"checks\">")?;
    for verdict in &report.verdicts {
        let (class, word) = if verdict.passed { ("good", "ok") } else { ("bad", "failed") };
        writeln!(page, "<tr><td class=\"{class}\">{word}<td>{}<td>{}", verdict.check, escape(&verdict.found))?;
    }
    Ok(writeln!(page, "</table></section>")?)
}

fn figure(page: &mut String, (title, explained): (&str, &str), legend: &[&str], svg: &str) -> Result<()> {
    writeln!(page, "<section><h2>{title}</h2><p>{explained}</p>")?;
    if !legend.is_empty() {
        page.push_str("<div class=\"legend\">");
        for (number, name) in legend.iter().enumerate() {
            write!(page, "<span><i style=\"background:{}\"></i>{}</span>", plot::colour(number), escape(name))?;
        }
        page.push_str("</div>");
    }
    Ok(writeln!(page, "{svg}</section>")?)
}

fn latencies(page: &mut String, report: &Report) -> Result<()> {
    let numbers = "<th class=\"number\">p50 ms<th class=\"number\">p90 ms<th class=\"number\">p99 ms<th class=\"number\">max ms";
    writeln!(page, "<section><h2>Latency in numbers</h2><table><tr><th>phase<th>until<th class=\"number\">count{numbers}")?;
    for latency in &report.latencies {
        let rows = [("answered", &latency.answered), ("seen by another", &latency.each), ("seen by all", &latency.everywhere)];
        for (what, times) in rows {
            write!(page, "<tr><td>{}<td>{what}<td class=\"number\">{}", escape(&latency.phase), times.count)?;
            for value in [times.p50_ms, times.p90_ms, times.p99_ms, times.max_ms] {
                write!(page, "<td class=\"number\">{value:.1}")?;
            }
            page.push('\n');
        }
    }
    Ok(writeln!(page, "</table></section>")?)
}

fn wires(page: &mut String, report: &Report) -> Result<()> {
    if report.wires.is_empty() {
        return Ok(());
    }
    let columns = ["dialler sent", "answerer sent", "connections", "turned away", "reset", "vanished"];
    writeln!(page, "<section><h2>Wires</h2><table><tr><th>between")?;
    for column in columns {
        write!(page, "<th class=\"number\">{column}")?;
    }
    for (dialler, answerer, traffic) in &report.wires {
        let (from, to) = (&report.devices[*dialler], &report.devices[*answerer]);
        write!(page, "\n<tr><td>{} dials {}", escape(from), escape(to))?;
        let values = [
            size(traffic.forward_bytes),
            size(traffic.backward_bytes),
            traffic.connections.to_string(),
            traffic.refused.to_string(),
            traffic.resets.to_string(),
            size(traffic.swallowed_bytes),
        ];
        for value in values {
            write!(page, "<td class=\"number\">{value}")?;
        }
    }
    Ok(writeln!(page, "\n</table></section>")?)
}

fn usages(page: &mut String, report: &Report) -> Result<()> {
    writeln!(page, "<section><h2>What devices used</h2><p>Since each was last started.</p><table>")?;
    writeln!(page, "<tr><th>device<th class=\"number\">memory<th class=\"number\">most memory<th class=\"number\">processor time")?;
    for device in &report.usages {
        let usage = &device.usage;
        let (now, most) = (size(usage.rss_kib * 1024), size(usage.rss_peak_kib * 1024));
        let name = escape(&device.name);
        writeln!(page, "<tr><td>{name}<td class=\"number\">{now}<td class=\"number\">{most}<td class=\"number\">{:.1} s", usage.cpu_s)?;
    }
    Ok(writeln!(page, "</table></section>")?)
}

fn moments(page: &mut String, report: &Report) -> Result<()> {
    let phases = report.phases.iter().map(|phase| (phase.begun_s, format!("phase {}", phase.name)));
    let mut all: Vec<(f64, String)> = report.moments.iter().map(|moment| (moment.at_s, moment.what.clone())).chain(phases).collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    writeln!(page, "<section><h2>What happened</h2><table>")?;
    for (at_s, what) in all {
        writeln!(page, "<tr><td class=\"number\">{at_s:.1} s<td>{}", escape(&what))?;
    }
    Ok(writeln!(page, "</table></section>")?)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Text as text: whatever a device or a file says is never markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
