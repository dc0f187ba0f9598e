//! How fast the projection is written, searched and opened, and what memory it takes.
//!
//! ```text
//! cargo bench -p nodespace-projection                            100,000 rows of 384 dimensions
//! ROWS=10000 DIMENSION=64 cargo bench -p nodespace-projection --profile dev
//! ```
//!
//! One run, one table on the disk that `TMPDIR` names. Rates include everything up to the commit, not the checkpoint. The vectors are drawn
//! around a hundred centres, since models do not spread texts evenly.
#![expect(clippy::print_stdout, reason = "a benchmark's results are its output")]

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nodespace_projection::{
    Change, Embedding, Embeddings, Filter, Mark, Opened, Projection, Query, QueryVector, Reader, Row, Settings, State, TimeRange, Work,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;

const MODEL: &str = "bench";
const BATCH: u64 = 1_000;
const SEARCHES: u64 = 200;
/// The argument that makes the benchmark open a folder that another process of it has filled.
const AGAIN: &str = "again";
const NOW: Duration = Duration::ZERO;

type Done = Result<(), Box<dyn std::error::Error>>;

/// What is measured on.
struct Corpus {
    rows: u64,
    dimension: usize,
    centres: Vec<Vec<f32>>,
}

fn main() -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<_> = env::args().collect();
    match arguments.iter().position(|argument| argument == AGAIN).and_then(|at| Some((arguments.get(at + 1)?, arguments.get(at + 2)?))) {
        Some((folder, mark)) => runtime.block_on(again(Path::new(folder), serde_json::from_str(mark)?)),
        None => runtime.block_on(run()),
    }
}

async fn run() -> Done {
    let corpus = Corpus::from_environment();
    println!("{} rows of {} dimensions", corpus.rows, corpus.dimension);
    memory("start");
    let folder = tempfile::tempdir()?;
    let Opened { mut projection, .. } = Projection::open(folder.path(), None, Settings::default()).await?;
    fill(&mut projection, &corpus).await?;
    tidy(&mut projection).await?;
    memory("filled and indexed");
    search(&projection.reader(), &corpus).await?;
    memory("searched");
    write(&mut projection, &corpus).await?;
    let mark = tidy(&mut projection).await?;
    search(&projection.reader(), &corpus).await?;
    memory("written and searched");
    println!("on the disk: {} MiB", bytes(folder.path())? >> 20);
    drop(projection);
    // In a process of its own: the memory of this one says nothing about opening.
    let status = Command::new(env::current_exe()?).arg(AGAIN).arg(folder.path()).arg(serde_json::to_string(&mark)?).status()?;
    if status.success() { Ok(()) } else { Err("opening it again failed".into()) }
}

impl Corpus {
    fn from_environment() -> Self {
        let number = |name: &str, default: u64| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        Self::new(number("ROWS", 100_000), number("DIMENSION", 384) as usize)
    }

    fn new(rows: u64, dimension: usize) -> Self {
        const CENTRES: u64 = 100;
        let centre = |seed| random_vector(&mut ChaCha8Rng::seed_from_u64(seed ^ 0xce47e5), dimension);
        Self { rows, dimension, centres: (0..CENTRES).map(centre).collect() }
    }

    /// A node near to one of the centres, with a text of about 60 characters from a vocabulary whose words are not equally frequent.
    fn row(&self, number: u64, round: u64) -> Row {
        let mut random = ChaCha8Rng::seed_from_u64(number.wrapping_mul(31) ^ (round << 40));
        Row {
            id: format!("00000000-0000-4000-8000-{number:012}"),
            node_type: if number.is_multiple_of(10) { "task" } else { "text" }.to_owned(),
            content: text(&mut random),
            metadata: json!({"status": if number.is_multiple_of(4) { "open" } else { "done" }}),
            parent_id: (number > 0).then(|| format!("00000000-0000-4000-8000-{:012}", number / 10)),
            root_id: None,
            before_sibling_id: None,
            depth: None,
            created_at: 1_700_000_000_000_000 + number as i64,
            modified_at: 1_700_000_000_000_000 + number as i64 * 1_000,
            mentions: Vec::new(),
            deleted: false,
            embeddings: Embeddings::Replace(vec![Embedding { model: MODEL.to_owned(), vector: self.vector(&mut random) }]),
        }
    }

    fn vector(&self, random: &mut ChaCha8Rng) -> Vec<f32> {
        let centre = &self.centres[random.next_u32() as usize % self.centres.len()];
        let noise = random_vector(random, self.dimension);
        centre.iter().zip(noise).map(|(centre, noise)| centre + noise).collect()
    }
}

fn random_vector(random: &mut ChaCha8Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| random.next_u32() as f32 / u32::MAX as f32 - 0.5).collect()
}

fn word(random: &mut ChaCha8Rng) -> String {
    // About Zipf's law: the cube of an even number makes small ones frequent.
    let even = f64::from(random.next_u32()) / f64::from(u32::MAX);
    format!("word{}", (even.powi(3) * 20_000.0) as u32)
}

