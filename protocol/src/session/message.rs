//! What two devices say to each other, and its bytes.
//!
//! A frame is one message: a byte that names it, then its body. Control messages are short arrays of CBOR; operations travel as
//! segments in their own form, compressed together. The transport delivers whole frames in order and says who the peer is.

use crate::compress::{CompressionType, Limits, compress, decompress};
use crate::crypto::Signature;
use crate::ids::{DeviceId, LogId, OpHash};
use crate::log::Head;
use crate::log::frontier::FrontierEntry;
use crate::membership::Certificate;
use crate::op::{Header, Segment};
use crate::replica::{Ladder, LogClaim};
use crate::wire::{self, DecodeError, EncodeResult, Encoder, Reader, put_uint};

/// The oldest and newest version of this protocol spoken here.
pub const VERSIONS: (u8, u8) = (1, 1);
/// The largest frame. A peer that announces a larger one is disconnected before it is read.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most segments in a frame.
pub const FRAME_SEGMENTS_MAX: usize = 1024;
/// The most operations in a frame of segments. An operation costs some 250 bytes once it is read and as few as five on the wire, or
/// far less than one compressed: without a bound a small frame could take gigabytes. What is sent here has at most some 20,000.
pub const FRAME_OPS_MAX: usize = 32_768;
/// The most bytes a frame of segments may have when decompressed.
pub const SEGMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most ranges or logs in one frontier message.
pub const FRONTIER_ITEMS_MAX: u64 = 16_384;
/// The most heads of one log in a frontier message: forks beyond it are compared again later.
pub const HEADS_MAX: u64 = 256;
/// The most rungs of a ladder.
pub const RUNGS_MAX: u64 = 4096;
/// The most logs of the receiver that claims are made on; of more those that it wrote last.
pub const CLAIMS_MAX: u64 = 8;
/// The longest reason in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// How a device that is not known yet shows that it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An invite's proof, as in its join.
    Join {
        /// The invite's operation.
        invite: OpHash,
        /// The user's certificate for the device.
        certificate: Certificate,
        /// By the invite's key over (workspace, user, device).
        proof: Signature,
    },
    /// A member's certificate for the device.
    Device(Certificate),
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ByeCode {
    /// Done, or shutting down.
    Closing,
    /// No version in common.
    Version,
    /// The peer does not know the workspace's secret.
    Stranger,
    /// Not a member, and no credential that holds.
    NotMember,
    /// Removed from the workspace.
    Removed,
    /// Something malformed was received.
    Malformed,
    /// Too much was received.
    Overload,
}

impl ByeCode {
    const ALL: [Self; 7] = [Self::Closing, Self::Version, Self::Stranger, Self::NotMember, Self::Removed, Self::Malformed, Self::Overload];
}

/// What a range of logs is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeContent {
    /// A fingerprint of all entries in the range, and how many there are.
    Fingerprint([u8; 16], u64),
    /// The entries themselves; an entry without heads says "I hold nothing of this log".
    Entries(Vec<FrontierEntry>),
}

