//! `nodespace import`: Markdown files and folders, sent in groups.

mod files;

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{DocumentOutcome, ErrorBody, ErrorCode, ImportDocument, ImportReport, ImportRequest, Progress};

use super::exit::Exit;
use super::ids;
use super::output::Output;
use super::progress::Bar;
use super::style::{Tone, grouped};
use super::table::{Cell, Table};
use files::Source;

/// How much text a group has, in bytes; a file that is larger is sent alone.
const GROUP_BYTES_MAX: u64 = 1024 * 1024;

/// How many files a group has at most.
const GROUP_FILES_MAX: usize = 500;

/// Arguments of `nodespace import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArguments {
    /// Markdown files, and folders whose Markdown files are read in order of their names.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Import below this node; at top level by default.
    #[arg(long, value_name = "ID")]
    under: Option<String>,
}

/// Imports.
pub(crate) async fn run(arguments: &ImportArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let sources = files::sources(&arguments.paths)?;
    let under = ids::maybe_node(client, arguments.under.as_ref()).await?;
    let mut import = Import { client, under, report: ImportReport::default(), bar: Bar::new(), total: 0, sent: 0 };
    import.total = sources.iter().map(|source| source.bytes).sum();
    let result = import.all(&sources).await;
    import.bar.finish();
    let report = import.report;
    if report.documents > 0 {
        result.with_context(|| format!("{} files were imported before; run it again to go on", report.documents))?;
    } else {
        result?;
    }
    let exit = if report.failed == 0 { Exit::Done } else { Exit::Failed };
    if out.json {
        out.value(&report)?
    } else {
        print(out, &report)?
    }
    Ok(exit)
}

/// An import under way.
#[derive(Debug)]
struct Import<'a> {
    client: &'a Client,
    under: Option<String>,
    report: ImportReport,
    bar: Bar,
    /// Bytes of all files, and of those that were sent.
    total: u64,
    sent: u64,
}

impl Import<'_> {
    async fn all(&mut self, sources: &[Source]) -> anyhow::Result<()> {
        let mut rest = sources;
        while !rest.is_empty() {
            let group = group(rest);
            self.group(&rest[..group]).await?;
            rest = &rest[group..];
        }
        Ok(())
    }

    /// Reads and sends some files. One that cannot be read is told beside those that could not be imported.
    async fn group(&mut self, sources: &[Source]) -> anyhow::Result<()> {
        let mut documents = Vec::new();
        for source in sources {
            match source.read() {
                Ok(markdown) => documents.push(ImportDocument { path: source.name.clone(), markdown }),
                Err(error) => self.unread(source, &error),
            }
        }
        let bytes: u64 = sources.iter().map(|source| source.bytes).sum();
        if !documents.is_empty() {
            self.send(documents, bytes).await?;
        }
        self.sent += bytes;
        Ok(())
    }

    async fn send(&mut self, documents: Vec<ImportDocument>, bytes: u64) -> anyhow::Result<()> {
        let request = ImportRequest { documents, under: self.under.clone() };
        let request = Request::post(&["v1", "import"]).json(&request)?;
        let (bar, sent, total) = (&mut self.bar, self.sent, self.total);
        let answer = self.client.task::<ImportReport>(request, |progress| bar.show(&overall(progress, sent, bytes, total))).await?;
        add(&mut self.report, answer.value);
        Ok(())
    }

    fn unread(&mut self, source: &Source, error: &anyhow::Error) {
        let refusal = ErrorBody { code: ErrorCode::InvalidValue, message: format!("{error:#}"), version: None };
        let outcome = DocumentOutcome { path: source.name.clone(), error: Some(refusal), ..DocumentOutcome::default() };
        self.report.failed += 1;
        self.report.outcomes.push(outcome);
    }
}

/// How many files the next group has.
fn group(sources: &[Source]) -> usize {
    let mut bytes = 0;
    let fits = |source: &&Source| {
        bytes += source.bytes;
        bytes <= GROUP_BYTES_MAX
    };
    sources.iter().take(GROUP_FILES_MAX).take_while(fits).count().max(1)
}

/// A group's progress as a part of the whole, in KiB of text.
fn overall(progress: Progress, sent: u64, bytes: u64, total: u64) -> Progress {
    let part = match progress.total {
        Some(all) if all > 0 => u128::from(bytes) * u128::from(progress.done.min(all)) / u128::from(all),
        _ => 0,
    };
    let done = sent + u64::try_from(part).unwrap_or(bytes);
    Progress { step: progress.step, done: done / 1024, total: Some(total.div_ceil(1024)) }
}

fn add(whole: &mut ImportReport, part: ImportReport) {
    whole.documents += part.documents;
    whole.failed += part.failed;
    whole.operations += part.operations;
    whole.counts.add(&part.counts);
    whole.outcomes.extend(part.outcomes);
}

fn print(out: &mut Output, report: &ImportReport) -> io::Result<()> {
    for outcome in &report.outcomes {
        if let Some(error) = &outcome.error {
            let path = out.style.paint(Tone::Red, &outcome.path).into_owned();
            out.line(format_args!("{path}: {}", error.message))?;
        }
    }
    let counts = &report.counts;
    let mut table = Table::plain();
    let mut pair = |name: &str, count: u64, tone| table.pair(name, Cell::toned(tone, grouped(count)));
    pair("files", report.documents, Tone::Bold);
    if report.failed > 0 {
        pair("not imported", report.failed, Tone::Red);
    }
    let rows = [
        ("nodes made", counts.created),
        ("changed", counts.updated),
        ("moved", counts.moved),
        ("deleted", counts.deleted),
        ("as they were", counts.unchanged),
        ("kept as changed here", counts.kept),
        ("changed here and in the file", counts.overwritten),
        ("operations written", report.operations),
    ];
    rows.into_iter()
        .filter(|(name, count)| *count > 0 || *name == "operations written")
        .for_each(|(name, count)| pair(name, count, Tone::Plain));
    out.table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bytes: u64) -> Source {
        Source { name: String::new(), path: PathBuf::new(), bytes }
    }

    #[test]
    fn groups_are_bounded_and_never_empty() {
        assert_eq!(group(&[source(GROUP_BYTES_MAX * 3), source(1)]), 1);
        assert_eq!(group(&[source(GROUP_BYTES_MAX / 2), source(GROUP_BYTES_MAX / 2), source(1)]), 2);
        let many: Vec<Source> = (0..GROUP_FILES_MAX * 2).map(|_| source(1)).collect();
        assert_eq!(group(&many), GROUP_FILES_MAX);
    }

    #[test]
    fn the_bar_counts_all_files_not_one_group() {
        let progress = Progress { step: "importing".into(), done: 5, total: Some(10) };
        let overall = overall(progress, 2048, 2048, 8192);
        assert_eq!((overall.done, overall.total), (3, Some(8)));
    }
}
