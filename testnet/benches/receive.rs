//! A large workspace comes in over a device's disk: how fast, at what price in bytes and memory, and how soon it is open again.
//!
//! As [`replica`](../replica.rs), but durable: batches of a thousand operations are verified, folded and synced one after the other, and
//! checkpoints are written beside that in another thread whenever so much journal has gathered, as the device's engine does it. Every
//! step runs in a process of its own, so that memory and bytes written are the device's alone: the workload is written to a file first,
//! and the processes that take it in read it from there.
//!
//! `--bench` runs it on a million operations of a hundred thousand nodes, anything else on a hundredth of it. `--checkpoint-mib` takes
//! several values and receives once for each; what follows uses the last. `NODESPACE_BENCH_FOLDER` names the folder to work in (a
//! real disk: a temporary folder may be memory).
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock and prints")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Checkpoint, Saver, Store as _, StoreError};
use nodespace_protocol::text::TextPatch;
use nodespace_store::{DiskStore, StoreOptions};
use nodespace_testnet::generate::{Generator, Workload};

type Device = Replica<DiskStore>;

/// Nodes read by id, and edits made, for a percentile.
const READS: u64 = 20_000;
const EDITS: u64 = 2_000;
/// A stop with less journal than this since the last checkpoint takes none, as the engine's.
const CHECKPOINT_AT_STOP_BYTES_MIN: u64 = 256 * 1024;
/// What the process that is to be killed says when it may be.
const READY: &str = "acknowledged";

/// What is run.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// Operations.
    #[arg(long)]
    ops: Option<u64>,
    /// Nodes; a tenth of the operations unless given.
    #[arg(long)]
    nodes: Option<u64>,
    /// A checkpoint is begun when so many MiB of journal wait for one.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    checkpoint_mib: Vec<u64>,
    /// Memory for nodes to work with.
    #[arg(long, default_value = "16")]
    cache_mib: usize,
    /// Given by `cargo bench`.
    #[arg(long)]
    bench: bool,
    /// What a process that this one starts is to do.
    #[arg(long, hide = true)]
    step: Option<Step>,
    /// The folder it works in.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Write the workload to a file.
    Generate,
    /// Take it in, and stop cleanly.
    Receive,
    /// Take it in until killed.
    Crash,
    /// Open after a clean stop; read, edit.
    Open,
    /// Open after a crash.
    Recover,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Receive => "receive",
            Self::Crash => "crash",
            Self::Open => "open",
            Self::Recover => "recover",
        }
    }
}

