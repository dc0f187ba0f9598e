//! `nodespace node create`.

use std::path::PathBuf;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{CreateNode, WriteReply};
use serde_json::{Map, Value};

use super::super::exit::Exit;
use super::super::output::Output;
use super::super::place::PlaceArguments;
use super::super::value::Member;
use super::super::{ids, source, value};

/// Arguments of `nodespace node create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArguments {
    /// Its text; - reads standard input.
    #[arg(conflicts_with = "file")]
    content: Option<String>,
    /// Read the text from a file; - reads standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Its id; a new random one by default.
    #[arg(long)]
    id: Option<String>,
    /// Its type: text, date, task or any other word; text by default.
    #[arg(long = "type", value_name = "TYPE")]
    node_type: Option<String>,
    /// The node it stands below; top level by default.
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    #[command(flatten)]
    place: PlaceArguments,
    /// Set a metadata member: the value is JSON, or else a text.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = value::member)]
    set: Vec<Member>,
    /// The metadata as a JSON object.
    #[arg(long, value_name = "JSON", value_parser = value::object)]
    metadata: Option<Map<String, Value>>,
    /// A node it mentions.
    #[arg(long = "mention", value_name = "ID")]
    mentions: Vec<String>,
}

/// Makes the node.
pub(crate) async fn run(arguments: &CreateArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let content = match (&arguments.content, &arguments.file) {
        (Some(text), _) => source::given(text)?,
        (None, Some(path)) => source::file(path)?,
        (None, None) => String::new(),
    };
    let create = CreateNode {
        id: arguments.id.clone(),
        node_type: arguments.node_type.clone(),
        content,
        metadata: value::merged(arguments.metadata.clone(), arguments.set.iter().cloned()),
        mentions: arguments.mentions.clone(),
        parent_id: ids::maybe_node(client, arguments.parent.as_ref()).await?,
        place: arguments.place.request(client).await?,
    };
    let answer = client.ask::<WriteReply>(Request::post(&["v1", "nodes"]).json(&create)?).await?;
    out.answer(&answer, |out, reply| super::print_write(out, "created", reply))?;
    Ok(Exit::Done)
}
