//! What a device does in a second: edits, imports, reads, searches, openings, through the same methods that the API and the command line
//! call.
//!
//! ```text
//! cargo bench -p nodespace-node --bench device                           everything, the large workspace with 100,000 nodes
//! cargo bench -p nodespace-node --bench device -- edits writers          only these
//! cargo bench -p nodespace-node --bench device -- large --nodes 10000    the large workspace, a smaller one
//! ```
//!
//! | part | |
//! |---|---|
//! | `edits` | one edit at a time against an append and `fdatasync` of the same bytes, in turns |
//! | `writers` | 64 at once against one, in turns |
//! | `import` | the Markdown corpus: into the journal, into the table, and read by id |
//! | `large` | `--nodes` nodes, each with a vector, and `--edits` edits of them: read by id, searched, opened in another process |
//!
//! `TMPDIR` says on which disk; `NODESPACE_DATA` where `rust-book` is, without which the small corpus of the repository is imported. What
//! a figure is held against is measured in the same run and in turns with it: a disk and a machine have moods.
#![expect(clippy::print_stdout, reason = "a benchmark's results are its output")]

mod edits;
mod import;
mod large;
mod support;

use std::path::Path;

use support::Done;

/// The argument that makes the benchmark open a home that another process of it has filled.
const OPEN: &str = "open-home";

/// What the command line says.
#[derive(Debug)]
struct Arguments {
    parts: Vec<String>,
    nodes: usize,
    edits: usize,
}

impl Arguments {
    fn read() -> Result<Self, Box<dyn std::error::Error>> {
        let mut read = Self { parts: Vec::new(), nodes: 100_000, edits: 0 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--nodes" => read.nodes = arguments.next().ok_or("--nodes wants a number")?.parse()?,
                "--edits" => read.edits = arguments.next().ok_or("--edits wants a number")?.parse()?,
                "edits" | "writers" | "import" | "large" => read.parts.push(argument),
                other => return Err(format!("`{other}` is no part of this benchmark: edits, writers, import, large").into()),
            }
        }
        Ok(read)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, first, home, projection] = arguments.as_slice()
        && first == OPEN
    {
        return runtime.block_on(large::open_again(Path::new(home), projection == large::WITH_PROJECTION));
    }
    runtime.block_on(run(&Arguments::read()?))
}

async fn run(arguments: &Arguments) -> Done {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load at the start: {}", load.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    if arguments.wants("edits") {
        edits::alone(false).await?;
        edits::alone(true).await?;
    }
    if arguments.wants("writers") {
        edits::together().await?;
    }
    if arguments.wants("import") {
        import::corpus().await?;
    }
    if arguments.wants("large") {
        large::workspace(arguments.nodes, arguments.edits).await?;
    }
    Ok(())
}
