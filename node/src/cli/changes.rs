//! `nodespace changes`: what happened, once or as it happens.

use std::io;

use nodespace_node::client::{ClientError, Event, Request};
use nodespace_node::model::{Change, ChangeKind, ChangePage};

use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::Session;
use super::style::{Tone, preview};

/// The cursor before the first change.
const START: &str = "start";

/// The kind of event that is a change.
const CHANGE: &str = "change";

/// Arguments of `nodespace changes`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangesArguments {
    /// Only what comes after this cursor; `start` is before everything. By default from the start, with --follow from now.
    #[arg(long)]
    cursor: Option<String>,
    /// How many changes at most.
    #[arg(long, value_name = "NUMBER", conflicts_with = "follow")]
    limit: Option<usize>,
    /// Go on showing changes as they happen, until Ctrl-C; needs a running daemon.
    #[arg(long)]
    follow: bool,
}

/// Shows the changes.
pub(crate) async fn run(arguments: &ChangesArguments, session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    if arguments.follow {
        return follow(arguments, session, out).await;
    }
    let cursor = arguments.cursor.as_deref().unwrap_or(START);
    let request = Request::get(&["v1", "changes"]).query("cursor", cursor).maybe("limit", arguments.limit);
    let answer = session.client.ask::<ChangePage>(request).await?;
    out.answer(&answer, |out, page| {
        page.changes.iter().try_for_each(|change| print(out, change))?;
        let more = if page.more { "there is more; " } else { "" };
        out.line(format_args!("{more}go on with --cursor {}", page.cursor))
    })?;
    Ok(Exit::Done)
}

async fn follow(arguments: &ChangesArguments, session: &Session, out: &mut Output) -> anyhow::Result<Exit> {
    if !session.client.is_remote() {
        return Err(Failure::with(Exit::Unavailable, "no daemon runs, so nothing happens; start one with `nodespace run`"));
    }
    let request = Request::get(&["v1", "changes", "stream"]).maybe("cursor", arguments.cursor.as_ref());
    let mut events = session.client.events(request).await?;
    let mut last = arguments.cursor.clone();
    loop {
        let passed = |event: Event| last = event.id.or_else(|| last.take());
        let event = match events.next_of(CHANGE, passed).await {
            Ok(Some(event)) => event,
            Ok(None) => return Err(stopped(ClientError::Cut("the daemon stopped".into()), last.as_deref())),
            Err(error) => return Err(stopped(error, last.as_deref())),
        };
        if out.json {
            out.raw(event.data.as_bytes())?;
        } else {
            let change = serde_json::from_str(&event.data).map_err(|error| ClientError::NotUnderstood(error.to_string()));
            print(out, &change?)?;
        }
        out.flush()?;
        last = event.id.or(last);
    }
}

/// The end of the stream, with where to go on.
fn stopped(error: ClientError, cursor: Option<&str>) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    match cursor {
        Some(cursor) => error.context(format!("the stream ended; go on with --cursor {cursor}")),
        None => error.context("the stream ended before the first change"),
    }
}

fn print(out: &mut Output, change: &Change) -> io::Result<()> {
    let at = change.at.as_deref().unwrap_or("-");
    let who = match (&change.origin.client, change.origin.local, &change.origin.device) {
        (Some(client), _, _) => format!("here, by {}", preview(client, 40)),
        (None, true, _) => "here".to_owned(),
        (None, false, Some(device)) => format!("on {}", device.get(..8).unwrap_or(device)),
        (None, false, None) => String::new(),
    };
    let tone = match change.kind {
        ChangeKind::Create => Tone::Green,
        ChangeKind::Delete => Tone::Red,
        ChangeKind::Reset => Tone::Yellow,
        _ => Tone::Plain,
    };
    let kind = format!("{:<9}", kind(change.kind));
    let kind = out.style.paint(tone, &kind).into_owned();
    out.line(format_args!("{at:<24}  {kind}  {:<36}  {who}", change.node_id.as_deref().unwrap_or("-")))
}

const fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Create => "create",
        ChangeKind::Update => "update",
        ChangeKind::Metadata => "metadata",
        ChangeKind::Move => "move",
        ChangeKind::Delete => "delete",
        ChangeKind::Workspace => "workspace",
        ChangeKind::Derived => "derived",
        ChangeKind::Reset => "reset",
    }
}