/// Logs from `from` (inclusive) to `to` (exclusive; `None` = the end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first log id of the range.
    pub from: LogId,
    /// The first log id after it.
    pub to: Option<LogId>,
    /// What it is compared by.
    pub content: RangeContent,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First in both directions.
    Hello {
        /// Versions spoken, oldest and newest.
        versions: (u8, u8),
        /// Whether attachments are wanted.
        attachments: bool,
        /// Changes at every start of the program: tells a restart from a second connection.
        boot_nonce: u64,
        /// Random, for the tag.
        salt: [u8; 16],
        /// Shows that the sender knows the workspace's secret, for this pair of devices and this salt.
        tag: [u8; 16],
    },
    /// The receiver is not known as a member: show a credential.
    WhoAreYou,
    /// The answer to that, or brought along by a joiner.
    Credential(Credential),
    /// What is held, in a few bytes.
    Summary {
        /// Digest of the frontier.
        frontier: [u8; 32],
        /// The first bytes of the state digest.
        state: [u8; 8],
        /// Operations that are held but have no effect yet; states compare only when both have none.
        unfolded: u64,
    },
    /// How far the receiver's own logs are held here, with proof; at most [`CLAIMS_MAX`].
    Claims(Vec<LogClaim>),
    /// Ranges of logs to be compared.
    Frontier {
        /// Whether this answers entries of the receiver: then nothing is answered.
        reply: bool,
        /// The ranges.
        ranges: Vec<Range>,
    },
    /// Where branches of a log might part.
    Ladder {
        /// Whether the receiver's ladder is wanted.
        want: bool,
        /// Ours.
        ladder: Ladder,
    },
    /// What the sender is about to send, altogether.
    Plan {
        /// Operations.
        ops: u64,
        /// Bytes, estimated before compression.
        bytes: u64,
    },
    /// Operations.
    Segments(Vec<Segment>),
    /// Everything up to the n-th frame of segments is durable here.
    Ack {
        /// How many frames of segments of this session.
        frames: u64,
        /// The digest of the frontier then.
        frontier: [u8; 32],
    },
    /// Everything planned has been sent and acknowledged.
    Done {
        /// The digest of the frontier.
        frontier: [u8; 32],
    },
    /// The end.
    Bye {
        /// Why.
        code: ByeCode,
        /// In words, for a log.
        reason: String,
    },
}

mod tag {
    pub(super) const HELLO: u8 = 0;
    pub(super) const WHO_ARE_YOU: u8 = 1;
    pub(super) const CREDENTIAL: u8 = 2;
    pub(super) const SUMMARY: u8 = 3;
    pub(super) const FRONTIER: u8 = 4;
    pub(super) const LADDER: u8 = 5;
    pub(super) const PLAN: u8 = 6;
    pub(super) const SEGMENTS: u8 = 7;
    pub(super) const ACK: u8 = 8;
    pub(super) const DONE: u8 = 9;
    pub(super) const BYE: u8 = 10;
    pub(super) const CLAIMS: u8 = 11;
}

