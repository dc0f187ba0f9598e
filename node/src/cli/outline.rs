//! `nodespace outline`: the tree an import would make.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nodespace_node::import::{self, ImportError, Outline};
use serde::Serialize;

use super::exit::Exit;
use super::output::Output;
use super::style::{PREVIEW_CHARACTERS_MAX, preview};

/// Arguments of `nodespace outline`.
#[derive(Debug, clap::Args)]
pub(crate) struct OutlineArguments {
    /// A Markdown file, or a folder whose Markdown files are read in order of their names.
    path: PathBuf,
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
pub(crate) fn run(arguments: &OutlineArguments, out: &mut Output) -> anyhow::Result<Exit> {
    let report = report(&arguments.path)?;
    if out.json {
        out.value(&report)?;
    } else {
        print_text(&report, out)?;
    }
    Ok(Exit::Done)
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
            let text = preview(&node.content, PREVIEW_CHARACTERS_MAX);
            writeln!(out, "{:>6}  {:indent$}{:<15}  {}", node.lines.first, "", node.kind.name(), text, indent = depth * 2)?;
        }
        writeln!(out)?;
    }
    for (kind, count) in &report.kinds {
        writeln!(out, "{kind:<15} {count:>8}")?;
    }
    writeln!(out, "{:<15} {:>8}   in {} files", "nodes", report.node_count, report.files.len())
}
