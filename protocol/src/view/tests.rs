//! Properties of packets, in prose:
//!
//! 1. Whatever a replica wrote, its packet comes back equal from JSON and from CBOR, compressed in any way.
//! 2. A packet that came back is consistent, and its segments are taken by another replica with the same resulting state.
//! 3. A packet of which any byte was changed either is refused with an error or still says what was signed. Nothing panics.
//! 4. A packet cut short is refused; so is one with bytes behind it.
//! 5. A view of which one field was changed is named, with the field.
//! 6. Any bytes at all: an error, no panic.
//!
//! The fixture writes one operation of every kind on one device and lets a second device of the same user write concurrently.

mod conflicts;
mod packets;
mod responses;

use serde_json::json;

use super::*;
use crate::clock::Timestamp;
use crate::conflict::Policy;
use crate::crypto::KeyPair;
use crate::ids::{LogId, NodeId, UserId};
use crate::membership::{Certificate, Role, WorkspaceAction};
use crate::replica::{Author, Founding, LogRange, NewEmbedding, NewNode, Replica};
use crate::store::MemoryStore;
use crate::text::TextPatch;
use crate::tree::Position;

type Device = Replica<MemoryStore>;

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

fn user() -> UserId {
    key(101).user()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000 + ms)
}

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

/// The founder, and a second device of the same user that holds everything.
fn two_devices() -> (Device, Device) {
    let founding = Founding { name: "test".into(), policy: Policy::default(), secret: [9; 32] };
    let certificate = Certificate::issue(&key(101), key(1).device());
    let author = |n: u8| Author { key: key(n), epoch: n.into() };
    let mut first = Device::found(MemoryStore::new(), author(1), certificate, founding, at(0)).unwrap();
    let certificate = Certificate::issue(&key(101), key(2).device());
    first.change_workspace(at(1), WorkspaceAction::AddDevice { certificate }).unwrap();
    let mut second = Device::open(first.workspace(), MemoryStore::new(), Some(author(2)), at(2)).unwrap();
    give(&mut first, &mut second);
    (first, second)
}

fn whole_log(device: &Device, log: LogId) -> LogRange {
    LogRange { log, branch: 0, after: 0, through: device.logs().get(&log).unwrap().last_seq() }
}

/// Everything one device holds, to the other.
fn give(from: &mut Device, to: &mut Device) {
    from.commit().unwrap();
    let packet = packet_of(from);
    for verified in packet.verify_consistency(&|_: &_| None).unwrap() {
        to.ingest(&verified.segment, at(90_000)).unwrap();
    }
    to.commit().unwrap();
}

fn sender(device: &Device) -> Sender {
    Sender { workspace: device.workspace(), user: user(), device: device.device().unwrap() }
}

/// A packet with all logs that a device holds.
fn packet_of(device: &Device) -> SyncPacket {
    let mut packet = SyncPacket::pull(sender(device), Cursor { epoch: 7, version: 3 }, at(99));
    let mut logs: Vec<LogId> = device.logs().iter().map(|(log, _)| *log).collect();
    // The founder's first: the other's operations rest on its membership.
    logs.sort_by_key(|log| log.device != key(1).device());
    for log in logs {
        let mut range = whole_log(device, log);
        while let Some(reached) = packet.push(device, &range).unwrap() {
            range.after = reached;
        }
    }
    packet
}

/// One operation of every kind, with what is awkward in text and numbers.
fn write_everything(device: &mut Device) {
    let node = |name: &str, parent: Option<&str>, text: &str| NewNode {
        metadata: json!({ "größe": { "tiefe": [1, -2, 0.1, 1e-300, u64::MAX, i64::MIN] }, "empty": {} }),
        mentions: vec![id("2025-08-30")],
        ..NewNode::text(id(name), parent.map(id), text)
    };
    device.create(at(10), node("2025-08-30", None, "")).unwrap();
    device.create(at(11), node("00000000-0000-0000-0000-000000000007", Some("2025-08-30"), "naïve 👩‍👩‍👧 \u{0}\u{1}\"\\\n")).unwrap();
    device.create(at(12), node("b", Some("2025-08-30"), "b")).unwrap();
    let embedding = NewEmbedding { model: "bge-small".into(), vector: (0..384).map(|n| (n as f32).sin() / 3.0).collect() };
    device.attach_embedding(at(13), &id("b"), &embedding).unwrap();
    device.edit_text(at(14), &id("b"), vec![TextPatch::new(1, 0, "éé"), TextPatch::new(0, 1, "")]).unwrap();
    device.set_text(at(15), &id("b"), "something else").unwrap();
    device.set_type(at(16), &id("b"), "task").unwrap();
    device.patch_metadata(at(17), &id("b"), json!({ "größe": null, "x": [{ "y": 0.30000000000000004 }] })).unwrap();
    device.mention(at(18), &id("b"), vec![id("c")], vec![id("2025-08-30")]).unwrap();
    device.move_node(at(19), &id("b"), None, &Position::First).unwrap();
    device.delete(at(20), &id("2025-08-30"), true).unwrap();
    device.restore_node(at(21), &id("2025-08-30")).unwrap();
    device.change_workspace(at(22), WorkspaceAction::AddMember { user: key(150).user(), role: Role::Viewer }).unwrap();
    device.remove_member(at(23), key(150).user()).unwrap();
    device.commit().unwrap();
}
