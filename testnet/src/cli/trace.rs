//! `nodespace-testnet trace FILE`: replays an editing trace and gives the verdict.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use nodespace_protocol::text::trace::{History, Trace};

use crate::replay::{self, Outcome, TraceFile};

/// Replays an editing trace, or a list of small histories, and says whether the text comes out right, with time, memory and bytes.
#[derive(Debug, clap::Args)]
pub struct TraceArguments {
    /// The file: JSON, gzipped or not, of either format of the editing-traces collection.
    pub file: PathBuf,
    /// Also type it through signed operations, one replica for each agent. On by default for up to 8 agents and 10,000 transactions.
    #[arg(long)]
    pub operations: bool,
}

/// Up to here a trace is typed through operations without being asked to.
const AGENTS_MAX: usize = 8;
const TRANSACTIONS_MAX: usize = 50_000;
/// Patches of a burst: what an application commits at once.
const PATCHES_MAX: usize = 20;

/// Replays the file.
///
/// # Errors
/// When the file cannot be read, or a text comes out wrong.
pub fn run(arguments: &TraceArguments, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{:34} {:>12} {:>8} {:>10} {:>12} {:>12}", "", "transactions", "verdict", "time", "memory", "bytes")?;
    let right = match replay::read(&arguments.file)? {
        TraceFile::Trace(trace) => replay_trace(out, &trace, arguments.operations)?,
        TraceFile::Histories(histories) => replay_histories(out, &histories)?,
    };
    ensure!(right, "a text did not come out as it must");
    Ok(())
}

fn replay_trace(out: &mut dyn Write, trace: &Trace, asked: bool) -> Result<bool> {
    let given = replay::through_engine(trace)?;
    row(out, "text engine, as given", &given)?;
    let single = replay::through_engine(&trace.single_edits())?;
    row(out, "text engine, an event an edit", &single)?;
    let mut agents: Vec<u32> = trace.transactions.iter().map(|transaction| transaction.agent).collect();
    agents.sort_unstable();
    agents.dedup();
    let (agents, transactions) = (agents.len(), trace.transactions.len());
    if !asked && (agents > AGENTS_MAX || transactions > TRANSACTIONS_MAX) {
        writeln!(out, "(through signed operations: ask with --operations; {agents} agents, {transactions} transactions)")?;
        return Ok(given.right && single.right);
    }
    let typed = replay::through_operations(&trace.bursts(PATCHES_MAX), &mut |_, _| {})?;
    row(out, &format!("signed operations, {agents} replicas"), &typed)?;
    Ok(given.right && single.right && typed.right)
}

fn replay_histories(out: &mut dyn Write, histories: &[History]) -> Result<bool> {
    let mut all = true;
    for (name, one_by_one) in [("in batch", false), ("event by event", true)] {
        let (right, outcome) = replay::histories_through_engine(histories, one_by_one)?;
        row(out, &format!("{} histories {name}", histories.len()), &outcome)?;
        writeln!(out, "{right} of {} right", histories.len())?;
        all &= outcome.right;
    }
    Ok(all)
}

fn row(out: &mut dyn Write, name: &str, outcome: &Outcome) -> Result<()> {
    let verdict = if outcome.right { "right" } else { "WRONG" };
    let memory = if outcome.memory_bytes > 0 { format!("{} KiB", outcome.memory_bytes / 1024) } else { "-".to_owned() };
    writeln!(
        out,
        "{name:34} {:>12} {verdict:>8} {:>7.1} ms {memory:>12} {:>12}",
        outcome.transactions,
        outcome.time.as_secs_f64() * 1000.0,
        outcome.bytes
    )?;
    Ok(())
}
