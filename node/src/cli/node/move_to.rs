//! `nodespace node move`.

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{MoveNode, Node, WriteReply};

use super::super::exit::Exit;
use super::super::ids;
use super::super::output::Output;
use super::super::place::PlaceArguments;
use super::expected::Expected;

/// Arguments of `nodespace node move`.
#[derive(Debug, clap::Args)]
pub(crate) struct MoveArguments {
    /// Its id, or the beginning of it.
    id: String,
    /// The new parent; by default the parent of the sibling after which it is put, else the one it has.
    #[arg(long, value_name = "ID", conflicts_with = "top")]
    parent: Option<String>,
    /// To the top level.
    #[arg(long)]
    top: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    expected: Expected,
}

/// Moves the node.
pub(crate) async fn run(arguments: &MoveArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let parent_id = match &arguments.parent {
        Some(given) => Some(ids::node(client, given).await?),
        None if arguments.top => None,
        None => {
            let beside = ids::node(client, arguments.place.after.as_ref().unwrap_or(&id)).await?;
            client.ask::<Node>(Request::get(&["v1", "nodes", &beside])).await?.value.parent_id
        }
    };
    let place = arguments.place.request(client).await?;
    let (expected_heads, expected_version) = (arguments.expected.heads(), arguments.expected.expected_version);
    let request = MoveNode { parent_id, place, expected_heads, expected_version };
    let answer = client.ask::<WriteReply>(Request::post(&["v1", "nodes", &id, "move"]).json(&request)?).await?;
    out.answer(&answer, |out, reply| super::print_write(out, "moved", reply))?;
    Ok(Exit::Done)
}
