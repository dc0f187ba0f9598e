//! What a full workspace takes, and what it does not.

use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::membership::Role;
use nodespace_protocol::view::{Encoding, SyncPacket};

use crate::world::{Answer, Device, TestRelay};

/// Sends everything that was not acknowledged; without compression, since the same letter many times over would shrink suspiciously well.
async fn push(relay: &TestRelay, device: &Device) -> (SyncPacket, Answer) {
    let packet = SyncPacket { compression: CompressionType::None, ..device.packet(64) };
    let answer = device.send(relay, &packet, Encoding::Cbor).await;
    (packet, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_workspace_acknowledges_what_it_has_and_takes_what_changes_its_membership() {
    let relay = TestRelay::with(|config| config.quota.workspace_mib = 1).await;
    let mut device = Device::found();
    device.login(&relay).await;
    device.sync(&relay).await;
    let text = "x".repeat(50_000);
    (0..20).for_each(|number| device.create(&format!("n{number}"), &text));
    let (packet, answer) = push(&relay, &device).await;
    let stored = answer.sync().applied_operations;
    assert_eq!(stored.len(), 20);
    // The acknowledgement was lost: the same again takes no room.
    let (_, again) = push(&relay, &device).await;
    assert_eq!(again.sync().applied_operations, stored);
    device.create("n20", &text);
    // Some of it is here, and for what is not there is no room: segments that are here are acknowledged, the one that is not is named.
    let (mixed, answer) = push(&relay, &device).await;
    let response = answer.sync();
    assert!(response.applied_operations.len() > 10 && stored.starts_with(&response.applied_operations));
    let [left] = response.left_out.as_slice() else { panic!("one segment is left out: {:?}", response.left_out) };
    assert_eq!((left.segment as usize, left.code.as_str(), left.waits), (mixed.segments.len() - 1, "quota_exceeded", false));
    // Alone it is refused.
    device.note_applied(&packet, &again.sync());
    let (_, answer) = push(&relay, &device).await;
    assert_eq!(answer.refusal(), (507, "quota_exceeded".into()));
    // What changes the membership gets in, with what stands before it in its log.
    drop(device.invite(Role::Viewer));
    let (packet, answer) = push(&relay, &device).await;
    assert_eq!((answer.sync().applied_operations.len(), answer.sync().left_out.len()), (2, 0));
    device.note_applied(&packet, &answer.sync());
    // But not without end.
    (21..24).for_each(|number| device.create(&format!("n{number}"), &text));
    drop(device.invite(Role::Viewer));
    let (_, answer) = push(&relay, &device).await;
    assert_eq!(answer.refusal(), (507, "quota_exceeded".into()));
}
