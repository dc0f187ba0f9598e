//! `nodespace sync`: how this device agrees with others, and seeing to it now.

use std::io;

use nodespace_node::client::{ClientError, Request};
use nodespace_node::sync::status::{Missing, TargetState, TargetStatus};
use nodespace_node::sync::{DeviceStatus, Target};
use nodespace_protocol::clock::Timestamp;

use super::duration::{self, Seconds};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::Session;
use super::status::CLEAR;
use super::style::{Tone, grouped};
use super::table::{Cell, Table};

/// What to do about sync.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SyncCommand {
    /// Show how sync stands: with whom, what is missing where, and when it last went well.
    Status(StatusArguments),
    /// Sync now, and show how it stands after that.
    Now(NowArguments),
}

/// Arguments of `nodespace sync status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    /// Show it again whenever it changes, until Ctrl-C; needs a running daemon.
    #[arg(long)]
    watch: bool,
}

/// Arguments of `nodespace sync now`.
#[derive(Debug, clap::Args)]
pub(crate) struct NowArguments {
    /// Only with this device (its id, or at least eight digits of it), or `relay`.
    #[arg(long, value_name = "DEVICE")]
    with: Option<String>,
    /// How long to wait for it, at most 60s; it goes on in a daemon.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration::seconds)]
    wait: Seconds,
}

/// The kind of event that is a status.
const SYNC: &str = "sync";

/// Does what was asked.
pub(crate) async fn run(command: &SyncCommand, session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    match command {
        SyncCommand::Status(arguments) if arguments.watch => watch(session, out).await,
        SyncCommand::Status(_) => {
            let answer = session.client.ask::<DeviceStatus>(Request::get(&["v1", "sync"])).await?;
            out.answer(&answer, print)?;
            Ok(Exit::Done)
        }
        SyncCommand::Now(arguments) => now(arguments, session, out).await,
    }
}

/// Ends as failed unless everybody who can be reached has confirmed: scripts wait for that.
async fn now(arguments: &NowArguments, session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    let wait_ms = arguments.wait.0.saturating_mul(1_000);
    let request = Request::post(&["v1", "sync"]).maybe("target", arguments.with.as_ref()).query("wait_ms", wait_ms);
    let answer = session.client.ask::<DeviceStatus>(request).await?;
    out.answer(&answer, print)?;
    Ok(if answer.value.is_synced() { Exit::Done } else { Exit::Unavailable })
}

async fn watch(session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    if !session.client.is_remote() {
        return Err(Failure::with(Exit::Unavailable, "no daemon runs, so nothing changes; start one with `nodespace run`"));
    }
    let mut events = session.client.events(Request::get(&["v1", "sync", "stream"])).await?;
    while let Some(event) = events.next_of(SYNC, drop).await? {
        if out.json {
            out.raw(event.data.as_bytes())?;
        } else {
            let status: DeviceStatus = serde_json::from_str(&event.data).map_err(|error| ClientError::NotUnderstood(error.to_string()))?;
            if out.style.is_terminal {
                out.line(CLEAR)?;
            }
            print(out, &status)?;
        }
        out.flush()?;
    }
    Err(ClientError::Cut("the daemon stopped".into()).into())
}

fn print(out: &mut Output, status: &DeviceStatus) -> io::Result<()> {
    let tone = if status.is_synced() { Tone::Green } else { Tone::Yellow };
    let summary = out.style.paint(tone, &status.summary.to_string()).into_owned();
    out.line(format_args!("{summary}; {} operations here", grouped(status.operations)))?;
    if !status.targets.is_empty() {
        out.line("")?;
        let mut table = Table::new(["with", "state", "missing there", "missing here", "under way", "last success"]);
        status.targets.iter().for_each(|target| table.row(row(target)));
        out.table(&table)?;
    }
    for target in &status.targets {
        if let Some(failure) = &target.failure {
            out.line(format_args!("{}: {}", target.target, failure.message))?;
        }
    }
    for case in &status.help_wanted {
        let message = out.style.paint(Tone::Red, &case.note.message).into_owned();
        out.line(format_args!("! {message}"))?;
    }
    Ok(())
}

fn row(target: &TargetStatus) -> [Cell; 6] {
    let name = match target.target {
        Target::Peer { device } => device.to_string().get(..12).unwrap_or_default().to_owned(),
        Target::Relay => "relay".to_owned(),
    };
    let tone = match target.state {
        TargetState::Synced => Tone::Green,
        TargetState::Failing => Tone::Red,
        TargetState::Away => Tone::Dim,
        TargetState::Behind | TargetState::Comparing | TargetState::Transferring => Tone::Yellow,
    };
    let last = target.last_success_ms.map_or_else(|| "never since the start".to_owned(), time);
    let state = Cell::toned(tone, target.state.name());
    [Cell::toned(Tone::Bold, name), state, missing(target.missing_there), missing(target.missing_here), under_way(target), last.into()]
}

fn missing(missing: Missing) -> Cell {
    match missing {
        Missing::None => Cell::toned(Tone::Green, "nothing"),
        Missing::Exactly(count) => grouped(count).into(),
        Missing::AtMost(count) => format!("at most {}", grouped(count)).into(),
        Missing::Unknown => Cell::toned(Tone::Dim, "unknown"),
    }
}

fn under_way(target: &TargetStatus) -> Cell {
    if target.state != TargetState::Transferring {
        return Cell::default();
    }
    let part = |name: &str, done: u64, total: u64| (total > 0).then(|| format!("{name} {} of {}", grouped(done), grouped(total)));
    let (sent, received) = (target.sent, target.received);
    let parts = [part("sent", sent.done, sent.total), part("received", received.done, received.total)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}, {} a second", parts.join(", "), grouped(target.rate)).into()
}

fn time(unix_ms: u64) -> String {
    nodespace_node::model::time::to_text(Timestamp::from_ms(unix_ms))
}