impl Message {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        match self {
            Self::Segments(segments) => {
                out.push(tag::SEGMENTS);
                encode_segments(&mut out, segments);
            }
            Self::WhoAreYou => out.push(tag::WHO_ARE_YOU),
            other => {
                out.push(other.tag());
                wire::encode_into(&mut out, |e| other.encode_body(e));
            }
        }
        out
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Hello { .. } => tag::HELLO,
            Self::WhoAreYou => tag::WHO_ARE_YOU,
            Self::Credential(_) => tag::CREDENTIAL,
            Self::Summary { .. } => tag::SUMMARY,
            Self::Claims(_) => tag::CLAIMS,
            Self::Frontier { .. } => tag::FRONTIER,
            Self::Ladder { .. } => tag::LADDER,
            Self::Plan { .. } => tag::PLAN,
            Self::Segments(_) => tag::SEGMENTS,
            Self::Ack { .. } => tag::ACK,
            Self::Done { .. } => tag::DONE,
            Self::Bye { .. } => tag::BYE,
        }
    }

    fn encode_body(&self, e: &mut Encoder<'_>) -> EncodeResult {
        match self {
            Self::Hello { versions, attachments, boot_nonce, salt, tag } => {
                e.array(6)?.u8(versions.0)?.u8(versions.1)?.bool(*attachments)?.u64(*boot_nonce)?.bytes(salt)?.bytes(tag)?;
            }
            Self::Credential(Credential::Join { invite, certificate, proof }) => {
                e.array(3)?.bytes(&invite.0)?;
                certificate.encode(e)?;
                e.bytes(&proof.0)?;
            }
            Self::Credential(Credential::Device(certificate)) => {
                e.array(1)?;
                certificate.encode(e)?;
            }
            Self::Summary { frontier, state, unfolded } => {
                e.array(3)?.bytes(frontier)?.bytes(state)?.u64(*unfolded)?;
            }
            Self::Claims(claims) => {
                e.array(claims.len() as u64 * 2)?;
                for claim in claims {
                    e.bytes(&claim.header.encode(&claim.workspace))?.bytes(&claim.signature.0)?;
                }
            }
            Self::Frontier { reply, ranges } => {
                e.array(2)?.bool(*reply)?.array(ranges.len() as u64)?;
                ranges.iter().try_for_each(|range| encode_range(e, range))?;
            }
            Self::Ladder { want, ladder } => {
                e.array(4)?.bool(*want)?;
                encode_log(e, &ladder.log)?;
                e.array(ladder.rungs.len() as u64 * 2)?;
                for rung in &ladder.rungs {
                    e.u64(rung.seq)?.bytes(&rung.hash.0)?;
                }
            }
            Self::Plan { ops, bytes } => {
                e.array(2)?.u64(*ops)?.u64(*bytes)?;
            }
            Self::Ack { frames, frontier } => {
                e.array(2)?.u64(*frames)?.bytes(frontier)?;
            }
            Self::Done { frontier } => {
                e.array(1)?.bytes(frontier)?;
            }
            Self::Bye { code, reason } => {
                e.array(2)?.u8(*code as u8)?.str(&reason[..reason.floor_char_boundary(REASON_BYTES_MAX)])?;
            }
            Self::Segments(_) | Self::WhoAreYou => {}
        }
        Ok(())
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is not one message in its form, or exceeds a bound.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { what: "bytes of a frame", found: frame.len() as u64, max: FRAME_BYTES_MAX as u64 });
        }
        let (tag, body) = frame.split_first().ok_or(DecodeError::Truncated("a frame"))?;
        if *tag == tag::SEGMENTS {
            return decode_segments(body).map(Self::Segments);
        }
        if *tag == tag::WHO_ARE_YOU {
            return if body.is_empty() { Ok(Self::WhoAreYou) } else { Err(DecodeError::Trailing(body.len())) };
        }
        let d = &mut minicbor::Decoder::new(body);
        let message = Self::decode_body(*tag, d)?;
        wire::finish(d)?;
        wire::shortest(body)?;
        Ok(message)
    }

    fn decode_body(tag: u8, d: &mut minicbor::Decoder<'_>) -> Result<Self, DecodeError> {
        const WHAT: &str = "a session message";
        let cbor = DecodeError::cbor(WHAT);
        Ok(match tag {
            tag::HELLO => {
                wire::expect_array(d, 6, WHAT)?;
                Self::Hello {
                    versions: (d.u8().map_err(&cbor)?, d.u8().map_err(&cbor)?),
                    attachments: d.bool().map_err(&cbor)?,
                    boot_nonce: d.u64().map_err(&cbor)?,
                    salt: wire::decode_array(d, WHAT)?,
                    tag: wire::decode_array(d, WHAT)?,
                }
            }
            tag::CREDENTIAL => Self::Credential(decode_credential(d)?),
            tag::SUMMARY => {
                wire::expect_array(d, 3, WHAT)?;
                Self::Summary {
                    frontier: wire::decode_array(d, WHAT)?,
                    state: wire::decode_array(d, WHAT)?,
                    unfolded: d.u64().map_err(&cbor)?,
                }
            }
            tag::CLAIMS => {
                let count = pairs(d, CLAIMS_MAX, "claims on logs")?;
                Self::Claims((0..count).map(|_| decode_claim(d)).collect::<Result<_, _>>()?)
            }
            tag::FRONTIER => {
                wire::expect_array(d, 2, WHAT)?;
                let reply = d.bool().map_err(&cbor)?;
                let count = wire::bounded_array(d, FRONTIER_ITEMS_MAX, "ranges in a frontier")?;
                Self::Frontier { reply, ranges: (0..count).map(|_| decode_range(d)).collect::<Result<_, _>>()? }
            }
            tag::LADDER => {
                wire::expect_array(d, 4, WHAT)?;
                let want = d.bool().map_err(&cbor)?;
                let log = decode_log(d)?;
                let count = pairs(d, RUNGS_MAX, "rungs of a ladder")?;
                let rungs = (0..count).map(|_| decode_head(d)).collect::<Result<_, _>>()?;
                Self::Ladder { want, ladder: Ladder { log, rungs } }
            }
            tag::PLAN => {
                wire::expect_array(d, 2, WHAT)?;
                Self::Plan { ops: d.u64().map_err(&cbor)?, bytes: d.u64().map_err(&cbor)? }
            }
            tag::ACK => {
                wire::expect_array(d, 2, WHAT)?;
                Self::Ack { frames: d.u64().map_err(&cbor)?, frontier: wire::decode_array(d, WHAT)? }
            }
            tag::DONE => {
                wire::expect_array(d, 1, WHAT)?;
                Self::Done { frontier: wire::decode_array(d, WHAT)? }
            }
            tag::BYE => {
                wire::expect_array(d, 2, WHAT)?;
                let code = ByeCode::ALL.get(usize::from(d.u8().map_err(&cbor)?)).copied();
                let reason = d.str().map_err(&cbor)?;
                if reason.len() > REASON_BYTES_MAX {
                    return Err(DecodeError::Invalid("a reason has at most 256 bytes"));
                }
                let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                Self::Bye { code: code.ok_or(DecodeError::Invalid("unknown reason to end a session"))?, reason: printable }
            }
            _ => return Err(DecodeError::Invalid("unknown session message")),
        })
    }
}

