//! What one does with nodes, through the API alone.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use serde_json::{Value, json};

use crate::support::Api;

#[tokio::test]
async fn a_node_is_made_changed_moved_deleted_and_brought_back() {
    let api = Api::open().await;
    api.create("plan").await;
    let made = api
        .call(
            "POST",
            "/v1/nodes",
            json!({ "id": "step", "type": "task", "content": "buy bread", "parent_id": "plan", "metadata": { "done": false } }),
        )
        .await;
    assert_eq!((made.status, made.headers[LOCATION].to_str().unwrap()), (StatusCode::CREATED, "/v1/nodes/step"));
    let changed = api.call("PATCH", "/v1/nodes/step", json!({ "content": "buy fresh bread", "metadata": { "done": true } })).await.ok();
    assert_eq!(changed["node"]["content"], "buy fresh bread");
    assert_eq!(changed["node"]["metadata"], json!({ "done": true }));
    let edit = json!({ "edits": [{ "position": 4, "delete": 5, "insert": "rye" }], "expected_heads": changed["node"]["heads"] });
    assert_eq!(api.call("PATCH", "/v1/nodes/step", edit).await.ok()["node"]["content"], "buy rye bread");
    let moved = api.call("POST", "/v1/nodes/step/move", json!({ "parent_id": null, "place": "first" })).await.ok();
    assert_eq!((&moved["node"]["parent_id"], &moved["node"]["before_sibling_id"]), (&Value::Null, &Value::Null));
    let deleted = api.send(api.request("DELETE", "/v1/nodes/step").body(Body::empty()).unwrap()).await.ok();
    assert_eq!(deleted["node"]["deleted"], true);
    let restored = api.send(api.request("POST", "/v1/nodes/step/restore").body(Body::empty()).unwrap()).await.ok();
    assert_eq!((&restored["node"]["deleted"], &restored["node"]["content"]), (&json!(false), &json!("buy rye bread")));
    let history = api.get("/v1/nodes/step/history").await.ok();
    let steps = history["steps"].as_array().unwrap();
    assert!(steps.len() >= 6, "{history}");
    let first = steps[0]["op"].as_str().unwrap();
    assert_eq!(api.get(&format!("/v1/nodes/step/at?op={first}")).await.ok()["content"], "buy bread");
}

#[tokio::test]
async fn an_explicit_place_is_kept_and_shown() {
    let api = Api::open().await;
    api.create("list").await;
    let put = async |id: &str, place: Value| {
        let body = json!({ "id": id, "content": id, "parent_id": "list", "place": place });
        api.call("POST", "/v1/nodes", body).await.ok()["node"]["before_sibling_id"].clone()
    };
    assert_eq!(put("b", json!("last")).await, Value::Null);
    assert_eq!(put("a", json!("first")).await, Value::Null);
    assert_eq!(put("d", json!("last")).await, "b");
    assert_eq!(put("c", json!({ "after": "b" })).await, "b");
    let ids =
        |page: &Value| page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let children = api.get("/v1/nodes/list/children").await.ok();
    assert_eq!(ids(&children), ["a", "b", "c", "d"]);
    let page = api.get("/v1/nodes/list/children?limit=3").await.ok();
    assert_eq!(ids(&page), ["a", "b", "c"]);
    let next = page["next"].as_str().unwrap();
    assert_eq!(ids(&api.get(&format!("/v1/nodes/list/children?after={next}")).await.ok()), ["d"]);
    assert_eq!(ids(&api.get("/v1/children").await.ok()), ["list"]);
    let wrong = api.call("POST", "/v1/nodes/a/move", json!({ "parent_id": "list", "place": { "after": "elsewhere" } })).await;
    assert_eq!(wrong.code(), "not_found");
    let cycle = api.call("POST", "/v1/nodes/list/move", json!({ "parent_id": "a" })).await;
    assert_eq!((cycle.status, cycle.code().as_str()), (StatusCode::CONFLICT, "cycle"));
    let tree = api.get("/v1/tree").await.ok();
    let lines: Vec<(u64, &str)> =
        tree["lines"].as_array().unwrap().iter().map(|line| (line["depth"].as_u64().unwrap(), line["id"].as_str().unwrap())).collect();
    assert_eq!(lines, [(0, "list"), (1, "a"), (1, "b"), (1, "c"), (1, "d")]);
}

