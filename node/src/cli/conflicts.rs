//! `nodespace conflicts`: what stands side by side, and choosing.

mod diff;
mod show;

use std::io;
use std::path::PathBuf;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{ConflictDetail, ConflictPage, ResolveChoice, ResolveRequest, WriteReply};
use serde_json::Value;

use super::exit::Exit;
use super::output::Output;
use super::style::{Tone, grouped};
use super::table::{Cell, Table};
use super::{ids, source};

/// What to do with conflicts.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConflictsCommand {
    /// List conflicts.
    List(ListArguments),
    /// Show a conflict: both sides, what was before, and what holds meanwhile.
    Show(ShowArguments),
    /// Choose, and close a conflict.
    Resolve(ResolveArguments),
}

/// Arguments of `nodespace conflicts list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// Only conflicts that stand so.
    #[arg(long)]
    status: Option<Status>,
    /// Only conflicts of this node.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
}

/// How a conflict stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Status {
    /// It waits for somebody to choose.
    Open,
    /// The workspace's policy settled it.
    AutoResolved,
    /// Somebody chose.
    Resolved,
}

impl Status {
    /// In the API's words.
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::AutoResolved => "auto_resolved",
            Self::Resolved => "resolved",
        }
    }
}

/// Arguments of `nodespace conflicts show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArguments {
    /// The conflict's id, or the beginning of it.
    id: String,
}

/// Arguments of `nodespace conflicts resolve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResolveArguments {
    /// The conflict's id, or the beginning of it.
    id: String,
    #[command(flatten)]
    choice: ChoiceArguments,
}

/// What to choose: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ChoiceArguments {
    /// Keep what this operation made of the field: its hash, as `show` shows it, or the beginning of it.
    #[arg(long, value_name = "OPERATION")]
    keep: Option<String>,
    /// Set this text; - reads standard input.
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// Set the text of this file; - reads standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set this JSON value of the metadata; null takes it away.
    #[arg(long, value_name = "JSON", value_parser = json)]
    value: Option<Value>,
    /// Leave everything as it is.
    #[arg(long)]
    dismiss: bool,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}; a text needs its quotation marks"))
}

/// Does what was asked.
pub(crate) async fn run(command: &ConflictsCommand, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match command {
        ConflictsCommand::List(arguments) => list(arguments, client, out).await?,
        ConflictsCommand::Show(arguments) => {
            let found = ids::conflict(client, &arguments.id).await?;
            let answer = client.ask::<ConflictDetail>(Request::get(&["v1", "conflicts", &found.node_id, &found.id])).await?;
            out.answer(&answer, show::print)?;
        }
        ConflictsCommand::Resolve(arguments) => resolve(arguments, client, out).await?,
    }
    Ok(Exit::Done)
}

async fn list(arguments: &ListArguments, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let node = ids::maybe_node(client, arguments.node.as_ref()).await?;
    let request = Request::get(&["v1", "conflicts"]).maybe("status", arguments.status.map(Status::name)).maybe("node", node);
    let answer = client.ask::<ConflictPage>(request).await?;
    Ok(out.answer(&answer, print_page)?)
}

fn print_page(out: &mut Output, page: &ConflictPage) -> io::Result<()> {
    if page.conflicts.is_empty() {
        return out.line("no conflicts");
    }
    let ids = out.style.ids(page.conflicts.iter().map(|conflict| conflict.id.as_str()));
    let nodes = out.style.ids(page.conflicts.iter().map(|conflict| conflict.node_id.as_str()));
    let mut table = Table::new(["conflict", "node", "what", "field", "status"]);
    for conflict in &page.conflicts {
        let tone = if conflict.status == "open" { Tone::Yellow } else { Tone::Dim };
        table.row([
            Cell::toned(Tone::Bold, ids.short(&conflict.id)),
            nodes.short(&conflict.node_id).into(),
            conflict.kind.as_str().into(),
            conflict.field.as_str().into(),
            Cell::toned(tone, conflict.status.replace('_', " ")),
        ]);
    }
    out.table(&table)?;
    out.line(format_args!("{} open in all", grouped(page.open as u64)))
}

async fn resolve(arguments: &ResolveArguments, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let found = ids::conflict(client, &arguments.id).await?;
    let choice = arguments.choice.choice()?;
    let request = Request::post(&["v1", "conflicts", &found.node_id, &found.id, "resolve"]).json(&ResolveRequest { choice })?;
    let answer = client.ask::<WriteReply>(request).await?;
    Ok(out.answer(&answer, |out, reply| super::node::print_write(out, "resolved, changed", reply))?)
}

impl ChoiceArguments {
    /// In the API's words.
    fn choice(&self) -> anyhow::Result<ResolveChoice> {
        Ok(match (&self.keep, &self.text, &self.file, &self.value) {
            (Some(op), ..) => ResolveChoice::Keep(op.clone()),
            (_, Some(text), ..) => ResolveChoice::Text(source::given(text)?),
            (_, _, Some(path), _) => ResolveChoice::Text(source::file(path)?),
            (.., Some(value)) => ResolveChoice::Value(value.clone()),
            (None, None, None, None) => ResolveChoice::Dismiss,
        })
    }
}
