//! Long work, line by line.

use axum::http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

pub(crate) fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.headers[CONTENT_TYPE], "application/x-ndjson");
    std::str::from_utf8(&answer.bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_export_holds_every_node_once_in_outline_order() {
    let api = Api::open().await;
    let mut items = Vec::new();
    for day in 0..40 {
        items.push(json!({ "do": "create", "id": format!("d{day:02}") }));
        for n in 0..40 {
            items.push(
                json!({ "do": "create", "id": format!("d{day:02}n{n:02}"), "parent_id": format!("d{day:02}"), "content": "line\nbreak" }),
            );
        }
    }
    assert_eq!(api.call("POST", "/v1/batch", json!({ "items": items })).await.ok()["done"], 1_640);
    let ids: Vec<String> = lines(&api.get("/v1/export").await).iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
    let mut expected = ids.clone();
    expected.sort();
    assert_eq!(ids.len(), 1_640);
    assert_eq!(ids, expected);
    let part = lines(&api.get("/v1/export?root=d07").await);
    assert_eq!((part.len(), &part[0]["id"]), (41, &json!("d07")));
}

/// The result of a task, after checking that its lines are what they should be.
fn result(answer: &Answer) -> Value {
    let lines = lines(answer);
    let (last, before) = lines.split_last().unwrap();
    assert!(before.iter().all(|line| line["progress"]["step"].is_string() && line["progress"]["done"].is_u64()), "{before:?}");
    assert!(last["result"].is_object(), "{last}");
    last["result"].clone()
}

#[tokio::test]
async fn markdown_comes_in_once_however_often_it_is_imported() {
    let api = Api::open().await;
    let documents = json!({ "documents": [{ "path": "notes/plan.md", "markdown": "# Plan\n\n- buy bread\n  - rye\n" }] });
    let first = result(&api.call("POST", "/v1/import", documents.clone()).await);
    assert_eq!((&first["documents"], &first["failed"]), (&json!(1), &json!(0)), "{first}");
    assert!(first["operations"].as_u64().unwrap() > 0);
    let tree = api.get("/v1/tree").await.ok();
    let contents: Vec<&str> = tree["lines"].as_array().unwrap().iter().map(|line| line["content"].as_str().unwrap()).collect();
    assert!(contents.contains(&"buy bread") && contents.contains(&"rye"), "{contents:?}");
    let again = result(&api.call("POST", "/v1/import", documents).await);
    assert_eq!(again["operations"], 0, "{again}");
}

#[tokio::test]
async fn an_import_may_be_greater_than_other_bodies() {
    let api = Api::with(|options| {
        options.body_bytes_max = 1_000;
        options.import_bytes_max = 100_000;
    })
    .await;
    let of = |bytes: usize| json!({ "documents": [{ "path": "a.md", "markdown": "word ".repeat(bytes / 5) }] });
    result(&api.call("POST", "/v1/import", of(50_000)).await);
    assert_eq!(api.call("POST", "/v1/import", of(200_000)).await.code(), "too_large");
    assert_eq!(api.call("POST", "/v1/import", json!({ "documents": [], "folder": "x" })).await.code(), "invalid_request");
}

#[tokio::test]
async fn a_doctor_finds_nothing_wrong_with_a_new_device() {
    let api = Api::open().await;
    api.create("a").await;
    let report = result(&api.call("POST", "/v1/tasks/doctor", json!({})).await);
    assert_eq!(report["healthy"], true, "{report}");
}

#[tokio::test]
async fn a_backup_is_written_once() {
    let api = Api::open().await;
    api.create("a").await;
    let path = api.device.home().parent().unwrap().join("notes.backup");
    let request = json!({ "path": path });
    let report = result(&api.call("POST", "/v1/tasks/backup", request.clone()).await);
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert!(path.is_file());
    let again = api.call("POST", "/v1/tasks/backup", request).await;
    // Refused at once, or after a first word on progress: both are allowed.
    let code = if again.status.is_success() { lines(&again).last().unwrap()["error"]["code"].clone() } else { again.code().into() };
    assert_eq!(code, "already_exists");
}