/// The number of pairs in an array of pairs.
fn pairs(d: &mut minicbor::Decoder<'_>, max: u64, what: &'static str) -> Result<u64, DecodeError> {
    let items = wire::bounded_array(d, max * 2, what)?;
    if items % 2 == 0 { Ok(items / 2) } else { Err(DecodeError::Invalid("a list of pairs has an odd number of items")) }
}

fn encode_log(e: &mut Encoder<'_>, log: &LogId) -> EncodeResult {
    e.bytes(&log.device.0)?.u32(log.epoch).map(drop)
}

fn decode_log(d: &mut minicbor::Decoder<'_>) -> Result<LogId, DecodeError> {
    let device = DeviceId(wire::decode_array(d, "a device key")?);
    Ok(LogId { device, epoch: d.u32().map_err(DecodeError::cbor("an epoch"))? })
}

fn decode_head(d: &mut minicbor::Decoder<'_>) -> Result<Head, DecodeError> {
    let seq = d.u64().map_err(DecodeError::cbor("a sequence number"))?;
    Ok(Head { seq, hash: OpHash(wire::decode_array(d, "an operation hash")?) })
}

/// A header in the form in which it is hashed, and a signature. No length is needed to bound a header: it has one encoding, of bounded
/// parts.
fn decode_claim(d: &mut minicbor::Decoder<'_>) -> Result<LogClaim, DecodeError> {
    let (workspace, header) = Header::decode(d.bytes().map_err(DecodeError::cbor("an operation header"))?)?;
    Ok(LogClaim { workspace, header, signature: Signature(wire::decode_array(d, "a signature")?) })
}

// A log is written as two items (device, epoch) inside the enclosing array.
fn encode_range(e: &mut Encoder<'_>, range: &Range) -> EncodeResult {
    e.array(3)?.array(2)?;
    encode_log(e, &range.from)?;
    match &range.to {
        Some(to) => {
            e.array(2)?;
            encode_log(e, to)?;
        }
        None => {
            e.null()?;
        }
    }
    match &range.content {
        RangeContent::Fingerprint(fingerprint, count) => {
            e.array(2)?.bytes(fingerprint)?.u64(*count)?;
        }
        RangeContent::Entries(entries) => {
            e.array(1)?.array(entries.len() as u64)?;
            for entry in entries {
                e.array(2 + entry.heads.len() as u64 * 2)?;
                encode_log(e, &entry.log)?;
                for head in &entry.heads {
                    e.u64(head.seq)?.bytes(&head.hash.0)?;
                }
            }
        }
    }
    Ok(())
}

