//! Text merging: recorded histories from decoded events to the finished text, and a crowd at one place.
//!
//! The traces are found in the folder named by `NODESPACE_DATA`, or in `shared/data` beside the repository.
#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "a benchmark may read its data and say that it is missing")]

use std::hint::black_box;
use std::io::Read as _;
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nodespace_protocol::text::trace::Trace;
use nodespace_protocol::text::{EventIndex, GapBuffer, TextMerge, TextPatch};

/// How many devices insert at one place.
const CROWD: u32 = 10_000;

/// The largest transaction an editor would commit, in patches.
const BURST_PATCHES_MAX: usize = 20;

fn load(name: &str) -> Option<Trace> {
    let folder =
        std::env::var("NODESPACE_DATA").map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = folder.join("traces").join(format!("{name}.json.gz"));
    let Ok(packed) = std::fs::read(&path) else {
        eprintln!("skipped: no {} (set NODESPACE_DATA to the folder of the test data)", path.display());
        return None;
    };
    let mut json = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut json).expect("the data is gzip");
    Some(Trace::parse(&json).expect("the data is well formed"))
}

/// A trace as a receiver has it: decoded, parents resolved.
struct Decoded<'a> {
    trace: &'a Trace,
    parents: Vec<Vec<EventIndex>>,
}

impl<'a> Decoded<'a> {
    fn new(trace: &'a Trace) -> Self {
        let parents = trace.transactions.iter().map(|transaction| transaction.parents.iter().map(|parent| EventIndex(*parent)).collect());
        Self { trace, parents: parents.collect() }
    }

    /// From events to the finished text, in one batch or with a merge after each event.
    fn replay(&self, each: bool) -> String {
        let mut merge = TextMerge::new(0);
        let mut text = GapBuffer::new();
        for (number, (transaction, parents)) in (0_u32..).zip(self.trace.transactions.iter().zip(&self.parents)) {
            merge.push(parents, (transaction.agent, number), &transaction.patches).expect("parents come first");
            if each {
                merge.merge(&mut text);
            }
        }
        merge.merge(&mut text);
        text.to_string()
    }
}

fn traces(criterion: &mut Criterion) {
    for name in ["friendsforever", "automerge-paper", "sveltecomponent"] {
        let Some(trace) = load(name) else { continue };
        let mut group = criterion.benchmark_group(name);
        for (form, trace) in
            [("transactions", &trace), ("single_edits", &trace.single_edits()), ("bursts", &trace.bursts(BURST_PATCHES_MAX))]
        {
            let decoded = Decoded::new(trace);
            assert!(decoded.replay(false) == trace.end_content, "{name}, {form}: another text");
            group.throughput(Throughput::Elements(u64::try_from(trace.transactions.len()).unwrap_or(u64::MAX)));
            group.bench_function(BenchmarkId::new("batch", form), |bencher| bencher.iter(|| black_box(decoded.replay(false))));
            group.bench_function(BenchmarkId::new("one_by_one", form), |bencher| bencher.iter(|| black_box(decoded.replay(true))));
        }
        group.finish();
    }
}

/// All insert at the start of one base, with keys in no relation to arrival.
fn crowd(criterion: &mut Criterion) {
    let patches = [TextPatch::new(0, 0, "word ")];
    let mut group = criterion.benchmark_group("crowd");
    group.sample_size(10);
    group.throughput(Throughput::Elements(CROWD.into()));
    for (form, each) in [("batch", false), ("one_by_one", true)] {
        group.bench_function(form, |bencher| {
            bencher.iter(|| {
                let mut merge = TextMerge::new(0);
                let mut text = GapBuffer::new();
                for number in 0..CROWD {
                    merge.push(&[], number.wrapping_mul(0x9e37_79b1), &patches).expect("far from full");
                    if each {
                        merge.merge(&mut text);
                    }
                }
                merge.merge(&mut text);
                black_box(text.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, traces, crowd);
criterion_main!(benches);
