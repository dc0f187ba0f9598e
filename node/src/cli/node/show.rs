//! `nodespace node get`, `history` and `show-at`.

use std::io;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{HistoryStep, Node};
use serde::Deserialize;

use super::super::exit::Exit;
use super::super::ids;
use super::super::output::Output;
use super::super::style::Tone;
use super::super::table::{Cell, Table};

/// Arguments of `nodespace node get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArguments {
    /// Its id, or the beginning of it.
    id: String,
    /// Print its text and nothing else.
    #[arg(long, conflicts_with = "json")]
    content: bool,
}

/// Shows a node.
pub(crate) async fn get(arguments: &GetArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let answer = client.ask::<Node>(Request::get(&["v1", "nodes", &id])).await?;
    out.answer(&answer, |out, node| print(out, node, arguments.content))?;
    Ok(Exit::Done)
}

fn print(out: &mut Output, node: &Node, content_only: bool) -> io::Result<()> {
    if !content_only {
        return super::print_node(out, node);
    }
    let content = out.style.text(&node.content).into_owned();
    out.line(content)
}

/// Arguments of `nodespace node history`.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArguments {
    /// Its id, or the beginning of it.
    id: String,
}

/// What `GET /v1/nodes/{id}/history` answers.
#[derive(Debug, Deserialize)]
struct History {
    steps: Vec<HistoryStep>,
}

/// Shows what was done to a node.
pub(crate) async fn history(arguments: &HistoryArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let answer = client.ask::<History>(Request::get(&["v1", "nodes", &id, "history"])).await?;
    out.answer(&answer, |out, history| print_history(out, &history.steps))?;
    Ok(Exit::Done)
}

fn print_history(out: &mut Output, steps: &[HistoryStep]) -> io::Result<()> {
    let ops = out.style.ids(steps.iter().map(|step| step.op.as_str()));
    let writers = out.style.ids(steps.iter().flat_map(|step| [Some(step.device.as_str()), step.user.as_deref()]).flatten());
    let mut table = Table::new(["version", "at", "what", "operation", "device", "user", ""]);
    for step in steps {
        let tone = if step.effective { Tone::Plain } else { Tone::Dim };
        let cell = |text: &str| Cell::toned(tone, text);
        table.row([
            cell(&step.version.to_string()),
            cell(&step.at),
            cell(&step.kind),
            cell(ops.short(&step.op)),
            cell(writers.short(&step.device)),
            cell(step.user.as_deref().map_or("", |user| writers.short(user))),
            cell(if step.effective { "" } else { "no effect" }),
        ]);
    }
    out.table(&table)
}

/// Arguments of `nodespace node show-at`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowAtArguments {
    /// Its id, or the beginning of it.
    id: String,
    #[command(flatten)]
    moment: MomentArguments,
}

/// Which moment: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct MomentArguments {
    /// As it was at this time, such as 2025-08-30T12:00:00Z.
    #[arg(long)]
    time: Option<String>,
    /// As this operation left it: its hash, as the history shows it, or the beginning of it.
    #[arg(long)]
    op: Option<String>,
}

/// Shows a node as it was.
pub(crate) async fn show_at(arguments: &ShowAtArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let MomentArguments { time, op } = &arguments.moment;
    let request = Request::get(&["v1", "nodes", &id, "at"]).maybe("time", time.as_ref()).maybe("op", op.as_ref());
    let answer = client.ask::<Node>(request).await?;
    out.answer(&answer, super::print_node)?;
    Ok(Exit::Done)
}