impl Options {
    fn workload(&self) -> Workload {
        let ops = self.ops.unwrap_or_else(|| if self.bench { Workload::default().ops } else { 10_000 });
        Workload { ops, nodes: self.nodes.unwrap_or(ops / 10), ..Workload::default() }
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_mib.first().map_or(64 << 20, |mib| mib << 20)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let Some(step) = options.step else { return all(&options) };
    let folder = options.folder.clone().context("a step has a folder")?;
    match step {
        Step::Generate => generate(&options, &folder),
        Step::Receive | Step::Crash => receive(&options, &folder, step == Step::Crash),
        Step::Open => opened(&options, &folder),
        Step::Recover => recovered(&options, &folder),
    }
}

/// Runs the steps, each in its process.
fn all(options: &Options) -> Result<()> {
    let root = std::env::var_os("NODESPACE_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(root)?;
    println!("{:?}; load {}\n", options.workload(), std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    ensure!(step(options, Step::Generate, folder.path(), 0)?.status()?.success(), "the workload was not written");
    for mib in &options.checkpoint_mib {
        let store = folder.path().join("store");
        if store.exists() {
            std::fs::remove_dir_all(&store)?;
        }
        println!("\n| **a checkpoint each {mib} MiB of journal** | |");
        ensure!(step(options, Step::Receive, folder.path(), *mib)?.status()?.success(), "receiving failed");
    }
    let mib = options.checkpoint_mib.last().copied().unwrap_or(64);
    println!("\n| **after a clean stop** | |");
    ensure!(step(options, Step::Open, folder.path(), mib)?.status()?.success(), "opening failed");
    println!("\n| **after kill -9** | |");
    std::fs::remove_dir_all(folder.path().join("store"))?;
    killed(&mut step(options, Step::Crash, folder.path(), mib)?)?;
    ensure!(step(options, Step::Recover, folder.path(), mib)?.status()?.success(), "recovering failed");
    Ok(())
}

fn step(options: &Options, step: Step, folder: &Path, mib: u64) -> Result<Command> {
    let Workload { ops, nodes, .. } = options.workload();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--step", step.name(), "--ops", &ops.to_string(), "--nodes", &nodes.to_string()]);
    command.args(["--checkpoint-mib", &mib.to_string(), "--cache-mib", &options.cache_mib.to_string()]).arg("--folder").arg(folder);
    Ok(command)
}

/// Runs a process until it says that it is ready, and kills it while it goes on.
fn killed(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("the output is piped")?).lines();
    for line in lines {
        let line = line?;
        println!("{line}");
        if line.contains(READY) {
            child.kill()?;
        }
    }
    ensure!(!child.wait()?.success(), "the process ended before it was killed");
    Ok(())
}

fn spool(folder: &Path) -> PathBuf {
    folder.join("workload")
}

/// Writes batches to a file: the number of segments, then each with its length.
fn generate(options: &Options, folder: &Path) -> Result<()> {
    let start = Instant::now();
    let mut out = BufWriter::new(File::create(spool(folder))?);
    let mut bytes = 0;
    for batch in Generator::new(&options.workload())? {
        out.write_all(&(batch.segments.len() as u64).to_le_bytes())?;
        for segment in &batch.segments {
            out.write_all(&(segment.len() as u64).to_le_bytes())?;
            out.write_all(segment)?;
            bytes += segment.len();
        }
    }
    out.into_inner().context("the workload is written")?.sync_all()?;
    let each = bytes as f64 / options.workload().ops as f64;
    println!(
        "| written by its authors | {:.1} MB, {each:.0} bytes an operation, {:.0} s |",
        mega(bytes as u64),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The batches of the file.
struct Batches(BufReader<File>);

impl Batches {
    fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        if self.0.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let segments = (0..self.number()?).map(|_| {
            let mut bytes = vec![0; self.number()? as usize];
            self.0.read_exact(&mut bytes)?;
            Ok(bytes)
        });
        segments.collect::<Result<Vec<_>>>().map(Some)
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn open(options: &Options, folder: &Path) -> Result<Device> {
    let generator = Generator::new(&options.workload())?;
    let workspace = generator.workspace();
    let store = folder.join("store");
    std::fs::create_dir_all(&store)?;
    let store = DiskStore::open(&store, workspace, &StoreOptions::default())?;
    let mut device = Replica::open(workspace, store, Some(generator.founder()), generator.now())?;
    device.set_cache_bytes(options.cache_mib << 20);
    Ok(device)
}

/// Where the time of receiving goes, in seconds by the wall.
#[derive(Default)]
struct Spent {
    decoding: f64,
    folding: f64,
    syncing: f64,
    preparing: f64,
    longest: f64,
    stopping: f64,
}

/// Takes the workload in, with checkpoints beside it.
fn receive(options: &Options, folder: &Path, crash: bool) -> Result<()> {
    let now = Generator::new(&options.workload())?.now();
    let mut device = open(options, folder)?;
    let mut checkpoints = Checkpoints::new(device.store().saver());
    let mut batches = Batches(BufReader::with_capacity(1 << 20, File::open(spool(folder))?));
    let (mut ops, mut bytes, mut spent, mut ready) = (0_u64, 0_u64, Spent::default(), false);
    let (start, busy_before, cpu_before, written_before) = (Instant::now(), busy(), cpu(), written());
    while let Some(segments) = batches.next()? {
        bytes += segments.iter().map(Vec::len).sum::<usize>() as u64;
        ops += batch(&mut device, &segments, now, &mut spent)?;
        checkpoints.when_due(&mut device, options.checkpoint_bytes(), &mut spent)?;
        let since = device.store().bytes_since_checkpoint();
        let late = ops * 5 > options.workload().ops * 4 && since * 10 >= options.checkpoint_bytes() * 9;
        if crash && !ready && (late || ops * 20 > options.workload().ops * 19) {
            ready = true;
            println!("| operations {READY}, {:.1} MB of journal since the checkpoint | {ops} |", mega(since));
        }
    }
    let (received, busy_for) = (start.elapsed().as_secs_f64(), busy() - busy_before);
    let (memory, beside) = (status("VmRSS"), checkpoints.taken);
    let stopping = Instant::now();
    checkpoints.take_in(&mut device, true);
    if device.store().bytes_since_checkpoint() >= CHECKPOINT_AT_STOP_BYTES_MIN {
        device.checkpoint()?;
    }
    let (digest, rested) = (device.state_digest(), status("VmRSS"));
    let store = device.into_store();
    drop(checkpoints.saver.take());
    drop(store);
    spent.stopping = stopping.elapsed().as_secs_f64();
    let all = start.elapsed().as_secs_f64();
    println!("| received | {ops} ops, {:.1} MB; state {:02x}{:02x}{:02x}{:02x} |", mega(bytes), digest[0], digest[1], digest[2], digest[3]);
    println!("| by the wall | {:.0} ops/s; with the stop {:.0} ops/s |", ops as f64 / received, ops as f64 / all);
    println!("| by the writer's core | {:.0} ops/s |", ops as f64 / busy_for);
    println!("| processor of all threads | {:.1} s of {all:.1} s, the writer's {busy_for:.1} s |", cpu() - cpu_before);
    spent.print(beside);
    let (nodes, content) = (checkpoints.nodes, mega(checkpoints.bytes as u64));
    println!("| their content, without the last at the stop | {nodes} states, {content:.1} MB with the parts |");
    let on_disk = written() - written_before;
    println!("| written to disk | {:.1} MB, {:.2} of the bytes received |", mega(on_disk), on_disk as f64 / bytes as f64);
    for (name, size) in sizes(&folder.join("store"))? {
        println!("| at rest: {name} | {:.1} MB, {:.2} of the bytes received |", mega(size), size as f64 / bytes as f64);
    }
    println!("| memory when received, after the last checkpoint, at most | {memory:.1} MiB, {rested:.1} MiB, {:.1} MiB |", status("VmHWM"));
    Ok(())
}

/// Takes in a batch and makes it durable; answers the operations that were new.
fn batch(device: &mut Device, segments: &[Vec<u8>], now: nodespace_protocol::clock::Timestamp, spent: &mut Spent) -> Result<u64> {
    let mut ops = 0;
    for bytes in segments {
        let start = Instant::now();
        let segment = Segment::decode(bytes)?;
        spent.decoding += start.elapsed().as_secs_f64();
        let start = Instant::now();
        ops += u64::from(device.ingest(&segment, now)?.stored);
        spent.folding += start.elapsed().as_secs_f64();
    }
    let start = Instant::now();
    device.commit()?;
    spent.syncing += start.elapsed().as_secs_f64();
    let start = Instant::now();
    device.take_changed()?;
    spent.folding += start.elapsed().as_secs_f64();
    Ok(ops)
}

impl Spent {
    fn print(&self, taken: u32) {
        let Self { decoding, folding, syncing, preparing, longest, stopping } = self;
        println!("| of the wall | decoding {decoding:.1} s, verifying and folding {folding:.1} s, syncing {syncing:.1} s |");
        println!("| {taken} checkpoints | preparing {preparing:.1} s, the longest {:.0} ms; the stop {stopping:.1} s |", longest * 1e3);
    }
}

/// What the other thread gives back: its saver, bytes of states and parts, what came of saving them.
type Saved = (Box<dyn Saver>, usize, Result<(), StoreError>);

/// Checkpoints beside the writing, one at a time.
struct Checkpoints {
    saver: Option<Box<dyn Saver>>,
    done: Receiver<Saved>,
    tell: Sender<Saved>,
    taken: u32,
    nodes: usize,
    /// Bytes of states and parts, before they are packed into pages.
    bytes: usize,
}

impl Checkpoints {
    fn new(saver: Box<dyn Saver>) -> Self {
        let (tell, done) = channel();
        Self { saver: Some(saver), done, tell, taken: 0, nodes: 0, bytes: 0 }
    }

    fn when_due(&mut self, device: &mut Device, bytes: u64, spent: &mut Spent) -> Result<()> {
        self.take_in(device, false);
        if device.store().bytes_since_checkpoint() < bytes {
            return Ok(());
        }
        let Some(mut saver) = self.saver.take() else { return Ok(()) };
        let start = Instant::now();
        let prepared = device.prepare_checkpoint()?.context("none is being saved")?;
        let took = start.elapsed().as_secs_f64();
        (spent.preparing, spent.longest) = (spent.preparing + took, spent.longest.max(took));
        (self.taken, self.nodes) = (self.taken + 1, self.nodes + prepared.nodes());
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            let checkpoint = prepared.encode();
            let bytes = size_of(&checkpoint);
            let outcome = saver.save(checkpoint);
            tell.send((saver, bytes, outcome)).ok();
        });
        Ok(())
    }

    fn take_in(&mut self, device: &mut Device, wait: bool) {
        if self.saver.is_some() {
            return;
        }
        let saved = if wait { self.done.recv().ok() } else { self.done.try_recv().ok() };
        let Some((saver, bytes, outcome)) = saved else { return };
        self.bytes += bytes;
        device.finish_checkpoint(outcome.is_ok());
        self.saver = Some(saver);
        outcome.expect("the disk takes the checkpoint");
    }
}

fn size_of(checkpoint: &Checkpoint) -> usize {
    let nodes: usize = checkpoint.nodes.iter().map(|(_, bytes)| bytes.len()).sum();
    nodes + checkpoint.parts.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
}

/// Opening in a fresh process.
fn timed_open(options: &Options, folder: &Path) -> Result<Device> {
    let (before, start) = (status("VmRSS"), Instant::now());
    let device = open(options, folder)?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    println!(
        "| opened | {took:.0} ms, {} ops, {:.1} MB to fold |",
        device.store().op_count(),
        mega(device.store().bytes_since_checkpoint())
    );
    println!("| memory before, opened, at most | {before:.1} MiB, {:.1} MiB, {:.1} MiB |", status("VmRSS"), status("VmHWM"));
    Ok(device)
}

fn opened(options: &Options, folder: &Path) -> Result<()> {
    let mut device = timed_open(options, folder)?;
    let digest = device.state_digest();
    println!("| state | {:02x}{:02x}{:02x}{:02x} |", digest[0], digest[1], digest[2], digest[3]);
    let workload = options.workload();
    let generator = Generator::new(&workload)?;
    let mut times = Vec::new();
    for number in 0..READS {
        let id = generator.node(scattered(number, workload.nodes));
        let start = Instant::now();
        device.view(&id)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("| a node by id, at random | {} |", percentiles(&mut times));
    edits(&mut device, &generator, folder, &workload)?;
    println!("| memory after both | {:.1} MiB |", status("VmRSS"));
    Ok(())
}

/// Single edits, each durable, in turns with a bare append and `fdatasync` of as many bytes.
fn edits(device: &mut Device, generator: &Generator, folder: &Path, workload: &Workload) -> Result<()> {
    let mut bare = OpenOptions::new().create(true).append(true).open(folder.join("bare"))?;
    let (mut edits, mut appends, mut bytes) = (Vec::new(), Vec::new(), 0);
    for number in 0..EDITS {
        let id = generator.node(scattered(number + READS, workload.nodes));
        let before = device.store().journal().size_bytes();
        let start = Instant::now();
        device.edit_text(generator.now(), &id, vec![TextPatch::new(0, 0, "a word ")])?;
        device.commit()?;
        edits.push(start.elapsed().as_secs_f64() * 1e6);
        let grown = device.store().journal().size_bytes() - before;
        bytes += grown;
        let content = vec![0xa5; grown as usize];
        let start = Instant::now();
        bare.write_all(&content)?;
        bare.sync_data()?;
        appends.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("| an edit, durable ({} bytes) | {} |", bytes / EDITS, percentiles(&mut edits));
    println!("| a bare append and fdatasync | {} |", percentiles(&mut appends));
    Ok(())
}

fn recovered(options: &Options, folder: &Path) -> Result<()> {
    timed_open(options, folder).map(drop)
}

/// The `number`-th of a walk all over `all`.
const fn scattered(number: u64, all: u64) -> u64 {
    number.wrapping_mul(7_919).wrapping_add(number / 3) % all
}

fn percentiles(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    format!("p50 {:.1} us, p99 {:.1} us", times[times.len() / 2], times[times.len() * 99 / 100])
}

/// The sizes of what lies in a folder, folders as a whole.
fn sizes(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let size = if entry.file_type()?.is_dir() { sizes_sum(&entry.path())? } else { entry.metadata()?.len() };
        sizes.push((entry.file_name().to_string_lossy().into_owned(), size));
    }
    sizes.sort();
    Ok(sizes)
}

fn sizes_sum(folder: &Path) -> Result<u64> {
    Ok(sizes(folder)?.iter().map(|(_, size)| size).sum())
}

/// Seconds that this thread has kept a core busy, where the system tells (Linux).
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// Seconds of processor that the whole process has used, where the system tells (Linux).
fn cpu() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Bytes that this process has had written to disk, in pages, where the system tells (Linux).
fn written() -> u64 {
    field("/proc/self/io", "write_bytes")
}

/// A number of the process in MiB.
fn status(name: &str) -> f64 {
    field("/proc/self/status", name) as f64 / 1024.0
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
