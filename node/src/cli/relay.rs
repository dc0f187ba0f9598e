//! `nodespace relay`: the relays of a workspace.

use std::io;

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{AddRelay, RelayAlarm, RelayCheck, RelayCheckList, RelayEntry, RelayList, RelaySource, RelayWord};

use super::exit::Exit;
use super::output::Output;
use super::style::{Tone, bytes, grouped};
use super::table::{Cell, Table};

/// What to do with relays.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RelayCommand {
    /// Sync the workspace by way of a relay from now on. A relay can read what it is given: choose one that may.
    Add(UrlArguments),
    /// Do not use a relay any more, and forget what is known of it. What it holds stays there.
    Remove(UrlArguments),
    /// Show the relays of the workspace, and how far each has come.
    Status,
    /// Look at the relays, or at one: whether it answers, knows this device, and stands by what it signed.
    Check(CheckArguments),
}

/// Which relay.
#[derive(Debug, clap::Args)]
pub(crate) struct UrlArguments {
    /// Its URL, such as `https://relay.example.org`.
    url: String,
}

/// Which relays.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Only this one.
    url: Option<String>,
}

/// Does what was asked.
pub(crate) async fn run(command: &RelayCommand, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let relays = ["v1", "relays"];
    let request = match command {
        RelayCommand::Add(arguments) => Request::post(&relays).json(&AddRelay { url: arguments.url.clone() })?,
        RelayCommand::Remove(arguments) => Request::new(Method::DELETE, &relays).query("url", &arguments.url),
        RelayCommand::Status => Request::get(&relays),
        RelayCommand::Check(arguments) => return check(arguments, client, out).await,
    };
    let answer = client.ask::<RelayList>(request).await?;
    let added = matches!(command, RelayCommand::Add(_));
    out.answer(&answer, |out, list| {
        print(out, list)?;
        if added && !client.is_remote() {
            out.line("No daemon runs here, so nothing is synced yet: start one with `nodespace run`, or run `nodespace sync now`.")?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// Ends as failed unless all of them can be used.
async fn check(arguments: &CheckArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let request = Request::post(&["v1", "relays", "check"]).maybe("url", arguments.url.as_ref());
    let answer = client.ask::<RelayCheckList>(request).await?;
    out.answer(&answer, |out, list| list.checks.iter().try_for_each(|check| print_check(out, check)))?;
    Ok(if answer.value.checks.iter().all(|check| check.usable) { Exit::Done } else { Exit::Unavailable })
}

fn print(out: &mut Output, list: &RelayList) -> io::Result<()> {
    if list.relays.is_empty() {
        return out.line("no relay; add one with `nodespace relay add URL`");
    }
    let mut table = Table::new(["relay", "set by", "version", "missing there", "last confirmed"]);
    list.relays.iter().for_each(|entry| table.row(row(entry)));
    out.table(&table)?;
    for (entry, alarm) in list.relays.iter().filter_map(|entry| Some((entry, entry.alarm.as_ref()?))) {
        out.line(format_args!("! {} is not used: {}", entry.url, alarm.message))?;
    }
    Ok(())
}

fn row(entry: &RelayEntry) -> [Cell; 5] {
    let source = match entry.source {
        RelaySource::Workspace => "workspace",
        RelaySource::Configuration => "configuration",
    };
    let missing = match entry.missing_there_max {
        0 => Cell::toned(Tone::Green, "nothing"),
        most => format!("at most {}", grouped(most)).into(),
    };
    let tone = if entry.alarm.is_some() { Tone::Red } else { Tone::Bold };
    let confirmed = entry.confirmed.clone().unwrap_or_else(|| "never".to_owned());
    [Cell::toned(tone, entry.url.as_str()), source.into(), grouped(entry.version).into(), missing, confirmed.into()]
}

fn print_check(out: &mut Output, check: &RelayCheck) -> io::Result<()> {
    let (tone, verdict) = if check.usable { (Tone::Green, "can be used") } else { (Tone::Red, "cannot be used") };
    let verdict = out.style.paint(tone, verdict).into_owned();
    out.line(format_args!("{}: {verdict}", check.url))?;
    if let (Some(relay), Some(program)) = (&check.relay, &check.program) {
        out.line(format_args!("  relay {relay}, version {program}"))?;
    }
    if let (Some(version), Some(size)) = (check.version, check.bytes) {
        out.line(format_args!("  holds {} operations, {}", grouped(version), bytes(size)))?;
    }
    check.findings.iter().try_for_each(|finding| out.line(format_args!("  - {finding}")))?;
    check.alarm.as_ref().map_or(Ok(()), |alarm| print_alarm(out, alarm))
}

/// The evidence, whole: to be shown to whoever runs the relay.
fn print_alarm(out: &mut Output, alarm: &RelayAlarm) -> io::Result<()> {
    out.line(format_args!("  ! {}", alarm.message))?;
    for (when, word) in [("before", &alarm.before), ("now", &alarm.now)] {
        let Some(RelayWord { epoch, version, running_hash, signature }) = word else { continue };
        out.line(format_args!("    it signed {when}: epoch {epoch}, version {version}, hash {running_hash}, signature {signature}"))?;
    }
    out.line("    To use it all the same, remove it and add it again.")
}
