//! `nodespace-relay check-packet`: what a packet holds, or why it would be refused.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::view::{Authors, Encoding, SyncSecurity};
use nodespace_relay::inspection::{Inspection, PacketContents, PacketReport};

/// Arguments of `nodespace-relay check-packet`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckPacketArguments {
    /// The file with the packet; `-` reads standard input.
    file: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// How the packet is written; without this the first byte tells.
    #[arg(long, value_enum)]
    encoding: Option<EncodingName>,
    /// How the packet is compressed; without this the first bytes tell.
    #[arg(long, value_enum)]
    compression: Option<CompressionName>,
    /// Refuse operations that another device than the sender's signed.
    #[arg(long)]
    sender_only: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum EncodingName {
    Json,
    Cbor,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CompressionName {
    None,
    Gzip,
    Zstd,
}

/// Reads the file and prints the report.
pub(crate) fn run(arguments: &CheckPacketArguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let inspection = arguments.inspection();
    let bytes = read(&arguments.file, inspection.limits.encoded_max)?;
    let report = inspection.inspect(&bytes);
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print_text(&report, out)?;
    }
    out.flush()?;
    Ok(if report.refusal.is_some() { ExitCode::from(super::EXIT_REFUSED) } else { ExitCode::SUCCESS })
}

impl CheckPacketArguments {
    fn inspection(&self) -> Inspection {
        let authors = if self.sender_only { Authors::SenderOnly } else { Authors::Anybody };
        Inspection {
            encoding: self.encoding.map(|name| match name {
                EncodingName::Json => Encoding::Json,
                EncodingName::Cbor => Encoding::Cbor,
            }),
            compression: self.compression.map(|name| match name {
                CompressionName::None => CompressionType::None,
                CompressionName::Gzip => CompressionType::Gzip,
                CompressionName::Zstd => CompressionType::Zstd,
            }),
            security: SyncSecurity { authors, ..SyncSecurity::default() },
            ..Inspection::default()
        }
    }
}

/// The file's bytes, at most one more than is allowed: that is enough to see that it is too large.
fn read(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
    };
    let mut bytes = Vec::new();
    source.take(max as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn print_text(report: &PacketReport, out: &mut impl Write) -> std::io::Result<()> {
    let compression = format!("{:?}", report.compression).to_lowercase();
    writeln!(out, "form        {}, compression {compression}", report.encoding.unwrap_or("unknown"))?;
    match (report.decoded_bytes, report.ratio) {
        (Some(decoded), Some(ratio)) => writeln!(out, "bytes       {} as sent, {decoded} read, ratio {ratio:.2}", report.encoded_bytes)?,
        _ => writeln!(out, "bytes       {} as sent", report.encoded_bytes)?,
    }
    if let Some(contents) = &report.contents {
        print_contents(contents, out)?;
    }
    match &report.refusal {
        Some(refusal) => writeln!(out, "refused     {}: {}", refusal.code, refusal.message),
        None => writeln!(out, "accepted    whether the authors are members is for the relay's database to say"),
    }
}

fn print_contents(contents: &PacketContents, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "workspace   {}", contents.workspace_id)?;
    writeln!(out, "sender      user {}, device {}", contents.user_id, contents.device_id)?;
    writeln!(out, "has seen    version {} of epoch {}", contents.last_known_version, contents.epoch)?;
    writeln!(out, "segments    {} by {} devices, {} bytes", contents.segments, contents.authors.len(), contents.segment_bytes)?;
    let operations: usize = contents.operations.values().sum();
    writeln!(out, "operations  {operations}, {} with a view, {} bytes of content", contents.views, contents.content_bytes)?;
    for (kind, count) in &contents.operations {
        writeln!(out, "            {count:>8} {kind:?}")?;
    }
    Ok(())
}
