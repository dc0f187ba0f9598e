//! `nodespace-testnet generate`: writes a workload to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::generate::{Generator, Workload};

/// Writes signed segments of several authors to a file, one after the other, each behind its length as four bytes, the least first.
#[derive(Debug, clap::Args)]
pub struct GenerateArguments {
    /// Operations in all.
    #[arg(long, default_value_t = 1_000_000)]
    pub ops: u64,
    /// Nodes that come to be.
    #[arg(long, default_value_t = 100_000)]
    pub nodes: u64,
    /// Devices that write.
    #[arg(long, default_value_t = 4)]
    pub authors: u32,
    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Writes the file.
///
/// # Errors
/// When the workload is none, or the file cannot be written.
pub fn run(arguments: &GenerateArguments, out: &mut dyn Write) -> Result<()> {
    let GenerateArguments { ops, nodes, authors, seed, .. } = *arguments;
    let generator = Generator::new(&Workload { ops, nodes, authors, seed })?;
    let writing = || format!("writing {}", arguments.out.display());
    let mut file = BufWriter::new(File::create(&arguments.out).with_context(writing)?);
    let (workspace, mut segments, mut bytes) = (generator.workspace(), 0_u64, 0_u64);
    for segment in generator.flat_map(|batch| batch.segments) {
        let len = u32::try_from(segment.len()).context("a segment has less than 4 GiB")?;
        file.write_all(&len.to_le_bytes()).with_context(writing)?;
        file.write_all(&segment).with_context(writing)?;
        segments += 1;
        bytes += u64::from(len);
    }
    file.flush().with_context(writing)?;
    writeln!(
        out,
        "{ops} operations on {nodes} nodes in {segments} segments, {bytes} bytes, workspace {}",
        nodespace_protocol::ids::hex(&workspace.0)
    )?;
    Ok(())
}
