//! `nodespace outline`: the tree an import would make.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nodespace_node::import::{self, ImportError, Outline, OutlineNode};
use serde::Serialize;

/// How many characters of a node are shown on its line; the rest is left to the file.
const LINE_CHARACTERS_MAX: usize = 72;

/// Arguments of `nodespace outline`.
#[derive(Debug, clap::Args)]
pub(crate) struct OutlineArguments {
    /// A Markdown file, or a folder whose Markdown files are read in order of their names.
    path: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// What the command found: the form of its JSON output.
#[derive(Debug, Serialize)]
struct Report {
    files: Vec<FileReport>,
    /// How many nodes of each kind there are.
    kinds: BTreeMap<&'static str, usize>,
    node_count: usize,
}

/// One file of a [`Report`].
#[derive(Debug, Serialize)]
struct FileReport {
    path: PathBuf,
    #[serde(flatten)]
    outline: Outline,
}

/// Reads the path and prints its outline.
pub(crate) fn run(arguments: &OutlineArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let report = report(&arguments.path)?;
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print_text(&report, out)?;
    }
    Ok(out.flush()?)
}

fn report(path: &Path) -> anyhow::Result<Report> {
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let paths = if metadata.is_dir() { import::markdown_files(path)? } else { vec![path.to_path_buf()] };
    ensure!(!paths.is_empty(), "no Markdown files below {}", path.display());
    let read = |path: PathBuf| Ok(FileReport { outline: import::import_file(&path)?, path });
    let files = paths.into_iter().map(read).collect::<Result<Vec<_>, ImportError>>()?;
    let mut kinds = BTreeMap::new();
    for node in files.iter().flat_map(|file| &file.outline.nodes) {
        *kinds.entry(node.kind.name()).or_insert(0) += 1;
    }
    Ok(Report { node_count: kinds.values().sum(), files, kinds })
}

fn print_text(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    for file in &report.files {
        writeln!(out, "{}", file.path.display())?;
        for (node, depth) in file.outline.nodes.iter().zip(file.outline.depths()) {
            writeln!(out, "{:>6}  {:indent$}{:<15}  {}", node.lines.first, "", node.kind.name(), shown_line(node), indent = depth * 2)?;
        }
        writeln!(out)?;
    }
    for (kind, count) in &report.kinds {
        writeln!(out, "{kind:<15} {count:>8}")?;
    }
    writeln!(out, "{:<15} {:>8}   in {} files", "nodes", report.node_count, report.files.len())
}

/// The start of a node's first line. Control characters could drive the terminal, so they are shown as spaces.
fn shown_line(node: &OutlineNode) -> String {
    let line = node.content.lines().next().unwrap_or_default();
    let shown = line.chars().take(LINE_CHARACTERS_MAX).map(|character| if character.is_control() { ' ' } else { character });
    let is_cut = line.chars().nth(LINE_CHARACTERS_MAX).is_some() || node.content.contains('\n');
    shown.chain(is_cut.then_some('…')).collect()
}
