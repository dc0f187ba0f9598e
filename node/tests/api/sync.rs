//! How sync stands, as the API tells it: now, as a stream, and after it was asked for.

use nodespace_node::sync::status::{StatusBoard, StatusInput};
use nodespace_node::sync::{DeviceStatus, Target};
use nodespace_protocol::ids::DeviceId;
use serde_json::json;

use crate::support::{Api, Events};
use crate::wire::Wire;

const PEER: Target = Target::peer(DeviceId([7; 32]));

/// A board as whoever syncs keeps it.
fn board(operations: u64) -> StatusBoard {
    let mut board = StatusBoard::new([1; 32], operations);
    board.handle(StatusInput::Reachable(PEER));
    board
}

#[tokio::test]
async fn who_syncs_with_nobody_is_told_so() {
    let api = Api::open().await;
    api.create("a").await;
    let status = api.get("/v1/sync").await.ok();
    assert_eq!((&status["summary"]["state"], &status["targets"], &status["operations"]), (&json!("local_only"), &json!([]), &json!(2)));
    assert!(api.get("/v1/status").await.ok()["sync"].as_str().unwrap().starts_with("local only"));
    assert_eq!(api.call("POST", "/v1/sync", json!({})).await.code(), "unavailable");
}

#[tokio::test]
async fn synced_is_said_as_long_as_it_is_true() {
    let api = Api::open().await;
    let workspace = api.device.workspace(None).unwrap();
    let mut events = Events::open(&api, "/v1/sync/stream").await;
    let first = events.next().await.unwrap();
    assert_eq!(first.name, "sync");
    assert!(first.data.contains("local_only"), "{}", first.data);
    let mut board = board(10);
    board.handle(StatusInput::Confirmed { target: PEER, digest: [1; 32], wall_ms: 5 });
    workspace.publish_sync_status(board.status());
    let told: DeviceStatus = serde_json::from_str(&events.next().await.unwrap().data).unwrap();
    assert!(told.is_synced());
    assert_eq!(api.get("/v1/sync").await.ok(), serde_json::to_value(&told).unwrap());
    assert_eq!(api.get("/v1/status").await.ok()["sync"], "synced with all 1");

    board.handle(StatusInput::Held { digest: [2; 32], operations: 13 });
    workspace.publish_sync_status(board.status());
    let told: DeviceStatus = serde_json::from_str(&events.next().await.unwrap().data).unwrap();
    assert!(!told.is_synced());
    let status = api.get("/v1/sync").await.ok();
    assert_eq!(status["targets"][0]["missing_there"], json!({ "known": "at_most", "operations": 3 }));
    assert_eq!((&status["targets"][0]["rate"], &status["targets"][0]["last_success_ms"]), (&json!(0), &json!(5)));
}

#[tokio::test]
async fn a_sync_that_is_asked_for_names_whom() {
    let api = Api::open().await;
    Wire::attach(&api.device, &[]);
    assert!(api.call("POST", "/v1/sync?wait_ms=1000", json!({})).await.status.is_success());
    assert!(api.call("POST", "/v1/sync?target=relay", json!({})).await.status.is_success());
    for (target, code) in [("12345678", "not_found"), ("1", "invalid_request"), ("nobody-at-all", "invalid_request")] {
        assert_eq!(api.call("POST", &format!("/v1/sync?target={target}"), json!({})).await.code(), code, "{target}");
    }
    let own = api.device.id().to_string();
    assert_eq!(
        api.call("POST", &format!("/v1/sync?target={own}"), json!({})).await.code(),
        "not_found",
        "with oneself there is nothing to sync"
    );
    assert_eq!(api.call("POST", "/v1/sync?wait_ms=-1", json!({})).await.code(), "invalid_request");
}
