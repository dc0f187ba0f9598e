//! `nodespace node delete` and `restore`.

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::WriteReply;

use super::super::exit::Exit;
use super::super::ids;
use super::super::output::Output;
use super::expected::Expected;

/// Arguments of `nodespace node delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArguments {
    /// Its id, or the beginning of it.
    id: String,
    /// For good: it cannot be restored.
    #[arg(long)]
    hard: bool,
    #[command(flatten)]
    expected: Expected,
}

/// Deletes the node.
pub(crate) async fn delete(arguments: &DeleteArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let request = Request::new(Method::DELETE, &["v1", "nodes", &id])
        .maybe("hard", arguments.hard.then_some(true))
        .maybe("expected_version", arguments.expected.expected_version);
    let request = arguments.expected.expected_heads.iter().fold(request, |request, head| request.query("expected_heads", head));
    let answer = client.ask::<WriteReply>(request).await?;
    out.answer(&answer, |out, reply| super::print_write(out, "deleted", reply))?;
    Ok(Exit::Done)
}

/// Arguments of `nodespace node restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// Its id, or the beginning of it.
    id: String,
}

/// Brings the node back.
pub(crate) async fn restore(arguments: &RestoreArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let answer = client.ask::<WriteReply>(Request::post(&["v1", "nodes", &id, "restore"])).await?;
    out.answer(&answer, |out, reply| super::print_write(out, "restored", reply))?;
    Ok(Exit::Done)
}
