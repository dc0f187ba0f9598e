//! What a full workspace takes, and what it does not.

use axum::body::Bytes;
use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::membership::Role;
use nodespace_protocol::view::{Encoding, SyncPacket};
use nodespace_relay::auth::{Caller, Grant};
use nodespace_relay::refusal::Refusal;
use nodespace_relay::store::WorkspaceRow;
use nodespace_relay::sync::{Compression, SyncAnswer, SyncOptions};

use crate::world::{Answer, Device, TestRelay, eventually};

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

/// Brings a workspace on behalf of somebody who may, whoever has founded it.
async fn bring(relay: &TestRelay, carrier: &Device, founder: &Device) -> Result<SyncAnswer, Refusal> {
    let parts = relay.app.parts();
    let (user, device) = (carrier.user.user(), carrier.author.key.device());
    let packet = SyncPacket { user_id: user, device_id: device, ..founder.packet(64).without_views() };
    let bytes = Bytes::from(packet.to_bytes(Encoding::Cbor).unwrap());
    let epoch = parts.database.epoch().current();
    let caller = Caller { user, device, workspace: founder.workspace, grant: Grant::Founder, row: None, epoch };
    let options = SyncOptions { views: Some(false), pull: false, compression: Compression::default() };
    parts.sync.process_sync_packet(&caller, bytes, parts.memory.share(), options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workspaces_that_a_user_brings_at_once_the_one_too_many_is_refused() {
    let relay = TestRelay::with(|config| config.quota.workspaces_per_user = 1).await;
    let (carrier, one, other) = (Device::found(), Device::found(), Device::found());
    let database = &relay.app.parts().database;
    // Both are let in, since there is none yet, and then wait for each other or for this.
    let mut table = database.write().begin().await.unwrap();
    sqlx::query("LOCK TABLE workspaces IN SHARE MODE").execute(&mut *table).await.unwrap();
    let release = async {
        eventually("both wait", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(database.read()).await.unwrap();
            (waiting == 2).then_some(())
        })
        .await;
        table.rollback().await.unwrap();
    };
    let (first, second, ()) = tokio::join!(bring(&relay, &carrier, &one), bring(&relay, &carrier, &other), release);
    let refused = [first, second].into_iter().filter_map(Result::err).map(|refusal| refusal.code);
    assert_eq!(refused.collect::<Vec<_>>(), ["too_many_workspaces"]);
    assert_eq!(WorkspaceRow::founded_by(database.read(), &carrier.user.user()).await.unwrap(), 1);
    assert_eq!(bring(&relay, &carrier, &Device::found()).await.unwrap_err().code, "too_many_workspaces");
}
