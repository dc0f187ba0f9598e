//! `nodespace export`: everything, or the part below a node, as Markdown files or JSON Lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nodespace_node::client::{Client, ClientError, Lines, Request};
use nodespace_node::export::{MarkdownExport, MarkdownFile};
use nodespace_node::model::{Node, TaskLine};

use super::exit::{Exit, Failure};
use super::ids;
use super::output::Output;
use super::style::grouped;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A file for each document, in the folders they came from.
    Markdown,
    /// A node a line, with everything it has.
    Jsonl,
}

/// Arguments of `nodespace export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    /// A folder for Markdown, made when missing; a file for JSON Lines, or - for standard output.
    out: PathBuf,
    /// How to write it.
    #[arg(long, default_value = "markdown")]
    format: Format,
    /// Only this node and what is below it.
    #[arg(long, value_name = "ID")]
    root: Option<String>,
    /// Deleted nodes too; with JSON Lines only.
    #[arg(long)]
    deleted: bool,
    /// Write into a folder that is not empty, or over a file.
    #[arg(long)]
    overwrite: bool,
}

/// What an export wrote: the form of its JSON output.
#[derive(Debug, Default, serde::Serialize)]
struct Report {
    nodes: u64,
    files: u64,
}

/// Exports.
pub(crate) async fn run(arguments: &ExportArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    if arguments.deleted && arguments.format == Format::Markdown {
        return Err(Failure::usage("Markdown has no deleted nodes; use --format jsonl with --deleted"));
    }
    let root = ids::maybe_node(client, arguments.root.as_ref()).await?;
    let request = Request::get(&["v1", "export"]).maybe("root", root).maybe("deleted", arguments.deleted.then_some(true));
    let lines = client.lines(request).await?;
    let report = match arguments.format {
        Format::Markdown => markdown(arguments, lines).await?,
        Format::Jsonl if arguments.out == Path::new("-") => {
            json_lines(lines, out).await?;
            return Ok(Exit::Done);
        }
        Format::Jsonl => json_file(arguments, lines).await?,
    };
    if out.json {
        out.value(&report)?;
    } else {
        let files = if report.files == 1 { "file" } else { "files" };
        out.line(format_args!("{} nodes in {} {files}", grouped(report.nodes), grouped(report.files)))?;
    }
    Ok(Exit::Done)
}

/// The next node's line, and the node.
async fn next(lines: &mut Lines) -> anyhow::Result<Option<(Vec<u8>, Node)>> {
    let Some(line) = lines.next().await? else { return Ok(None) };
    // An export that breaks off ends with the reason in the place of a node.
    if let Ok(TaskLine::<serde_json::Value>::Error(body)) = serde_json::from_slice(&line) {
        return Err(ClientError::Refused { status: 200, body }.into());
    }
    let node = serde_json::from_slice(&line).map_err(|error| ClientError::NotUnderstood(error.to_string()))?;
    Ok(Some((line, node)))
}

async fn json_lines(mut lines: Lines, to: &mut impl Write) -> anyhow::Result<u64> {
    let mut nodes = 0;
    while let Some((line, _)) = next(&mut lines).await? {
        to.write_all(&line)?;
        to.write_all(b"\n")?;
        nodes += 1;
    }
    Ok(nodes)
}

/// Writes the lines beside the file and puts them in its place when they are all there.
async fn json_file(arguments: &ExportArguments, lines: Lines) -> anyhow::Result<Report> {
    let path = &arguments.out;
    let context = || format!("cannot write {}", path.display());
    if path.exists() && !arguments.overwrite {
        return Err(Failure::with(Exit::Stale, format!("{} is there already; give --overwrite to write over it", path.display())));
    }
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = BufWriter::new(File::create(&partial).with_context(context)?);
    let written = json_lines(lines, &mut file).await;
    let finished = written.and_then(|nodes| {
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, path)?;
        Ok(nodes)
    });
    if finished.is_err() {
        // The failure is what is told; what cannot be removed lies beside the file under a name of its own.
        fs::remove_file(&partial).ok();
    }
    Ok(Report { nodes: finished.with_context(context)?, files: 1 })
}

async fn markdown(arguments: &ExportArguments, mut lines: Lines) -> anyhow::Result<Report> {
    let folder = &arguments.out;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    if entries.next().is_some() && !arguments.overwrite {
        return Err(Failure::with(Exit::Stale, format!("{} is not empty; give --overwrite to write into it", folder.display())));
    }
    let mut report = Report::default();
    let mut export = MarkdownExport::new();
    while let Some((_, node)) = next(&mut lines).await? {
        report.nodes += 1;
        if let Some(file) = export.push(node) {
            report.files += 1;
            write(folder, &file)?;
        }
    }
    if let Some(file) = export.finish() {
        report.files += 1;
        write(folder, &file)?;
    }
    Ok(report)
}

fn write(folder: &Path, file: &MarkdownFile) -> anyhow::Result<()> {
    let path = folder.join(&file.path);
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        OpenOptions::new().write(true).create(true).truncate(true).open(&path)?.write_all(file.markdown.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
