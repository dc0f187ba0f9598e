//! `nodespace node list` and `tree`.

use std::io;

use nodespace_node::client::{Client, Request};
use nodespace_node::model::{NodePage, TreeLine, TreePage};

use super::super::exit::Exit;
use super::super::ids;
use super::super::output::Output;
use super::super::style::{Ids, PREVIEW_CHARACTERS_MAX, Tone, grouped, preview};
use super::super::table::{Cell, Table};

/// How many nodes a page has when nothing is said.
const PAGE_NODES: usize = 100;

/// How many nodes a page has when all of them are asked for.
const ALL_PAGE_NODES: usize = 500;

/// Which page.
#[derive(Debug, clap::Args)]
struct PageArguments {
    /// How many nodes at most; 100 by default.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Only what comes after this node.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Everything, page after page; with --json each page is a line.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl PageArguments {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(if self.all { ALL_PAGE_NODES } else { PAGE_NODES })
    }
}

/// Arguments of `nodespace node list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// Only nodes of this type; may be given several times.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "children_of")]
    types: Vec<String>,
    /// The children of this node in their order; `top` means the top level.
    #[arg(long, value_name = "ID")]
    children_of: Option<String>,
    /// Deleted nodes too.
    #[arg(long, conflicts_with = "children_of")]
    deleted: bool,
    #[command(flatten)]
    page: PageArguments,
}

/// What stands for the top level where a node's id is expected.
const TOP: &str = "top";

/// Lists nodes.
pub(crate) async fn run(arguments: &ListArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let parent = match arguments.children_of.as_deref() {
        Some(TOP) | None => None,
        Some(given) => Some(ids::node(client, given).await?),
    };
    let mut after = ids::maybe_node(client, arguments.page.after.as_ref()).await?;
    loop {
        let request = request(arguments, parent.as_deref()).query("limit", arguments.page.limit()).maybe("after", after.as_ref());
        let answer = client.ask::<NodePage>(request).await?;
        let goes_on = arguments.page.all && answer.value.next.is_some();
        out.answer(&answer, |out, page| print_page(out, page, goes_on))?;
        if !goes_on {
            return Ok(Exit::Done);
        }
        after = answer.value.next;
    }
}

fn request(arguments: &ListArguments, parent: Option<&str>) -> Request {
    match (parent, &arguments.children_of) {
        (Some(parent), _) => Request::get(&["v1", "nodes", parent, "children"]),
        (None, Some(_)) => Request::get(&["v1", "children"]),
        (None, None) => {
            let request = Request::get(&["v1", "nodes"]).maybe("deleted", arguments.deleted.then_some(true));
            arguments.types.iter().fold(request, |request, node_type| request.query("type", node_type))
        }
    }
}

fn print_page(out: &mut Output, page: &NodePage, goes_on: bool) -> io::Result<()> {
    let ids = out.style.ids(page.nodes.iter().map(|node| node.id.as_str()));
    let mut table = Table::new(["id", "type", "text"]);
    for node in &page.nodes {
        let tone = if node.deleted { Tone::Dim } else { Tone::Plain };
        let text = format!("{}{}", if node.deleted { "(deleted) " } else { "" }, preview(&node.content, PREVIEW_CHARACTERS_MAX));
        table.row([Cell::toned(tone, ids.short(&node.id)), Cell::toned(tone, node.node_type.as_str()), Cell::toned(tone, text)]);
    }
    out.table(&table)?;
    match &page.next {
        Some(next) if !goes_on => {
            let total = page.total.map(|total| format!("of {} ", grouped(total as u64))).unwrap_or_default();
            out.line(format_args!("{} {total}shown; go on with --after {next}, or show --all", grouped(page.nodes.len() as u64)))
        }
        _ => Ok(()),
    }
}

/// Arguments of `nodespace node tree`.
#[derive(Debug, clap::Args)]
pub(crate) struct TreeArguments {
    /// The node to begin with: its id, or the beginning of it; the whole outline by default.
    id: Option<String>,
    /// How many levels below the first.
    #[arg(long, value_name = "LEVELS")]
    depth: Option<usize>,
    #[command(flatten)]
    page: PageArguments,
}

/// Shows the outline.
pub(crate) async fn tree(arguments: &TreeArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let root = ids::maybe_node(client, arguments.id.as_ref()).await?;
    let mut after = ids::maybe_node(client, arguments.page.after.as_ref()).await?;
    loop {
        let request = Request::get(&["v1", "tree"])
            .maybe("root", root.as_ref())
            .maybe("depth", arguments.depth)
            .query("limit", arguments.page.limit())
            .maybe("after", after.as_ref());
        let answer = client.ask::<TreePage>(request).await?;
        let goes_on = arguments.page.all && answer.value.next.is_some();
        out.answer(&answer, |out, page| print_tree(out, page, goes_on))?;
        if !goes_on {
            return Ok(Exit::Done);
        }
        after = answer.value.next;
    }
}

fn print_tree(out: &mut Output, page: &TreePage, goes_on: bool) -> io::Result<()> {
    let ids = out.style.ids(page.lines.iter().map(|line| line.node.id.as_str()));
    for line in &page.lines {
        let text = tree_line(out, &ids, line);
        out.line(text)?;
    }
    match &page.next {
        Some(next) if !goes_on => {
            out.line(format_args!("{} shown; go on with --after {next}, or show --all", grouped(page.lines.len() as u64)))
        }
        _ => Ok(()),
    }
}

fn tree_line(out: &Output, ids: &Ids, line: &TreeLine) -> String {
    let TreeLine { depth, children, placeholder, node } = line;
    let mark = if *children > 0 { "▸" } else { "•" };
    let text = if *placeholder { "(deleted)".to_owned() } else { preview(&node.content, PREVIEW_CHARACTERS_MAX) };
    let text = if text.is_empty() { "(empty)" } else { &text };
    let kind = if node.node_type == "text" { String::new() } else { format!(" [{}]", node.node_type) };
    let conflicts = if node.open_conflicts > 0 { " !" } else { "" };
    let text = if *placeholder { out.style.paint(Tone::Dim, text) } else { text.into() };
    let id = format!("  {}", ids.short(&node.id));
    let (kind, conflicts, id) =
        (out.style.paint(Tone::Dim, &kind), out.style.paint(Tone::Yellow, conflicts), out.style.paint(Tone::Dim, &id));
    format!("{:indent$}{mark} {text}{kind}{conflicts}{id}", "", indent = depth * 2)
}
