//! `nodespace join`: into somebody else's workspace by a ticket, or into one's own from another device.

use std::io;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{JoinReport, JoinRequest};
use nodespace_node::service::check_ticket;

use super::context::Context;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::progress::Bar;
use super::source;
use super::style::{Tone, grouped, preview};
use super::table::{Cell, Table};

/// Arguments of `nodespace join`.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArguments {
    /// The ticket, as `nodespace invite` or `nodespace device add` showed it; - reads standard input.
    ticket: String,
}

/// Sees to a home before anything is opened, once the ticket is seen to be one.
pub(crate) fn prepare(arguments: &mut JoinArguments, context: &mut Context) -> anyhow::Result<()> {
    arguments.ticket = source::given(&arguments.ticket)?;
    check_ticket(&arguments.ticket)?;
    super::init::ensure_home(context)
}

/// Joins.
pub(crate) async fn run(arguments: &JoinArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let client = client.clone().of_workspace(None);
    let request = Request::post(&["v1", "join"]).json(&JoinRequest { ticket: arguments.ticket.clone() })?;
    let mut bar = Bar::new();
    let result = client.task::<JoinReport>(request, |progress| bar.show(&progress)).await;
    bar.finish();
    let answer = result?;
    out.answer(&answer, print)?;
    match answer.value.failed.len() {
        0 => Ok(Exit::Done),
        count => Err(Failure::with(Exit::Failed, format!("{count} of the ticket's workspaces were not joined"))),
    }
}

fn print(out: &mut Output, report: &JoinReport) -> io::Result<()> {
    for joined in &report.joined {
        let mut table = Table::plain();
        table.pair("joined", Cell::toned(Tone::Bold, preview(&joined.name, 60)));
        table.pair("workspace", joined.workspace.as_str());
        table.pair("you are", joined.role.as_str());
        table.pair("operations", grouped(joined.ops));
        let confirmed = if joined.confirmed {
            Cell::toned(Tone::Green, "synced: a member has confirmed it")
        } else {
            Cell::toned(Tone::Yellow, "not confirmed yet: keep `nodespace run` running, it goes on by itself")
        };
        table.pair("sync", confirmed);
        out.table(&table)?;
    }
    for failure in &report.failed {
        out.line(format_args!("not joined: {}: {}", failure.workspace, failure.error.message))?;
    }
    Ok(())
}
