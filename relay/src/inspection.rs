//! Looking into a packet: what it holds, and whether it would be taken.
//!
//! The steps are those of a relay that receives it, as far as they go without knowing anything: decompression within limits, parsing,
//! decoding of the segments, signatures, views, content. What needs a database is not decided: whether the authors are members, whether
//! operations are new, whether what they build on is held. A report holds what was learnt up to the first step that failed.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::compress::{CompressionType, Limits, decompress};
use nodespace_protocol::ids::{DeviceId, UserId, WorkspaceId};
use nodespace_protocol::op::{OpType, Segment};
use nodespace_protocol::view::encoding::{self, PACKET_LIMITS};
use nodespace_protocol::view::{AuthenticatedUser, Encoding, Framing, Offline, PacketError, SyncPacket, SyncSecurity};
use serde::Serialize;

/// How a packet is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Inspection {
    /// The encoding, when it is known; otherwise the bytes tell.
    pub encoding: Option<Encoding>,
    /// The compression, when it is known; otherwise the bytes tell.
    pub compression: Option<CompressionType>,
    /// What is read at all.
    pub limits: Limits,
    /// What is taken.
    pub security: SyncSecurity,
}

/// The longest reason in a report, in characters. Parsers quote what they stumble over, and somebody else wrote that.
const MESSAGE_CHARACTERS_MAX: usize = 300;

impl Default for Inspection {
    fn default() -> Self {
        Self { encoding: None, compression: None, limits: PACKET_LIMITS, security: SyncSecurity::default() }
    }
}

/// What was found in a packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PacketReport {
    /// How the bytes are compressed.
    pub compression: CompressionType,
    /// How they are written: `json` or `cbor`; `None` when neither.
    pub encoding: Option<&'static str>,
    /// Bytes as they came.
    pub encoded_bytes: usize,
    /// Bytes once decompressed.
    pub decoded_bytes: Option<usize>,
    /// Decompressed bytes for each that came.
    pub ratio: Option<f64>,
    /// What the packet says and holds, when it could be parsed.
    pub contents: Option<PacketContents>,
    /// Why it is refused; `None` when it would be taken.
    pub refusal: Option<PacketRefusal>,
}

/// What a parsed packet says and holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PacketContents {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The sender.
    pub user_id: UserId,
    /// The sender's device.
    pub device_id: DeviceId,
    /// The incarnation of the relay's log that the next field counts in.
    pub epoch: u64,
    /// What the sender has seen of it.
    pub last_known_version: u64,
    /// Views.
    pub views: usize,
    /// Signed runs of operations.
    pub segments: usize,
    /// Bytes of the signed runs.
    pub segment_bytes: usize,
    /// Devices that signed them, the sender's or others'.
    pub authors: BTreeSet<DeviceId>,
    /// Operations in them, by type. Those up to the first segment that cannot be decoded.
    pub operations: BTreeMap<OpType, usize>,
    /// Bytes of their payloads and attachments.
    pub content_bytes: usize,
}

/// Why a packet is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PacketRefusal {
    /// A stable name.
    pub code: &'static str,
    /// The reason, for people.
    pub message: String,
}

impl Inspection {
    /// Looks into a packet.
    #[must_use]
    pub fn inspect(&self, bytes: &[u8]) -> PacketReport {
        let compression = self.compression.unwrap_or_else(|| Framing::detect_compression(bytes));
        let mut report = PacketReport {
            compression,
            encoding: None,
            encoded_bytes: bytes.len(),
            decoded_bytes: None,
            ratio: None,
            contents: None,
            refusal: None,
        };
        report.refusal = self.fill(&mut report, bytes).err();
        report
    }

    fn fill(&self, report: &mut PacketReport, bytes: &[u8]) -> Result<(), PacketRefusal> {
        let decoded = decompress(bytes, report.compression, self.limits).map_err(PacketError::from)?;
        report.decoded_bytes = Some(decoded.len());
        report.ratio = (!bytes.is_empty()).then(|| decoded.len() as f64 / bytes.len() as f64);
        let encoding = self.encoding.map_or_else(|| Encoding::detect(&decoded), Ok)?;
        report.encoding = Some(name_of(encoding));
        let packet: SyncPacket = encoding::parse(&decoded, encoding)?;
        report.contents = Some(contents(&packet));
        // Nobody has been authenticated: the sender is taken at its word.
        let sender = AuthenticatedUser { user: packet.user_id, device: packet.device_id };
        let judged = self.security.validate_sync_packet(&packet, &sender, &Offline);
        judged.map(drop).map_err(|error| PacketRefusal { code: error.code(), message: error.to_string() })
    }
}

impl From<PacketError> for PacketRefusal {
    fn from(error: PacketError) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self { code: error.code(), message: printable(&message) }
    }
}

/// The start of a message, without what could drive a terminal.
fn printable(message: &str) -> String {
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    let cut = message.chars().nth(MESSAGE_CHARACTERS_MAX).is_some();
    message.chars().take(MESSAGE_CHARACTERS_MAX).map(shown).chain(cut.then_some('…')).collect()
}

const fn name_of(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "json",
        Encoding::Cbor => "cbor",
    }
}

fn contents(packet: &SyncPacket) -> PacketContents {
    let mut contents = PacketContents {
        workspace_id: packet.workspace_id,
        user_id: packet.user_id,
        device_id: packet.device_id,
        epoch: packet.epoch,
        last_known_version: packet.last_known_version,
        views: packet.operations.len(),
        segments: packet.segments.len(),
        segment_bytes: packet.segments.iter().map(|segment| segment.bytes.len()).sum(),
        authors: BTreeSet::new(),
        operations: BTreeMap::new(),
        content_bytes: 0,
    };
    for segment in packet.segments.iter().map_while(|packed| Segment::decode(&packed.bytes).ok()) {
        contents.authors.insert(segment.log.device);
        contents.content_bytes += segment.content_bytes();
        for op in &segment.ops {
            *contents.operations.entry(op.kind).or_insert(0) += 1;
        }
    }
    contents
}
