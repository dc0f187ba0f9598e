//! `nodespace status`.

use std::io;

use nodespace_node::client::{ClientError, Request};
use nodespace_node::model::{DeviceIdentity, WorkspaceList, WorkspaceStatus};

use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::Session;
use super::style::{Tone, bytes, grouped};
use super::table::{Cell, Table};

/// Arguments of `nodespace status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    /// Show it again whenever it changes, until Ctrl-C; needs a running daemon.
    #[arg(long)]
    watch: bool,
}

/// The kind of event that is a status.
const STATUS: &str = "status";

/// Moves to the upper left and clears what is below.
pub(super) const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows how the device is doing.
pub(crate) async fn run(arguments: &StatusArguments, session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    if arguments.watch {
        return watch(session, out).await;
    }
    if session.client.is_of_default_workspace() && has_no_workspace(session).await? {
        let answer = session.client.ask::<DeviceIdentity>(Request::get(&["v1", "device"])).await?;
        out.answer(&answer, |out, identity| print_empty(out, session, identity))?;
        return Ok(Exit::Done);
    }
    let answer = session.client.ask::<WorkspaceStatus>(Request::get(&["v1", "status"])).await?;
    out.answer(&answer, |out, status| print(out, session, status))?;
    Ok(Exit::Done)
}

async fn watch(session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    if !session.client.is_remote() {
        return Err(Failure::with(Exit::Unavailable, "no daemon runs, so nothing changes; start one with `nodespace run`"));
    }
    let mut events = session.client.events(Request::get(&["v1", "status", "stream"])).await?;
    while let Some(event) = events.next_of(STATUS, drop).await? {
        if out.json {
            out.raw(event.data.as_bytes())?;
        } else {
            let status: WorkspaceStatus =
                serde_json::from_str(&event.data).map_err(|error| ClientError::NotUnderstood(error.to_string()))?;
            if out.style.is_terminal {
                out.line(CLEAR)?;
            }
            print(out, session, &status)?;
        }
        out.flush()?;
    }
    Err(ClientError::Cut("the daemon stopped".into()).into())
}

/// Whether this is a device that has not begun: that is no failure.
async fn has_no_workspace(session: &Session) -> Result<bool, ClientError> {
    let list = session.client.ask::<WorkspaceList>(Request::get(&["v1", "workspaces"])).await?;
    Ok(list.value.workspaces.is_empty())
}

fn print_empty(out: &mut Output, session: &Session, identity: &DeviceIdentity) -> io::Result<()> {
    let mut table = Table::plain();
    table.pair("home", session.home.display().to_string());
    table.pair("daemon", daemon(session));
    table.pair("device", identity.device.as_str());
    table.pair("user", identity.user.as_str());
    table.pair("workspace", Cell::toned(Tone::Yellow, "none yet"));
    out.table(&table)?;
    out.line("\nNext: `nodespace join TICKET`, or `nodespace workspace new NAME`.")
}

fn print(out: &mut Output, session: &Session, status: &WorkspaceStatus) -> io::Result<()> {
    let mut table = Table::plain();
    table.pair("program", format!("nodespace {}", status.program));
    table.pair("home", session.home.display().to_string());
    table.pair("daemon", daemon(session));
    table.pair("workspace", format!("{} ({})", super::style::preview(&status.name, 60), status.workspace));
    table.pair("device", format!("{}, epoch {}", status.device, status.epoch));
    table.pair("user", user(status));
    table.pair("nodes", grouped(status.store.nodes));
    table.pair("operations", operations(status));
    let journal =
        format!("{}, {} since the last checkpoint", bytes(status.store.journal_bytes), bytes(status.store.bytes_since_checkpoint));
    table.pair("journal", journal);
    table.pair("table", projection(session, status));
    table.pair("", status.projection.folder.as_str());
    if let Some(problem) = &status.projection.problem {
        table.pair("", Cell::toned(Tone::Red, problem.as_str()));
    }
    let conflicts = if status.open_conflicts > 0 { Tone::Yellow } else { Tone::Green };
    table.pair("conflicts", Cell::toned(conflicts, format!("{} open", status.open_conflicts)));
    table.pair("sync", status.sync.as_str());
    table.pair("digest", Cell::toned(Tone::Dim, status.state_digest.as_str()));
    out.table(&table)
}

fn daemon(session: &Session) -> Cell {
    match session.daemon {
        Some((pid, address)) => Cell::toned(Tone::Green, format!("runs as process {pid} at http://{address}")),
        None => "does not run".into(),
    }
}

fn user(status: &WorkspaceStatus) -> String {
    let role = status.role.as_deref().unwrap_or("no member");
    format!("{}, {role}", status.user.as_deref().unwrap_or("unknown"))
}

fn operations(status: &WorkspaceStatus) -> String {
    let mut text =
        format!("{} in {} {}", grouped(status.store.ops), status.store.logs, if status.store.logs == 1 { "log" } else { "logs" });
    for (count, what) in [(status.store.waiting, "waiting for others"), (status.store.held, "held for their time")] {
        if count > 0 {
            text = format!("{text}, {} {what}", grouped(count));
        }
    }
    text
}

fn projection(session: &Session, status: &WorkspaceStatus) -> Cell {
    let projection = &status.projection;
    // This command has just opened the store, and leaves the table to those that need it.
    if session.daemon.is_none() && projection.state == "starting" {
        return Cell::toned(Tone::Dim, "not looked at: no daemon keeps it open");
    }
    let tone = match projection.state.as_str() {
        "current" => Tone::Green,
        "failed" => Tone::Red,
        _ => Tone::Yellow,
    };
    let behind = if projection.behind > 0 { format!(", {} behind", grouped(projection.behind)) } else { String::new() };
    Cell::toned(tone, format!("{}, {} rows{behind}", projection.state.replace('_', " "), grouped(projection.rows)))
}
