//! `nodespace node`: one node at a time, and lists of them.

mod create;
mod edit;
mod expected;
mod list;
mod move_to;
mod remove;
mod show;

use std::io;

use nodespace_node::client::Client;
use nodespace_node::model::{Node, WriteReply};
use serde_json::Value;

use super::exit::Exit;
use super::output::Output;
use super::style::Tone;
use super::table::{Cell, Table};

/// What to do with nodes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum NodeCommand {
    /// Make a node.
    Create(create::CreateArguments),
    /// Show a node.
    Get(show::GetArguments),
    /// List nodes by id, or the children of one in their order.
    List(list::ListArguments),
    /// Show the outline, whole or below a node.
    Tree(list::TreeArguments),
    /// Change a node's text, type, metadata or mentions; without options, in your editor.
    Edit(edit::EditArguments),
    /// Put a node somewhere else.
    Move(move_to::MoveArguments),
    /// Delete a node; it can be restored.
    Delete(remove::DeleteArguments),
    /// Bring a deleted node back.
    Restore(remove::RestoreArguments),
    /// Show what was done to a node.
    History(show::HistoryArguments),
    /// Show a node as it was at a time or after an operation.
    ShowAt(show::ShowAtArguments),
}

/// Does what was asked.
pub(crate) async fn run(command: &NodeCommand, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match command {
        NodeCommand::Create(arguments) => create::run(arguments, client, out).await,
        NodeCommand::Get(arguments) => show::get(arguments, client, out).await,
        NodeCommand::List(arguments) => list::run(arguments, client, out).await,
        NodeCommand::Tree(arguments) => list::tree(arguments, client, out).await,
        NodeCommand::Edit(arguments) => edit::run(arguments, client, out).await,
        NodeCommand::Move(arguments) => move_to::run(arguments, client, out).await,
        NodeCommand::Delete(arguments) => remove::delete(arguments, client, out).await,
        NodeCommand::Restore(arguments) => remove::restore(arguments, client, out).await,
        NodeCommand::History(arguments) => show::history(arguments, client, out).await,
        NodeCommand::ShowAt(arguments) => show::show_at(arguments, client, out).await,
    }
}

/// Says what a write did. The id is whole, so that it can be used in the next command.
pub(crate) fn print_write(out: &mut Output, done: &str, reply: &WriteReply) -> io::Result<()> {
    let WriteReply { node, op, .. } = reply;
    if op.is_none() {
        return out.line(format_args!("{} is so already, version {}", node.id, node.version));
    }
    out.line(format_args!("{done} {}, version {}", node.id, node.version))
}

/// Shows a node: what is known of it, then its text.
pub(super) fn print_node(out: &mut Output, node: &Node) -> io::Result<()> {
    let mut table = Table::plain();
    table.pair("id", Cell::toned(Tone::Bold, node.id.as_str()));
    table.pair("type", node.node_type.as_str());
    table.pair("parent", node.parent_id.as_deref().unwrap_or("none, top level"));
    if let Some(before) = &node.before_sibling_id {
        table.pair("after", before.as_str());
    }
    table.pair("created", node.created_at.as_str());
    table.pair("modified", node.modified_at.as_str());
    table.pair("version", node.version.to_string());
    if node.deleted {
        table.pair("deleted", Cell::toned(Tone::Red, "yes"));
    }
    if node.open_conflicts > 0 {
        table.pair("conflicts", Cell::toned(Tone::Yellow, format!("{} open", node.open_conflicts)));
    }
    if !node.mentions.is_empty() {
        table.pair("mentions", node.mentions.join(", "));
    }
    if !node.stale_embeddings.is_empty() {
        table.pair("stale", format!("embeddings of {}", node.stale_embeddings.join(", ")));
    }
    for (key, value) in members(&node.metadata) {
        table.pair(&key, value);
    }
    out.table(&table)?;
    let content = out.style.text(&node.content).into_owned();
    if content.is_empty() { Ok(()) } else { out.line(format_args!("\n{content}")) }
}

/// Metadata members as `metadata/key` and a value of one line.
fn members(metadata: &Value) -> Vec<(String, String)> {
    let object = metadata.as_object().into_iter().flatten();
    object
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (format!("metadata/{}", super::style::preview(key, 60)), super::style::preview(&text, 200))
        })
        .collect()
}
