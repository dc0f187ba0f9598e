//! Bodies that are not what they should be: none is half read, none brings the device down, none is guessed at.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

async fn typed(api: &Api, media: Option<&str>, body: &'static str) -> Answer {
    let request = api.request("POST", "/v1/nodes");
    let request = media.into_iter().fold(request, |request, media| request.header(CONTENT_TYPE, media));
    api.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn only_json_is_taken() {
    let api = Api::open().await;
    // The first three are what a form of any web page can send without asking.
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/json",
        "application/jsonx",
        "",
        "application/json; charset=latin1",
    ] {
        let answer = typed(&api, Some(media), "{}").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (415, "unsupported_media_type"), "{media}");
    }
    assert_eq!(typed(&api, None, "{}").await.code(), "unsupported_media_type");
    for media in ["application/json", "Application/JSON", "application/json; charset=UTF-8", "application/json;charset=\"utf-8\""] {
        assert_eq!(typed(&api, Some(media), "{}").await.status, StatusCode::CREATED, "{media}");
    }
}

fn nested(depth: usize, open: &str, close: &str) -> String {
    format!(r#"{{"content":"deep","metadata":{{"a":{}1{}}}}}"#, open.repeat(depth), close.repeat(depth))
}

#[tokio::test]
async fn nesting_ten_thousand_deep_is_an_error_and_not_a_crash() {
    let api = Api::open().await;
    let levels = [10_000, 1_000_000];
    let whole = levels.into_iter().flat_map(|depth| [nested(depth, "[", "]"), nested(depth, r#"{"a":"#, "}")]);
    let open = ["[", r#"{"metadata":"#, r#"{"a":"#].map(|open| open.repeat(10_000));
    for body in whole.chain(open) {
        let answer = api.raw("POST", "/v1/nodes", body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"), "{}", answer.json());
        let batch = format!(r#"{{"items":[{{"do":"create","content":"x","metadata":{body}}}]}}"#);
        assert_eq!(api.raw("POST", "/v1/batch", batch).await.code(), "invalid_request");
        assert_eq!(api.raw("POST", "/v1/search", format!(r#"{{"filters":{{"metadata":{body}}}}}"#)).await.code(), "invalid_request");
    }
    assert_eq!(api.get("/v1/nodes").await.ok()["total"], 0);
}

#[tokio::test]
async fn what_is_not_well_formed_is_refused_with_its_place() {
    let api = Api::open().await;
    let bodies: &[&[u8]] = &[
        b"",
        b"   ",
        b"null",
        b"[]",
        b"7",
        b"\"text\"",
        b"{",
        b"{\"content\":\"x\"",
        b"{\"content\":\"x\"}}",
        b"{\"content\":\"x\"} {}",
        b"{\"content\":\"x\"}\0",
        b"{\"content\":7}",
        b"{\"content\":\"x\",}",
        b"{'content':'x'}",
        b"{\"content\":\"\xff\xfe\"}",
        b"{\"content\":\"\xc0\xaf\"}",
        b"{\"content\":\"\xed\xa0\x80\"}",
        b"{\"content\":\"\\ud800\"}",
        b"{\"content\":\"a\nb\"}",
        b"\xef\xbb\xbf{\"content\":\"x\"}",
        b"{\"content\":\"x\",\"content\":\"y\"}",
        b"{\"content\":\"x\",\"parent_Id\":\"a\"}",
        b"{\"content\":\"x\",\"place\":\"middle\"}",
        b"{\"content\":\"x\",\"place\":{\"after\":7}}",
        b"{\"content\":\"x\",\"metadata\":[]}",
        b"{\"content\":\"x\",\"metadata\":{\"n\":NaN}}",
        b"{\"content\":\"x\",\"metadata\":{\"n\":1e999}}",
        b"{\"id\":null,\"content\":null}",
    ];
    for body in bodies {
        let answer = api.raw("POST", "/v1/nodes", Bytes::from_static(body)).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"), "{shown}: {}", answer.json());
    }
    assert_eq!(api.get("/v1/nodes").await.ok()["total"], 0);
    let message = api.raw("POST", "/v1/nodes", "{\n \"contnet\": \"x\"}").await.json()["message"].to_string();
    assert!(message.contains("contnet") && message.contains("content") && message.contains("line 2"), "{message}");
}

#[tokio::test]
async fn unknown_members_are_refused_everywhere() {
    let api = Api::open().await;
    api.create("a").await;
    let cases = [
        ("POST", "/v1/nodes", json!({ "content": "x", "extra": 1 })),
        ("PATCH", "/v1/nodes/a", json!({ "content": "x", "expectedVersion": 1 })),
        ("POST", "/v1/nodes/a/move", json!({ "parent": "a" })),
        ("PUT", "/v1/nodes/a/embeddings/m", json!({ "vector": [1.0], "dimension": 1 })),
        ("POST", "/v1/search", json!({ "text": "x", "top": 5 })),
        ("POST", "/v1/search", json!({ "text": "x", "filters": { "type": "text" } })),
        ("POST", "/v1/conflicts/a/00/resolve", json!({ "choice": "dismiss", "why": "" })),
        ("POST", "/v1/batch", json!({ "items": [], "atomic": true })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "create", "content": "x", "parent_Id": "a" }] })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "update", "id": "a", "contents": "x" }] })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "move", "id": "a", "parent": "a" }] })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "delete", "id": "a", "hrad": true }] })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "restore", "id": "a", "x": 1 }] })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "embed", "id": "a", "model": "m", "vector": [1.0], "x": 1 }] })),
        ("POST", "/v1/batch", json!({ "items": [{ "do": "destroy", "id": "a" }] })),
        ("POST", "/v1/nodes/a/restore", json!({ "x": 1 })),
        ("DELETE", "/v1/nodes/a", json!({ "hard": true })),
    ];
    let before = api.cursor().await;
    for (method, path, body) in cases {
        let answer = api.call(method, path, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"), "{path} {body}: {}", answer.json());
    }
    assert_eq!(api.cursor().await, before);
}

