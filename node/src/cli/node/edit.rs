//! `nodespace node edit`.

use std::path::PathBuf;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{Node, UpdateNode, WriteReply};
use serde_json::{Map, Value};

use super::super::exit::{Exit, Failure};
use super::super::output::Output;
use super::super::source::Draft;
use super::super::value::Member;
use super::super::{ids, source, value};
use super::expected::Expected;

/// Arguments of `nodespace node edit`.
#[derive(Debug, clap::Args)]
pub(crate) struct EditArguments {
    /// Its id, or the beginning of it.
    id: String,
    /// The new text; - reads standard input. What is written is the difference.
    #[arg(long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    content: Option<String>,
    /// Read the new text from a file; - reads standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The new type.
    #[arg(long = "type", value_name = "TYPE")]
    node_type: Option<String>,
    /// Set a metadata member: the value is JSON, or else a text.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = value::member)]
    set: Vec<Member>,
    /// Take a metadata member away.
    #[arg(long = "unset", value_name = "KEY", value_parser = value::key)]
    unset: Vec<Member>,
    /// Change the metadata by a JSON merge patch (RFC 7396).
    #[arg(long, value_name = "JSON", value_parser = value::object)]
    metadata: Option<Map<String, Value>>,
    /// Add a mention.
    #[arg(long = "mention", value_name = "ID")]
    add_mentions: Vec<String>,
    /// Take a mention away.
    #[arg(long = "unmention", value_name = "ID")]
    remove_mentions: Vec<String>,
    #[command(flatten)]
    expected: Expected,
}

/// Changes the node.
pub(crate) async fn run(arguments: &EditArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let update = update(arguments)?;
    let nothing =
        UpdateNode { expected_heads: update.expected_heads.clone(), expected_version: update.expected_version, ..UpdateNode::default() };
    if update == nothing {
        return in_editor(arguments, &id, client, out).await;
    }
    send(client, &id, &update, out).await?;
    Ok(Exit::Done)
}

fn update(arguments: &EditArguments) -> anyhow::Result<UpdateNode> {
    let content = match (&arguments.content, &arguments.file) {
        (Some(text), _) => Some(source::given(text)?),
        (None, Some(path)) => Some(source::file(path)?),
        (None, None) => None,
    };
    let members = arguments.set.iter().chain(&arguments.unset).cloned();
    let metadata = value::merged(arguments.metadata.clone(), members);
    Ok(UpdateNode {
        content,
        edits: None,
        node_type: arguments.node_type.clone(),
        metadata: (!metadata.is_empty()).then_some(metadata),
        add_mentions: arguments.add_mentions.clone(),
        remove_mentions: arguments.remove_mentions.clone(),
        expected_heads: arguments.expected.heads(),
        expected_version: arguments.expected.expected_version,
    })
}

async fn send(client: &Client, id: &str, update: &UpdateNode, out: &mut Output) -> anyhow::Result<()> {
    let request = Request::new(axum::http::Method::PATCH, &["v1", "nodes", id]).json(update)?;
    let answer = client.ask::<WriteReply>(request).await?;
    Ok(out.answer(&answer, |out, reply| super::print_write(out, "changed", reply))?)
}

/// Lets the person edit the text. It is written over what was read: what came meanwhile is never overwritten unseen.
async fn in_editor(arguments: &EditArguments, id: &str, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if !source::can_edit() {
        return Err(Failure::usage("nothing to change: give --content, --file, --type, --set, --unset or --mention"));
    }
    let node = client.ask::<Node>(Request::get(&["v1", "nodes", id])).await?.value;
    let (draft, content) = Draft::edit(&node.content)?;
    let update = UpdateNode {
        content: Some(content),
        expected_heads: Some(arguments.expected.heads().unwrap_or(node.heads)),
        expected_version: arguments.expected.expected_version,
        ..UpdateNode::default()
    };
    let sent = send(client, id, &update, out).await;
    match sent {
        Ok(()) => draft.remove(),
        Err(error) => return Err(error.context(format!("not saved; your text is in {}", draft.path().display()))),
    }
    Ok(Exit::Done)
}