#[tokio::test]
async fn any_id_survives_the_way_through_a_url() {
    let api = Api::open().await;
    for id in ["2025-08-30", "a/b", "a b", "100%", "?x=1&y#z", "ünï/çødé", "..", "%2F", "a+b", "\"quoted\"", "🌳"] {
        let made = api.call("POST", "/v1/nodes", json!({ "id": id, "content": id })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{id}: {}", made.json());
        let location = made.headers[LOCATION].to_str().unwrap().to_owned();
        assert_eq!(api.get(&location).await.ok()["id"], id, "{location}");
        assert_eq!(api.get(&format!("{location}/history")).await.ok()["steps"].as_array().unwrap().len(), 1, "{location}");
        let again = api.call("POST", "/v1/nodes", json!({ "id": id })).await;
        assert_eq!((again.status, again.code().as_str()), (StatusCode::CONFLICT, "already_exists"));
    }
    let minted = api.call("POST", "/v1/nodes", json!({ "content": "x" })).await.ok();
    assert_eq!(minted["node"]["id"].as_str().map(str::len), Some(36));
}

#[tokio::test]
async fn the_tag_changes_exactly_when_the_answer_does() {
    let api = Api::open().await;
    api.create("a").await;
    let tag = api.get("/v1/nodes/a").await.headers[ETAG].clone();
    let known = async || api.send(api.request("GET", "/v1/nodes/a").header(IF_NONE_MATCH, tag.clone()).body(Body::empty()).unwrap()).await;
    let unchanged = known().await;
    assert_eq!((unchanged.status, unchanged.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
    // Nothing of the node's own history changes here, and yet the answer does.
    api.call("POST", "/v1/nodes", json!({ "id": "before", "place": "first" })).await.ok();
    let changed = known().await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.json()["before_sibling_id"], "before");
}

#[tokio::test]
async fn a_batch_answers_for_each_item() {
    let api = Api::open().await;
    let version = api.create("old").await["node"]["version"].as_u64().unwrap();
    let items = json!({ "items": [
        { "do": "create", "id": "a", "content": "first" },
        { "do": "create", "id": "a", "content": "again" },
        { "do": "create", "id": "b", "content": "second", "parent_id": "a", "place": "first" },
        { "do": "update", "id": "old", "content": "mine", "expected_version": version + 7 },
        { "do": "update", "id": "old", "content": "mine", "expected_version": version },
        { "do": "move", "id": "a", "parent_id": "b" },
        { "do": "move", "id": "b", "parent_id": "old", "place": "last" },
        { "do": "delete", "id": "a" },
        { "do": "restore", "id": "a" },
        { "do": "embed", "id": "a", "model": "m", "vector": [0.5, 0.5] },
        { "do": "delete", "id": "nowhere", "hard": true },
    ]});
    let reply = api.call("POST", "/v1/batch", items).await.ok();
    let outcomes: Vec<String> = reply["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| outcome["failed"]["code"].as_str().map_or_else(|| "done".to_owned(), str::to_owned))
        .collect();
    assert_eq!(outcomes, ["done", "already_exists", "done", "stale_version", "done", "cycle", "done", "done", "done", "done", "not_found"]);
    assert_eq!((&reply["done"], &reply["failed"]), (&json!(7), &json!(4)));
    assert_eq!(api.get("/v1/nodes/b").await.ok()["parent_id"], "old");
    assert_eq!(api.get("/v1/nodes/a").await.ok()["content"], "first");
    let empty = api.call("POST", "/v1/batch", json!({ "items": [] })).await.ok();
    assert_eq!((&empty["done"], &empty["failed"]), (&json!(0), &json!(0)));
    let many: Vec<Value> = (0..10_001).map(|_| json!({ "do": "restore", "id": "a" })).collect();
    let refused = api.call("POST", "/v1/batch", json!({ "items": many })).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "too_large"));
}

#[tokio::test]
async fn listing_goes_on_page_by_page() {
    let api = Api::open().await;
    let items: Vec<Value> =
        (0..25).map(|n| json!({ "do": "create", "id": format!("n{n:02}"), "type": if n % 5 == 0 { "task" } else { "text" } })).collect();
    api.call("POST", "/v1/batch", json!({ "items": items })).await.ok();
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let path = after.as_ref().map_or_else(|| "/v1/nodes?limit=7".to_owned(), |after| format!("/v1/nodes?limit=7&after={after}"));
        let page = api.get(&path).await.ok();
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = Some(next.to_owned());
    }
    assert_eq!(seen, (0..25).map(|n| format!("n{n:02}")).collect::<Vec<_>>());
    let tasks = api.get("/v1/nodes?type=task&type=date").await.ok();
    assert_eq!(tasks["nodes"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn health_and_metrics_say_how_the_device_is() {
    let api = Api::open().await;
    api.create("a").await;
    let health = api.get("/health").await.ok();
    assert_eq!((&health["status"], &health["problems"]), (&json!("ok"), &json!([])));
    api.get("/nowhere/secret-note").await;
    let answer = api.get("/metrics").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        r#"nodespace_api_requests_total{route="/v1/nodes",method="POST",status="201"} 1"#,
        r#"nodespace_api_requests_total{route="unmatched",method="GET",status="404"} 1"#,
        r#"nodespace_api_request_duration_seconds_count{route="/v1/nodes",method="POST"} 1"#,
        "nodespace_api_panics_total 0",
        "nodespace_api_streams 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("secret-note"));
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md")).unwrap();
    for metric in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(documented.contains(&format!("`{metric}")), "docs/OPERATIONS.md does not name {metric}");
    }
    api.options.stop.cancel();
    let stopping = api.get("/health").await;
    assert_eq!((stopping.status, &stopping.json()["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("stopping")));
}