fn decode_range(d: &mut minicbor::Decoder<'_>) -> Result<Range, DecodeError> {
    const WHAT: &str = "a range of logs";
    wire::expect_array(d, 3, WHAT)?;
    wire::expect_array(d, 2, WHAT)?;
    let from = decode_log(d)?;
    let to = wire::nullable(d, WHAT, |d| {
        wire::expect_array(d, 2, WHAT)?;
        decode_log(d)
    })?;
    let content = match wire::bounded_array(d, 2, WHAT)? {
        2 => RangeContent::Fingerprint(wire::decode_array(d, WHAT)?, d.u64().map_err(DecodeError::cbor(WHAT))?),
        1 => {
            let count = wire::bounded_array(d, FRONTIER_ITEMS_MAX, "logs in a frontier")?;
            RangeContent::Entries((0..count).map(|_| decode_entry(d)).collect::<Result<_, _>>()?)
        }
        _ => return Err(DecodeError::Invalid("a range is compared by a fingerprint or by its entries")),
    };
    Ok(Range { from, to, content })
}

fn decode_entry(d: &mut minicbor::Decoder<'_>) -> Result<FrontierEntry, DecodeError> {
    let items = wire::bounded_array(d, 2 + HEADS_MAX * 2, "heads of a log")?;
    if items < 2 || items % 2 != 0 {
        return Err(DecodeError::Invalid("a frontier entry is a log and pairs of position and hash"));
    }
    let log = decode_log(d)?;
    let heads = (0..(items - 2) / 2).map(|_| decode_head(d)).collect::<Result<_, _>>()?;
    Ok(FrontierEntry { log, heads })
}

fn decode_credential(d: &mut minicbor::Decoder<'_>) -> Result<Credential, DecodeError> {
    match wire::bounded_array(d, 3, "a credential")? {
        3 => Ok(Credential::Join {
            invite: OpHash(wire::decode_array(d, "an invite")?),
            certificate: Certificate::decode(d)?,
            proof: Signature(wire::decode_array(d, "a join proof")?),
        }),
        1 => Ok(Credential::Device(Certificate::decode(d)?)),
        _ => Err(DecodeError::Invalid("a credential is a join or a certificate")),
    }
}

/// The least size from which segments are compressed: below it the gain does not pay for the header.
const COMPRESS_BYTES_MIN: usize = 256;

/// Writes `0 or 1 (zstd)` and then, perhaps compressed, each segment preceded by its length.
fn encode_segments(out: &mut Vec<u8>, segments: &[Segment]) {
    let mut body = Vec::new();
    for segment in segments {
        let bytes = segment.encode();
        put_uint(&mut body, bytes.len() as u64);
        body.extend_from_slice(&bytes);
    }
    if body.len() >= COMPRESS_BYTES_MIN
        && let Ok(compressed) = compress(&body, CompressionType::Zstd)
        && compressed.len() < body.len()
    {
        out.push(1);
        out.extend_from_slice(&compressed);
    } else {
        out.push(0);
        out.extend_from_slice(&body);
    }
}

fn decode_segments(body: &[u8]) -> Result<Vec<Segment>, DecodeError> {
    let (method, body) = body.split_first().ok_or(DecodeError::Truncated("a frame of segments"))?;
    let decompressed;
    let body = match method {
        0 => body,
        1 => {
            let limits = Limits { encoded_max: FRAME_BYTES_MAX, decoded_max: SEGMENTS_BYTES_MAX, ratio_max: 200 };
            decompressed = decompress(body, CompressionType::Zstd, limits)
                .map_err(|_| DecodeError::Invalid("a frame of segments does not decompress within its bounds"))?;
            decompressed.as_slice()
        }
        _ => return Err(DecodeError::Invalid("unknown compression of segments")),
    };
    let mut reader = Reader::new(body);
    let mut segments: Vec<Segment> = Vec::new();
    let mut ops = 0;
    while reader.remaining() > 0 {
        if segments.len() == FRAME_SEGMENTS_MAX {
            return Err(DecodeError::Invalid("too many segments in a frame"));
        }
        let len = reader.len(SEGMENTS_BYTES_MAX, "bytes of a segment")?;
        let segment = Segment::decode(reader.take(len, "a segment")?)?;
        ops += segment.ops.len();
        if ops > FRAME_OPS_MAX {
            return Err(DecodeError::TooLarge { what: "operations in a frame", found: ops as u64, max: FRAME_OPS_MAX as u64 });
        }
        segments.push(segment);
    }
    Ok(segments)
}
