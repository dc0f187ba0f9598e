//! The change stream and the status stream: nothing twice, nothing left out, however the client comes and goes.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Api, Event, Events, PATIENCE};

async fn follow(api: &Api, path: &str, last: Option<&str>) -> Events {
    let request = last.into_iter().fold(api.request("GET", path), |request, id| request.header("last-event-id", id));
    Events::of(api.begin(request.body(Body::empty()).unwrap()).await)
}

/// The nodes made since `cursor`, page by page.
async fn created_since(api: &Api, cursor: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), cursor.to_owned());
    loop {
        let page = api.get(&format!("/v1/changes?cursor={cursor}&limit=7")).await.ok();
        let changes = page["changes"].as_array().unwrap();
        ids.extend(changes.iter().filter(|change| change["kind"] == "create").map(|change| change["node_id"].as_str().unwrap().to_owned()));
        cursor = page["cursor"].as_str().unwrap().to_owned();
        if page["more"] == false {
            return ids;
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_and_goes_sees_each_change_exactly_once() {
    let api = Api::open().await;
    let begin = api.cursor().await;
    let writes = async {
        for n in 0..200 {
            api.create(&format!("n{n:03}")).await;
        }
        api.create("end").await;
    };
    let reads = async {
        let (mut seen, mut last, mut connections) = (Vec::new(), begin.clone(), 0_usize);
        'all: loop {
            // The address stays what it was; only the header moves on, as with a browser.
            let mut events = follow(&api, &format!("/v1/changes/stream?cursor={begin}"), Some(&last)).await;
            assert_eq!(events.next().await.unwrap().name, "ready");
            connections += 1;
            for _ in 0..connections % 17 + 1 {
                let Event { name, id, data } = events.next().await.unwrap();
                assert_eq!(name, "change");
                let change: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(change["cursor"], id);
                last = id;
                if change["kind"] == "create" {
                    seen.push(change["node_id"].as_str().unwrap().to_owned());
                }
                if change["node_id"] == "end" {
                    break 'all;
                }
            }
        }
        (seen, connections)
    };
    let ((), (seen, connections)) = tokio::join!(writes, reads);
    let mut expected: Vec<String> = (0..200).map(|n| format!("n{n:03}")).collect();
    expected.push("end".to_owned());
    assert_eq!(seen, expected);
    assert!(connections > 15, "{connections}");
    assert_eq!(created_since(&api, &begin).await, expected);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let api = Api::open().await;
    let mut events = follow(&api, "/v1/changes/stream", None).await;
    // Not one event is taken while a thousand happen.
    let items: Vec<Value> = (0..1_000).map(|n| json!({ "do": "create", "id": format!("n{n:04}") })).collect();
    assert_eq!(api.call("POST", "/v1/batch", json!({ "items": items })).await.ok()["done"], 1_000);
    assert_eq!(events.next().await.unwrap().name, "ready");
    let mut seen = Vec::new();
    while seen.len() < 1_000 {
        let change = events.next().await.unwrap().json();
        if change["kind"] == "create" {
            seen.push(change["node_id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, (0..1_000).map(|n| format!("n{n:04}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_a_cursor_it_begins_now_and_with_start_at_the_beginning() {
    let api = Api::open().await;
    api.create("early").await;
    let mut now = follow(&api, "/v1/changes/stream", None).await;
    let ready = now.next().await.unwrap();
    assert_eq!((ready.name.as_str(), ready.json()["cursor"].as_str()), ("ready", Some(ready.id.as_str())));
    let mut all = follow(&api, "/v1/changes/stream?cursor=start", None).await;
    assert_eq!(all.next().await.unwrap().name, "ready");
    let mut first = all.next().await.unwrap().json();
    while first["kind"] == "workspace" {
        first = all.next().await.unwrap().json();
    }
    assert_eq!(first["node_id"], "early");
    api.create("late").await;
    let mut next = now.next().await.unwrap().json();
    while next["kind"] != "create" {
        next = now.next().await.unwrap().json();
    }
    assert_eq!(next["node_id"], "late");
    assert_eq!(created_since(&api, &ready.id).await, ["late"]);
}

#[tokio::test]
async fn a_change_names_the_client_that_caused_it_and_its_operation() {
    let api = Api::open().await;
    let begin = api.cursor().await;
    let request = api.request("POST", "/v1/nodes").header("x-nodespace-client", "editor-7").header("content-type", "application/json");
    let reply = api.send(request.body(Body::from(r#"{"id":"a"}"#)).unwrap()).await.ok();
    api.create("b").await;
    let changes = api.get(&format!("/v1/changes?cursor={begin}")).await.ok();
    let of = |id: &str| changes["changes"].as_array().unwrap().iter().find(|change| change["node_id"] == id).unwrap().clone();
    assert_eq!((&of("a")["origin"]["client"], &of("a")["op"]), (&json!("editor-7"), &reply["op"]));
    assert_eq!((&of("a")["origin"]["local"], &of("b")["origin"]["client"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_there() {
    let api = Api::with(|options| options.heartbeat = Duration::from_millis(10)).await;
    for path in ["/v1/changes/stream", "/v1/status/stream"] {
        let mut events = follow(&api, path, None).await;
        for _ in 0..3 {
            events.comment().await;
        }
    }
}

#[tokio::test]
async fn streams_end_cleanly_when_the_api_stops() {
    let api = Api::open().await;
    api.create("a").await;
    let cursor = api.cursor().await;
    let mut waiting = follow(&api, "/v1/changes/stream", None).await;
    assert_eq!(waiting.next().await.unwrap().name, "ready");
    let mut status = follow(&api, "/v1/status/stream", None).await;
    assert_eq!(status.next().await.unwrap().name, "status");
    let path = format!("/v1/changes?cursor={cursor}&wait_ms=60000");
    let poll = api.get(&path);
    let stop = async {
        // The long poll counts as a stream, so it can be seen to wait.
        while !String::from_utf8_lossy(&api.get("/metrics").await.bytes).contains("nodespace_api_streams 3") {
            tokio::task::yield_now().await;
        }
        api.options.stop.cancel();
    };
    let (answer, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(poll, stop) }).await.unwrap();
    let page = answer.ok();
    assert_eq!((&page["changes"], &page["cursor"]), (&json!([]), &json!(cursor)));
    assert_eq!(waiting.next().await, None);
    assert_eq!(status.next().await, None);
}

#[tokio::test]
async fn a_long_poll_answers_when_something_happens() {
    let api = Api::open().await;
    let cursor = api.cursor().await;
    for cursor in [format!("cursor={cursor}&"), String::new()] {
        let path = format!("/v1/changes?{cursor}wait_ms=60000");
        let poll = api.get(&path);
        let write = async {
            while !String::from_utf8_lossy(&api.get("/metrics").await.bytes).contains("nodespace_api_streams 1") {
                tokio::task::yield_now().await;
            }
            api.call("POST", "/v1/nodes", json!({ "content": "x" })).await.ok()["node"]["id"].clone()
        };
        let (answer, id) = tokio::time::timeout(PATIENCE, async { tokio::join!(poll, write) }).await.unwrap();
        let page = answer.ok();
        assert!(page["changes"].as_array().unwrap().iter().any(|change| change["node_id"] == id), "{page}");
    }
    let end = api.cursor().await;
    let page = api.get(&format!("/v1/changes?cursor={end}&wait_ms=1")).await.ok();
    assert_eq!((&page["changes"], &page["cursor"], &page["more"]), (&json!([]), &json!(end), &json!(false)));
}

#[tokio::test]
async fn the_status_stream_shows_the_present_and_not_every_step() {
    let api = Api::with(|options| options.status_pause = Duration::from_millis(100)).await;
    let mut events = follow(&api, "/v1/status/stream", None).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.json()), ("status", &api.get("/v1/status").await.ok()));
    for n in 0..100 {
        api.create(&format!("n{n}")).await;
    }
    let end = api.get("/v1/status").await.ok();
    let mut shown = 0;
    loop {
        let status = events.next().await.unwrap().json();
        shown += 1;
        if status["cursor"] == end["cursor"] {
            break;
        }
    }
    assert!(shown < 100, "{shown} events for 100 writes");
}

#[tokio::test]
async fn there_are_only_so_many_streams_and_a_closed_one_makes_room() {
    let api = Api::open().await;
    let mut open: Vec<Events> = futures::stream::iter(0..128).then(|_| follow(&api, "/v1/changes/stream", None)).collect().await;
    let refused = api.get("/v1/changes/stream").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(api.get("/v1/status").await.status, StatusCode::OK);
    open.pop();
    follow(&api, "/v1/status/stream", None).await;
}