#[tokio::test]
async fn a_body_may_be_as_great_as_the_limit_and_no_greater() {
    let api = Api::with(|options| {
        options.body_bytes_max = 10_000;
        options.import_bytes_max = 20_000;
    })
    .await;
    let body = |bytes: usize| {
        let frame = json!({ "content": "" }).to_string().len();
        json!({ "content": "x".repeat(bytes - frame) }).to_string()
    };
    assert_eq!(api.raw("POST", "/v1/nodes", body(10_000)).await.status, StatusCode::CREATED);
    let announced = api.raw("POST", "/v1/nodes", body(10_001)).await;
    assert_eq!((announced.status.as_u16(), announced.code().as_str()), (413, "too_large"));
    let chunks = futures::stream::repeat(Ok::<_, Infallible>(Bytes::from_static(b"[[[[[[[[[["))).take(2_000);
    let unannounced = api.raw("POST", "/v1/nodes", Body::from_stream(chunks)).await;
    assert_eq!((unannounced.status.as_u16(), unannounced.code().as_str()), (413, "too_large"));
    let untrue = api.request("POST", "/v1/nodes").header(CONTENT_TYPE, "application/json").header(CONTENT_LENGTH, "5");
    assert_eq!(api.send(untrue.body(Body::from(body(10_001))).unwrap()).await.code(), "too_large");
}

#[tokio::test]
async fn ten_megabytes_of_text_are_kept_or_refused_with_a_reason() {
    let api = Api::open().await;
    let answer = api.call("POST", "/v1/nodes", json!({ "id": "big", "content": "ten MB of text. ".repeat(655_360) })).await;
    if answer.status == StatusCode::CREATED {
        assert_eq!(api.get("/v1/nodes/big").await.ok()["content"].as_str().map(str::len), Some(16 * 655_360));
    } else {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "too_large"), "{}", answer.json());
        assert_eq!(api.get("/v1/nodes/big").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for_for_ever() {
    let api = Api::with(|options| options.body_wait = Duration::from_millis(50)).await;
    let start = futures::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"{\"content\":")) });
    let answer = api.raw("POST", "/v1/nodes", Body::from_stream(start.chain(futures::stream::pending()))).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"));
    assert!(answer.json()["message"].as_str().unwrap().contains("did not arrive"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let api = Api::open().await;
    let broken = futures::stream::iter([Ok(Bytes::from_static(b"{\"content\":\"x\"")), Err(std::io::Error::other("gone"))]);
    assert_eq!(api.raw("POST", "/v1/nodes", Body::from_stream(broken)).await.code(), "invalid_request");
    assert_eq!(api.get("/v1/nodes").await.ok()["total"], 0);
}

#[tokio::test]
async fn vectors_that_are_none_are_refused() {
    let api = Api::open().await;
    api.create("a").await;
    api.create("b").await;
    let put =
        async |id: &str, vector: &str| api.raw("PUT", &format!("/v1/nodes/{id}/embeddings/m"), format!(r#"{{"vector":{vector}}}"#)).await;
    for vector in ["[NaN]", "[1e999]", "[null]", "[\"1\"]", "1", "{}"] {
        assert_eq!(put("a", vector).await.code(), "invalid_request", "{vector}");
    }
    for vector in ["[]", "[1e39, 1]"] {
        let answer = put("a", vector).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_value"), "{vector}");
    }
    assert_eq!(put("a", "[0.5, 0.25, 0.125]").await.status, StatusCode::OK);
    assert_eq!(put("b", "[0.5, 0.25]").await.code(), "invalid_value");
    let edits: Vec<Value> = vec![json!({ "position": 4_000_000_000_u32 })];
    assert!(api.call("PATCH", "/v1/nodes/a", json!({ "edits": edits })).await.status.is_client_error());
}
