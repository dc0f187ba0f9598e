//! `nodespace batch`: many writes from a file, with an outcome for each.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{BatchOutcome, BatchReply};
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::output::Output;
use super::style::grouped;

/// How many items are sent at once.
const GROUP_ITEMS_MAX: usize = 1_000;

/// How large a group may be, in bytes of JSON; an item that is larger alone is sent alone, and the device has a bound of its own.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How large a document that is not in lines may be, in bytes; lines have no bound together.
const DOCUMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Arguments of `nodespace batch`.
#[derive(Debug, clap::Args)]
pub(crate) struct BatchArguments {
    /// JSON Lines with an item each, a JSON list of items, or {"items": [...]}; - reads standard input.
    file: PathBuf,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    done: usize,
    failed: usize,
    /// Of the failed ones, how the first would have ended alone.
    exit: Option<Exit>,
}

/// Does the writes, group after group.
pub(crate) async fn run(arguments: &BatchArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let mut tally = Tally::default();
    let mut group = Vec::new();
    let mut bytes = 0;
    for value in documents(&arguments.file)? {
        let value = value.map_err(|error| misread(&arguments.file, &error, &tally, group.len()))?;
        for item in items(value) {
            let size = item.to_string().len();
            if group.len() == GROUP_ITEMS_MAX || (bytes + size > GROUP_BYTES_MAX && !group.is_empty()) {
                send(client, std::mem::take(&mut group), &mut tally, out).await?;
                bytes = 0;
            }
            bytes += size;
            group.push(item);
        }
    }
    if !group.is_empty() {
        send(client, group, &mut tally, out).await?;
    }
    if !out.json {
        out.line(format_args!("{} done, {} failed", grouped(tally.done as u64), grouped(tally.failed as u64)))?;
    }
    Ok(if tally.failed == 0 { Exit::Done } else { tally.exit.filter(|_| tally.sent == 1).unwrap_or(Exit::Failed) })
}

fn documents(path: &Path) -> anyhow::Result<impl Iterator<Item = serde_json::Result<Value>>> {
    let stream: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
    };
    let bounded = BufReader::new(stream.take(DOCUMENT_BYTES_MAX));
    Ok(serde_json::Deserializer::from_reader(bounded).into_iter())
}

/// The items a JSON document holds.
fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Object(mut object) if !object.contains_key("do") => match object.remove("items") {
            Some(Value::Array(items)) => items,
            // The device says what is wrong with it.
            _ => vec![Value::Object(object)],
        },
        item => vec![item],
    }
}

fn misread(path: &Path, error: &serde_json::Error, tally: &Tally, waiting: usize) -> anyhow::Error {
    let sent = format!("{} items before it were sent and {waiting} were not", tally.sent);
    Failure::usage(format!("{} is not JSON: {error}; {sent}", path.display()))
}

async fn send(client: &Client, items: Vec<Value>, tally: &mut Tally, out: &mut Output) -> anyhow::Result<()> {
    let count = items.len();
    let answer = client.ask::<BatchReply>(Request::post(&["v1", "batch"]).json(&json!({ "items": items }))?).await.with_context(|| {
        let last = tally.sent + count;
        format!("items {} to {last} have no outcome; {} before them are done, {} failed", tally.sent + 1, tally.done, tally.failed)
    })?;
    let first = tally.sent;
    for outcome in &answer.value.outcomes {
        tally.sent += 1;
        match outcome {
            BatchOutcome::Done(_) => tally.done += 1,
            BatchOutcome::Failed(refusal) => {
                tally.failed += 1;
                tally.exit = tally.exit.or_else(|| Some(Exit::of_code(refusal.code)));
            }
        }
    }
    out.answer(&answer, |out, reply| print_failed(out, first, reply))?;
    Ok(())
}

fn print_failed(out: &mut Output, first: usize, reply: &BatchReply) -> io::Result<()> {
    for (index, outcome) in reply.outcomes.iter().enumerate() {
        if let BatchOutcome::Failed(refusal) = outcome {
            writeln!(out, "item {}: {}", first + index + 1, refusal.message)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_three_forms() {
        let one = json!({ "do": "restore", "id": "a" });
        let two = json!({ "do": "restore", "id": "b" });
        assert_eq!(items(json!([one, two])), [one.clone(), two.clone()]);
        assert_eq!(items(json!({ "items": [one, two] })), [one.clone(), two]);
        assert_eq!(items(one.clone()), [one]);
        assert_eq!(items(json!(3)), [json!(3)]);
    }
}
