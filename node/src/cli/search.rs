//! `nodespace search`.

use std::io;
use std::path::PathBuf;

use nodespace_node::client::Request;
use nodespace_node::model::{SearchFilters, SearchMode, SearchReply, SearchRequest};

use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::Session;
use super::style::{PREVIEW_CHARACTERS_MAX, Tone, preview};
use super::table::{Cell, Table};
use super::value::{self, Member};
use super::{ids, source};

/// Arguments of `nodespace search`.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArguments {
    /// Words to search for; - reads standard input.
    text: Option<String>,
    /// Search near the vector in this file; - reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "near")]
    vector_file: Option<PathBuf>,
    /// Search near the embedding of this node.
    #[arg(long, value_name = "ID")]
    near: Option<String>,
    /// The model of the vector.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// How to rank; by what is given when nothing is said.
    #[arg(long)]
    mode: Option<Mode>,
    /// Only nodes of this type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only nodes with this metadata; the value is JSON, or else a text.
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = value::member)]
    meta: Vec<Member>,
    /// Only nodes that changed at or after this time, such as 2025-08-30T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only nodes that last changed before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only nodes made at or after this time.
    #[arg(long, value_name = "TIME")]
    created_since: Option<String>,
    /// Only nodes made before this time.
    #[arg(long, value_name = "TIME")]
    created_until: Option<String>,
    /// Only children of this node.
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Deleted nodes too.
    #[arg(long)]
    deleted: bool,
    /// How many hits at most.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// How to rank.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Mode {
    /// By the words.
    Text,
    /// By the distance to the vector.
    Vector,
    /// By both.
    Hybrid,
}

impl From<Mode> for SearchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Text => Self::Text,
            Mode::Vector => Self::Vector,
            Mode::Hybrid => Self::Hybrid,
        }
    }
}

/// Searches.
pub(crate) async fn run(arguments: &SearchArguments, session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    let request = request(arguments, session).await?;
    let answer = session.client.ask::<SearchReply>(Request::post(&["v1", "search"]).json(&request)?).await?;
    out.answer(&answer, print)?;
    Ok(Exit::Done)
}

async fn request(arguments: &SearchArguments, session: &Session) -> anyhow::Result<SearchRequest> {
    let text = arguments.text.as_deref().map(source::given).transpose()?;
    let vector = arguments.vector_file.as_deref().map(value::vector).transpose()?;
    let near = ids::maybe_node(&session.client, arguments.near.as_ref()).await?;
    if text.is_none() && vector.is_none() && near.is_none() {
        return Err(Failure::usage("nothing to search for: give words, --vector-file or --near"));
    }
    let has_vector = vector.is_some() || near.is_some();
    let defaults = &session.config.search;
    Ok(SearchRequest {
        text,
        vector,
        near,
        model: arguments.model.clone().or_else(|| defaults.model.clone().filter(|_| has_vector)),
        mode: arguments.mode.map(SearchMode::from),
        filters: SearchFilters {
            node_types: arguments.types.clone(),
            metadata: value::merged(None, arguments.meta.iter().cloned()),
            created_after: arguments.created_since.clone(),
            created_before: arguments.created_until.clone(),
            modified_after: arguments.since.clone(),
            modified_before: arguments.until.clone(),
            parent_id: ids::maybe_node(&session.client, arguments.parent.as_ref()).await?,
            include_deleted: arguments.deleted,
        },
        limit: arguments.limit.or_else(|| usize::try_from(defaults.limit).ok()),
    })
}

fn print(out: &mut Output, reply: &SearchReply) -> io::Result<()> {
    if reply.hits.is_empty() {
        return out.line("nothing found");
    }
    let ids = out.style.ids(reply.hits.iter().map(|hit| hit.id.as_str()));
    let mut table = Table::new(["score", "id", "type", "text"]);
    for hit in &reply.hits {
        table.row([
            format!("{:.3}", hit.score).into(),
            Cell::toned(Tone::Bold, ids.short(&hit.id)),
            hit.node_type.as_str().into(),
            preview(&hit.content, PREVIEW_CHARACTERS_MAX).into(),
        ]);
    }
    out.table(&table)
}
