//! The targets: one for every decoder, and what becomes of what was decoded.

use nodespace_protocol::compress::{CompressionType, Limits, decompress};
use nodespace_protocol::delta::ContentDelta;
use nodespace_protocol::membership::{DeviceTicket, Ticket};
use nodespace_protocol::op::{Header, OpType, Payload, Segment};
use nodespace_protocol::session::Message;
use nodespace_protocol::session::message::{FRAME_BYTES_MAX, SEGMENTS_BYTES_MAX};
use nodespace_protocol::text::trace::{History, Trace};
use nodespace_protocol::vector::QuantisedVector;

use crate::{checkpoint, packet, seeds, workspace};

/// One function under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Comes back whatever the bytes are; panics when a property is broken.
    pub run: fn(&[u8]),
    /// The most bytes it may allocate at once, for an input of this length.
    pub allocation_max: fn(usize) -> usize,
    /// Good inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const MIB: usize = 1 << 20;

/// What every decoder keeps to that does not decompress: RELIABILITY's bound.
const fn decoder(len: usize) -> usize {
    4 * len + MIB
}

/// What is decompressed, while its buffer grows; plus a chunk.
const fn decompressed(len: usize) -> usize {
    2 * COMPRESS_LIMITS.decoded_max_of(len) + MIB
}

/// A frame of segments: the frame decompressed, the payloads once more, and as many operations as a frame may have.
const fn message(len: usize) -> usize {
    decoder(len) + 3 * FRAME_LIMITS.decoded_max_of(len) + 12 * MIB
}

/// Files on one's own disk, read once as JSON and once more in their final form: 24 bytes an edit, 8 on disk.
const fn trace(len: usize) -> usize {
    12 * len + MIB
}

const COMPRESS_LIMITS: Limits = Limits { encoded_max: 2 * MIB, decoded_max: 4 * MIB, ratio_max: 100 };
const FRAME_LIMITS: Limits = Limits { encoded_max: FRAME_BYTES_MAX, decoded_max: SEGMENTS_BYTES_MAX, ratio_max: 200 };

/// All targets.
pub const TARGETS: [Target; 17] = [
    Target { name: "header", run: header, allocation_max: decoder, seeds: seeds::headers },
    Target { name: "payload", run: payload, allocation_max: decoder, seeds: seeds::payloads },
    Target { name: "action", run: action, allocation_max: decoder, seeds: seeds::actions },
    Target { name: "segment", run: segment, allocation_max: decoder, seeds: seeds::segments },
    Target { name: "ticket", run: ticket, allocation_max: decoder, seeds: seeds::tickets },
    Target { name: "device_ticket", run: device_ticket, allocation_max: decoder, seeds: seeds::device_tickets },
    Target { name: "message", run: session_message, allocation_max: message, seeds: seeds::messages },
    Target { name: "vector", run: vector, allocation_max: decoder, seeds: seeds::vectors },
    Target { name: "delta", run: delta, allocation_max: decoder, seeds: seeds::deltas },
    Target { name: "gzip", run: gzip, allocation_max: decompressed, seeds: seeds::gzip },
    Target { name: "zstd", run: zstd, allocation_max: decompressed, seeds: seeds::zstd },
    Target { name: "packet", run: packet::read_packet, allocation_max: packet::allocation_max, seeds: seeds::packets },
    Target { name: "response", run: packet::read_response, allocation_max: packet::allocation_max, seeds: seeds::packets },
    Target { name: "trace", run: traces, allocation_max: trace, seeds: seeds::traces },
    Target { name: "checkpoint", run: checkpoint::open, allocation_max: checkpoint::allocation_max, seeds: seeds::checkpoints },
    Target { name: "ingest", run: workspace::ingest, allocation_max: workspace::allocation_max, seeds: seeds::runs },
    Target { name: "resigned", run: workspace::resigned, allocation_max: workspace::allocation_max, seeds: seeds::scripts },
];

fn header(bytes: &[u8]) {
    if let Ok((workspace, header)) = Header::decode(bytes) {
        assert_eq!(header.encode(&workspace), bytes, "a header has one encoding");
    }
}

fn payload(bytes: &[u8]) {
    for kind in [OpType::Create, OpType::Update, OpType::Delete, OpType::Move, OpType::Metadata] {
        if let Ok(payload) = Payload::decode(kind, bytes) {
            assert_eq!(payload.encode(), bytes, "a payload has one encoding");
        }
    }
}

fn action(bytes: &[u8]) {
    if let Ok(payload) = Payload::decode(OpType::Workspace, bytes) {
        assert_eq!(payload.encode(), bytes, "an action has one encoding");
    }
}

fn segment(bytes: &[u8]) {
    if let Ok(segment) = Segment::decode(bytes) {
        assert!(segment.encode() == bytes, "a segment has one encoding");
    }
}

fn ticket(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(ticket) = Ticket::parse(text) {
        assert_eq!(ticket.to_text(), text.trim().to_ascii_lowercase(), "a ticket has one text");
    }
}

fn device_ticket(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(ticket) = DeviceTicket::parse(text) {
        assert_eq!(ticket.to_text(), text.trim().to_ascii_lowercase(), "a device ticket has one text");
    }
}

fn session_message(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes)
        && !matches!(message, Message::Segments(_) | Message::Bye { .. })
    {
        assert!(message.encode() == bytes, "a message has one encoding");
    }
}

fn vector(bytes: &[u8]) {
    if let Ok(vector) = QuantisedVector::from_bytes(bytes) {
        assert!(vector.to_bytes() == bytes, "a vector has one encoding");
        let again = QuantisedVector::quantise(&vector.dequantise()).map(|again| again.values().to_vec());
        assert!(again.is_ok_and(|values| values == vector.values()), "a vector that was quantised stays as it is");
    }
}

fn delta(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(delta) = ContentDelta::parse(text) {
        for old in ["", "a\nb\nc"] {
            drop(delta.apply(old));
        }
    }
}

fn gzip(bytes: &[u8]) {
    drop(decompress(bytes, CompressionType::Gzip, COMPRESS_LIMITS));
}

fn zstd(bytes: &[u8]) {
    drop(decompress(bytes, CompressionType::Zstd, COMPRESS_LIMITS));
}

fn traces(bytes: &[u8]) {
    if let Ok(trace) = Trace::parse(bytes) {
        drop((trace.single_edits(), trace.bursts(8)));
    }
    drop(History::parse_all(bytes));
}
