//! `nodespace embed`.

use std::path::PathBuf;

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{PutEmbedding, WriteReply};

use super::exit::Exit;
use super::output::Output;
use super::{ids, value};

/// Arguments of `nodespace embed`.
#[derive(Debug, clap::Args)]
pub(crate) struct EmbedArguments {
    /// The node: its id, or the beginning of it.
    id: String,
    /// The model the vector is of.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// A file with the vector: a JSON list, or numbers separated by spaces or commas; - reads standard input.
    #[arg(long, value_name = "FILE")]
    vector_file: PathBuf,
}

/// Attaches the embedding.
pub(crate) async fn run(arguments: &EmbedArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let id = ids::node(client, &arguments.id).await?;
    let embedding = PutEmbedding { vector: value::vector(&arguments.vector_file)? };
    let request = Request::new(Method::PUT, &["v1", "nodes", &id, "embeddings", &arguments.model]).json(&embedding)?;
    let answer = client.ask::<WriteReply>(request).await?;
    out.answer(&answer, |out, reply| {
        let dimension = embedding.vector.len();
        out.line(format_args!("embedded {}, version {}: {dimension} numbers of {}", reply.node.id, reply.node.version, arguments.model))
    })?;
    Ok(Exit::Done)
}
