//! Our text engine beside other projects', on the same recorded editing histories, in one process.
//!
//! What is timed is "apply all remote operations to text": everything has been received and, where an engine's interface allows,
//! decoded; the clock runs from there to the finished text. Rounds are interleaved, one of each engine in turn, and the median counts, so
//! that a machine that slows down slows all alike. `anchors [TRACE..]`; without names the three traces that come with the test data.

mod engines;
mod history;

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engines::{Engine, Prepared};
use nodespace_protocol::text::trace::Trace;

/// How often each engine runs; the median of these counts.
const ROUNDS: usize = 9;
/// An engine that has used this much time on a trace is not run again.
const TIME_MAX: Duration = Duration::from_secs(20);
/// The largest transaction an editor would commit, in patches.
const BURST_PATCHES_MAX: usize = 20;
/// The traces that come with the test data.
const TRACES: [&str; 3] = ["friendsforever", "sveltecomponent", "automerge-paper"];

fn main() -> anyhow::Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = if named.is_empty() { TRACES.to_vec() } else { named.iter().map(String::as_str).collect() };
    for name in names {
        compare(name, &load(name)?);
    }
    Ok(())
}

/// Reads a trace by its name in the test data, or by path.
fn load(name: &str) -> anyhow::Result<Trace> {
    let folder = std::env::var("NODESPACE_DATA")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = if name.ends_with(".gz") { PathBuf::from(name) } else { folder.join("traces").join(format!("{name}.json.gz")) };
    let packed = std::fs::read(&path).with_context(|| format!("{} (set NODESPACE_DATA to the folder of the test data)", path.display()))?;
    let mut json = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut json)?;
    let trace = Trace::parse(&json)?;
    if !trace.start_content.is_empty() {
        bail!("{name} starts with a text; engines would have to agree on who wrote it");
    }
    Ok(trace)
}

/// One engine on one form of a trace.
struct Entry {
    name: &'static str,
    transactions: usize,
    prepared: Result<Box<dyn Prepared>, anyhow::Error>,
    times: Vec<Duration>,
    end: Ending,
}

/// How an engine's text compares with the trace's.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Same,
    /// Another tie-break: not a fault of the engine, but not the same work to the letter either.
    Other,
}

fn compare(name: &str, trace: &Trace) {
    let forms = [("ours", trace.clone()), ("ours, single edits", trace.single_edits()), ("ours, bursts", trace.bursts(BURST_PATCHES_MAX))];
    let mut entries: Vec<Entry> = forms.iter().map(|(name, form)| entry(name, &engines::ours::Ours, form)).collect();
    for (name, engine) in engines::others() {
        entries.push(entry(name, engine.as_ref(), trace));
    }
    for _ in 0..ROUNDS {
        for entry in &mut entries {
            round(entry, &trace.end_content);
        }
    }
    print(name, &mut entries);
}

fn entry(name: &'static str, engine: &dyn Engine, trace: &Trace) -> Entry {
    eprintln!("preparing {name} ({} transactions)", trace.transactions.len());
    Entry { name, transactions: trace.transactions.len(), prepared: engine.prepare(trace), times: Vec::new(), end: Ending::Same }
}

fn round(entry: &mut Entry, expected: &str) {
    let Ok(prepared) = &entry.prepared else { return };
    if entry.times.iter().sum::<Duration>() > TIME_MAX {
        return;
    }
    let input = prepared.input();
    let start = Instant::now();
    let text = prepared.apply(input);
    entry.times.push(start.elapsed());
    if text != expected {
        entry.end = Ending::Other;
    }
}

fn print(name: &str, entries: &mut [Entry]) {
    let medians: Vec<Option<Duration>> = entries.iter_mut().map(|entry| median(&mut entry.times)).collect();
    let ours = medians[0];
    println!("\n### {name}\n");
    println!("| Engine | transactions | apply, median, ms | fastest, ms | ours / it | stored bytes | end text |");
    println!("|---|---|---|---|---|---|---|");
    for (entry, time) in entries.iter().zip(medians) {
        match (&entry.prepared, time) {
            (Ok(prepared), Some(time)) => println!(
                "| {} | {} | {:.2} | {:.2} | {} | {} | {} |",
                entry.name,
                entry.transactions,
                time.as_secs_f64() * 1e3,
                entry.times.first().map_or(0.0, Duration::as_secs_f64) * 1e3,
                ours.map_or_else(String::new, |ours| format!("{:.2}", ours.as_secs_f64() / time.as_secs_f64())),
                prepared.stored_bytes().map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
                if entry.end == Ending::Same { "as recorded" } else { "differs (another tie-break)" },
            ),
            (Err(error), _) => println!("| {} | {} | cannot replay: {error} | | | | |", entry.name, entry.transactions),
            (Ok(_), None) => {}
        }
    }
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