fn text(random: &mut ChaCha8Rng) -> String {
    (0..8).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

async fn fill(projection: &mut Projection, corpus: &Corpus) -> Done {
    let half = corpus.rows / 2;
    let start = Instant::now();
    projection.rebuild((0..half).map(|number| corpus.row(number, 0)), 1, NOW).await?;
    rate("rebuild (rows made included)", half, start);
    let start = Instant::now();
    let mut spent = Duration::ZERO;
    for first in (half..corpus.rows).step_by(BATCH as usize) {
        let changes = (first..corpus.rows.min(first + BATCH)).map(|number| upsert(corpus.row(number, 0))).collect();
        let applying = Instant::now();
        projection.apply(changes, first, NOW).await?;
        spent += applying.elapsed();
    }
    rate("append by 1,000 (rows made included)", corpus.rows - half, start);
    println!("  of which applying: {:.2} s", spent.as_secs_f64());
    Ok(())
}

/// Upserts of 1,000 and of single rows, tidied in between.
async fn write(projection: &mut Projection, corpus: &Corpus) -> Done {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut number = move || u64::from(random.next_u32()) % corpus.rows;
    let (mut thousands, mut ones) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for round in 1..=60 {
        let changes = (0..BATCH).map(|_| upsert(corpus.row(number(), round))).collect();
        thousands.push(timed(projection.apply(changes, round, NOW)).await?);
        while let Some(work) = projection.due(NOW) {
            do_work(projection, work).await?;
        }
    }
    rate("upsert by 1,000 with maintenance", 60 * BATCH, start);
    percentiles("upsert 1,000 rows", thousands);
    for round in 100..150 {
        let change = upsert(corpus.row(number(), round));
        ones.push(timed(projection.apply(vec![change], round, NOW)).await?);
    }
    percentiles("upsert 1 row", ones);
    Ok(())
}

async fn search(reader: &Reader, corpus: &Corpus) -> Done {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    type Make<'a> = Box<dyn FnMut() -> Query + 'a>;
    let mut kinds: Vec<(&str, Make<'_>)> = Vec::new();
    let query = || Query { limit: 10, ..Query::default() };
    let mut words = random.clone();
    let mut text = move || Some(format!("{} {}", word(&mut words), word(&mut words)));
    let mut vectors = random.clone();
    let mut vector = move || Some(QueryVector { model: MODEL.to_owned(), vector: corpus.vector(&mut vectors) });
    let (mut text_again, mut vector_again) = (text.clone(), vector.clone());
    let open = || Filter { metadata: vec![("status".to_owned(), json!("open"))], ..Filter::default() };
    let mut vector_filtered = vector.clone();
    kinds.push(("full-text", Box::new(move || Query { text: text(), ..query() })));
    kinds.push(("vector", Box::new(move || Query { vector: vector(), ..query() })));
    kinds.push(("hybrid", Box::new(move || Query { text: text_again(), vector: vector_again(), ..query() })));
    kinds.push(("vector, filtered by metadata", Box::new(move || Query { vector: vector_filtered(), filter: open(), ..query() })));
    let rows = corpus.rows;
    let recent = move || {
        let from = 1_700_000_000_000_000 + i64::from(random.next_u32()) % (rows as i64 * 1_000);
        let modified = TimeRange { from: Some(from), until: Some(from + 100_000) };
        Query { filter: Filter { types: vec!["task".to_owned()], modified, ..Filter::default() }, ..query() }
    };
    kinds.push(("type and time", Box::new(recent)));
    for (name, mut make) in kinds {
        let mut times = Vec::new();
        for _ in 0..SEARCHES {
            times.push(timed(reader.search(&make())).await?);
        }
        percentiles(name, times);
    }
    let mut times = Vec::new();
    for number in 0..SEARCHES {
        let id = corpus.row(number * 7 % corpus.rows, 0).id;
        times.push(timed(reader.get(&[&id])).await?);
    }
    percentiles("get by id", times);
    Ok(())
}

/// What a device that starts with a table has to wait for, and to hold in memory.
async fn again(folder: &Path, mark: Mark) -> Done {
    memory("a new process");
    let start = Instant::now();
    let Opened { projection, state } = Projection::open(folder, Some(mark), Settings::default()).await?;
    println!("open: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    if let State::Empty(doubt) = state {
        return Err(doubt.into());
    }
    memory("opened again");
    let verification = projection.verification().ok_or("there is a mark")?;
    let (bytes, start) = (verification.bytes(), Instant::now());
    verification.run().await?;
    println!("verify {} MiB: {:.2} s", bytes >> 20, start.elapsed().as_secs_f64());
    search(&projection.reader(), &Corpus::from_environment()).await?;
    memory("opened and searched");
    Ok(())
}

async fn tidy(projection: &mut Projection) -> Result<Mark, Box<dyn std::error::Error>> {
    for work in [Work::Compact, Work::Index, Work::Prune] {
        do_work(projection, work).await?;
    }
    Ok(projection.checkpoint(NOW).await?)
}

async fn do_work(projection: &mut Projection, work: Work) -> Done {
    let start = Instant::now();
    match work {
        Work::Checkpoint => projection.checkpoint(NOW).await.map(|_| ())?,
        work => while projection.maintain(work).await?.more {},
    }
    println!("  {work:?}: {:.2} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn upsert(row: Row) -> Change {
    Change::Upsert(Box::new(row))
}

async fn timed<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<Duration, E> {
    let start = Instant::now();
    work.await.map(|_| start.elapsed())
}

fn rate(name: &str, rows: u64, start: Instant) {
    println!("{name}: {:.0} rows/s", rows as f64 / start.elapsed().as_secs_f64());
}

fn percentiles(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).or_else(|| times.last()).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!("{name}: p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
}

/// Resident memory now, how much of it the process made itself (the rest is the program's file), and its peak, where the system tells.
fn memory(when: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib >> 10)
    };
    println!("memory, {when}: {} MiB, {} MiB of it anonymous, peak {} MiB", mib("VmRSS:"), mib("RssAnon:"), mib("VmHWM:"));
}

fn bytes(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}
