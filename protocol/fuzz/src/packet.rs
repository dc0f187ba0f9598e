//! Packets and responses of the documented view, in JSON and CBOR, compressed or not.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::compress::{CompressionType, Limits};
use nodespace_protocol::replica::LogRange;
use nodespace_protocol::view::packet::{Cursor, Sender, SyncPacket};
use nodespace_protocol::view::{Encoding, SyncResponse};

use crate::workspace;

const LIMITS: Limits = Limits { encoded_max: 1 << 20, decoded_max: 4 << 20, ratio_max: 128 };

/// What is decompressed, and what it holds: a value takes at least a byte, and some 64 once it is read.
pub(crate) const fn allocation_max(len: usize) -> usize {
    64 * LIMITS.decoded_max_of(len) + (1 << 20)
}

pub(crate) fn read_packet(bytes: &[u8]) {
    if let Ok((packet, _)) = SyncPacket::from_bytes(bytes, LIMITS) {
        let known = |_: &nodespace_protocol::op::segment::Position| None;
        drop(packet.verify_consistency(&known));
        drop(packet.to_bytes(Encoding::Cbor));
    }
}

pub(crate) fn read_response(bytes: &[u8]) {
    if let Ok((response, _)) = SyncResponse::from_bytes(bytes, LIMITS) {
        drop(response.to_bytes(Encoding::Json));
    }
}

/// Packets with the small workspace's operations, written in every way.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let replica = workspace::open();
    let Some(device) = replica.device() else { return Vec::new() };
    let sender = Sender { workspace: replica.workspace(), user: workspace::user(), device };
    let pull = SyncPacket::pull(sender, Cursor { epoch: 1, version: 2 }, Timestamp::from_ms(1_700_000_000_000));
    let mut push = pull.clone();
    for (log, entry) in replica.logs().iter() {
        let mut range = LogRange { log: *log, branch: 0, after: 0, through: entry.last_seq() };
        while let Ok(Some(reached)) = push.push(&replica, &range) {
            range.after = reached;
        }
    }
    let mut seeds = Vec::new();
    for packet in [pull, push.clone().without_views(), push] {
        for compression in [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd] {
            for encoding in [Encoding::Json, Encoding::Cbor] {
                seeds.extend(SyncPacket { compression, ..packet.clone() }.to_bytes(encoding));
            }
        }
    }
    seeds
}
