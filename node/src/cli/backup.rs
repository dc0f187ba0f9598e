//! `nodespace backup` and `restore`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nodespace_node::backup;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{BackupReport, BackupRequest, RestoreReport};
use nodespace_protocol::clock::Timestamp;

use super::context::Context;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::progress::Bar;
use super::style::{Tone, bytes, grouped};
use super::table::{Cell, Table};

/// Arguments of `nodespace backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    /// A new file; one that exists is not overwritten.
    file: PathBuf,
}

/// Writes a backup.
pub(crate) async fn run(arguments: &BackupArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    // The daemon works in another folder than this command.
    let path = std::path::absolute(&arguments.file).with_context(|| format!("cannot find {}", arguments.file.display()))?;
    let Some(path) = path.to_str() else {
        return Err(Failure::usage(format!("{} is not UTF-8; give the backup another name", path.display())));
    };
    let request = Request::post(&["v1", "tasks", "backup"]).json(&BackupRequest { path: path.to_owned() })?;
    let mut bar = Bar::new();
    let result = client.task::<BackupReport>(request, |progress| bar.show(&progress)).await;
    bar.finish();
    out.answer(&result?, |out, report| {
        out.line(format_args!(
            "{} operations and {} vectors in {}, {}",
            grouped(report.operations),
            grouped(report.vectors),
            report.path,
            bytes(report.bytes)
        ))
    })?;
    Ok(Exit::Done)
}

/// Arguments of `nodespace restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// The backup.
    file: PathBuf,
}

/// Makes a home from a backup, or adds its workspace to a home that is not in use.
pub(crate) fn restore(arguments: &RestoreArguments, context: &mut Context) -> anyhow::Result<Exit> {
    let home = context.home()?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let mut bar = Bar::new();
    let result = backup::restore(&arguments.file, &home, now, &mut |progress| bar.show(&progress));
    bar.finish();
    let report = result.with_context(|| format!("{} was not restored", arguments.file.display()))?;
    if context.out.json {
        context.out.value(&report)?
    } else {
        print(&mut context.out, &report)?
    }
    Ok(Exit::Done)
}

fn print(out: &mut Output, report: &RestoreReport) -> std::io::Result<()> {
    let mut table = Table::plain();
    table.pair("home", Cell::toned(Tone::Bold, report.home.as_str()));
    table.pair("workspace", format!("{} ({})", super::style::preview(&report.name, 60), report.workspace));
    table.pair("nodes", grouped(report.nodes));
    table.pair("operations", grouped(report.operations));
    table.pair("vectors", grouped(report.vectors));
    table.pair("keys", if report.new_identity { "new" } else { "those of the home" });
    table.pair("role", report.role.as_deref().unwrap_or("no member"));
    out.table(&table)?;
    out.line(format_args!("\n{}", report.advice))
}
