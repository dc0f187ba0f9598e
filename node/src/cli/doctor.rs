//! `nodespace doctor` and `rebuild`.

use std::io;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{DoctorReport, DoctorRequest, RebuildReport, Severity};

use super::exit::Exit;
use super::output::Output;
use super::progress::Bar;
use super::style::{Tone, grouped};

/// Arguments of `nodespace doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArguments {
    /// Repair what can be repaired without losing anything: what is derived is made anew.
    #[arg(long)]
    repair: bool,
}

/// Checks everything that is stored. Ends with 6 when something is wrong and stays so.
pub(crate) async fn run(arguments: &DoctorArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let request = Request::post(&["v1", "tasks", "doctor"]).json(&DoctorRequest { repair: arguments.repair })?;
    let mut bar = Bar::new();
    let result = client.task::<DoctorReport>(request, |progress| bar.show(&progress)).await;
    bar.finish();
    let answer = result?;
    out.answer(&answer, print)?;
    Ok(if answer.value.healthy { Exit::Done } else { Exit::Damaged })
}

fn print(out: &mut Output, report: &DoctorReport) -> io::Result<()> {
    for finding in &report.findings {
        let (tone, word) = match finding.severity {
            Severity::Note => (Tone::Dim, "note"),
            Severity::Warning => (Tone::Yellow, "warning"),
            Severity::Error => (Tone::Red, "error"),
        };
        let word = out.style.paint(tone, word).into_owned();
        let repaired = if finding.repaired { " (repaired)" } else { "" };
        out.line(format_args!("{word}: {}: {}{repaired}", finding.area, finding.message))?;
        if !finding.advice.is_empty() && !finding.repaired {
            out.line(format_args!("  {}", finding.advice))?;
        }
    }
    let counts = [(report.operations, "operations"), (report.nodes, "nodes"), (report.rows, "rows")];
    let counts = counts.map(|(count, what)| format!("{} {what}", grouped(count))).join(", ");
    let verdict = if report.healthy { (Tone::Green, "healthy") } else { (Tone::Red, "not healthy") };
    let verdict = out.style.paint(verdict.0, verdict.1).into_owned();
    out.line(format_args!("{verdict}: {counts} checked"))
}

/// Arguments of `nodespace rebuild`.
#[derive(Debug, clap::Args)]
pub(crate) struct RebuildArguments {}

/// Makes the LanceDB table anew.
pub(crate) async fn rebuild(RebuildArguments {}: &RebuildArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let mut bar = Bar::new();
    let result = client.task::<RebuildReport>(Request::post(&["v1", "tasks", "rebuild"]), |progress| bar.show(&progress)).await;
    bar.finish();
    out.answer(&result?, |out, report| out.line(format_args!("{} rows written", grouped(report.rows))))?;
    Ok(Exit::Done)
}
