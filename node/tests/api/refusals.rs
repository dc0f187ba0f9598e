//! Every refusal is one body with a stable code and a word on what to do, also those of the libraries below.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use nodespace_node::model::ErrorCode;
use serde_json::{Value, json};

use crate::support::Api;

#[tokio::test]
async fn each_kind_of_mistake_has_its_code() {
    let api = Api::open().await;
    api.create("a").await;
    let cases = [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/nodes/a/b/c", 404, "not_found"),
        ("GET", "/v1/nodes/", 404, "not_found"),
        ("POST", "/v1/status", 405, "method_not_allowed"),
        ("DELETE", "/v1/nodes", 405, "method_not_allowed"),
        ("BREW", "/v1/nodes", 405, "method_not_allowed"),
        ("GET", "/v1/batch", 405, "method_not_allowed"),
        ("GET", "/v1/nodes/missing", 404, "not_found"),
        ("GET", "/v1/nodes/%ff", 400, "invalid_request"),
        ("GET", "/v1/nodes/%00", 400, "invalid_request"),
        ("GET", "/v1/nodes/missing/history", 404, "not_found"),
        ("GET", "/v1/nodes/missing/children", 404, "not_found"),
        ("GET", "/v1/nodes/a/at", 400, "invalid_request"),
        ("GET", "/v1/nodes/a/at?time=2025-01-01T00:00:00Z&op=ab", 400, "invalid_request"),
        ("GET", "/v1/nodes/a/at?time=yesterday", 400, "invalid_request"),
        ("GET", "/v1/nodes/a/at?op=xyz", 400, "invalid_request"),
        ("GET", "/v1/nodes?limit=many", 400, "invalid_request"),
        ("GET", "/v1/nodes?limit=1&limit=2", 400, "invalid_request"),
        ("GET", "/v1/nodes?deleted=perhaps", 400, "invalid_request"),
        ("GET", "/v1/nodes?afer=x", 400, "invalid_request"),
        ("GET", "/v1/nodes?after=%", 400, "invalid_request"),
        ("GET", "/v1/nodes?after=%c3%28", 400, "invalid_request"),
        ("GET", "/v1/changes?cursor=nonsense", 400, "invalid_request"),
        ("GET", "/v1/changes?limit=0", 400, "invalid_value"),
        ("GET", "/v1/nodes?limit=0", 400, "invalid_value"),
        ("GET", "/v1/nodes?limit=100000", 400, "invalid_value"),
        ("GET", "/v1/changes/stream?cursor=nonsense", 400, "invalid_request"),
        ("GET", "/v1/conflicts/a/0000", 404, "not_found"),
        ("GET", "/v1/conflicts/a/zz", 400, "invalid_request"),
        ("GET", "/v1/conflicts?status=unknown", 400, "invalid_request"),
        ("GET", "/v1/status?workspace=0000000000000000000000000000000000000000000000000000000000000000", 404, "not_found"),
        ("GET", "/v1/status?workspace=mine", 400, "invalid_request"),
        ("GET", "/v1/tree?root=missing", 404, "not_found"),
        ("GET", "/v1/export?root=missing", 404, "not_found"),
        ("DELETE", "/v1/nodes/missing", 404, "not_found"),
        ("DELETE", "/v1/nodes/a?expected_version=99", 409, "stale_version"),
        ("POST", "/v1/nodes/missing/restore", 404, "not_found"),
    ];
    for (method, path, status, code) in cases {
        let answer = api.send(api.request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{method} {path}: {}", answer.json());
    }
}

#[tokio::test]
async fn a_refused_method_is_answered_with_those_there_are() {
    let api = Api::open().await;
    let answer = api.send(api.request("PUT", "/v1/nodes/a").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let allowed = answer.headers[ALLOW].to_str().unwrap().to_owned();
    for method in ["GET", "PATCH", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
}

#[tokio::test]
async fn a_client_names_itself_once_and_briefly() {
    let api = Api::open().await;
    let with = |names: &[&str]| {
        let request = api.request("POST", "/v1/nodes").header(CONTENT_TYPE, "application/json");
        let request = names.iter().fold(request, |request, name| request.header("x-nodespace-client", *name));
        request.body(Body::from("{}")).unwrap()
    };
    for names in [&[""][..], &["a", "b"], &["ü"], &[&"x".repeat(65)]] {
        assert_eq!(api.send(with(names)).await.code(), "invalid_request", "{names:?}");
    }
    assert_eq!(api.send(with(&[&"x".repeat(64)])).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_stale_version_tells_the_present_one() {
    let api = Api::open().await;
    let version = api.create("a").await["node"]["version"].as_u64().unwrap();
    let answer = api.call("PATCH", "/v1/nodes/a", json!({ "content": "mine", "expected_version": version + 5 })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "stale_version"));
    assert_eq!(answer.json()["version"].as_u64(), Some(version));
    assert_eq!(api.get("/v1/nodes/a").await.ok()["content"], "text of a");
    let answer = api.call("PATCH", "/v1/nodes/a", json!({ "content": "mine", "expected_version": version })).await;
    assert_eq!(answer.ok()["node"]["content"], "mine");
}

#[tokio::test]
async fn other_heads_than_those_expected_are_stale() {
    let api = Api::open().await;
    let first = api.create("a").await["node"]["heads"].clone();
    let second =
        api.call("PATCH", "/v1/nodes/a", json!({ "content": "more", "expected_heads": first })).await.ok()["node"]["heads"].clone();
    assert_ne!(first, second);
    let head = |heads: &Value| heads[0].as_str().unwrap().to_owned();
    let both = format!("/v1/nodes/a?expected_heads={}&expected_heads={}", head(&first), head(&second));
    let stale = [
        ("PATCH", "/v1/nodes/a", json!({ "edits": [{ "position": 0, "insert": "x" }], "expected_heads": first })),
        ("PATCH", "/v1/nodes/a", json!({ "content": "mine", "expected_heads": [] })),
        ("POST", "/v1/nodes/a/move", json!({ "place": "first", "expected_heads": first })),
        ("DELETE", &*format!("/v1/nodes/a?expected_heads={}", head(&first)), Value::Null),
        ("DELETE", &*both, Value::Null),
    ];
    for (method, path, body) in stale {
        let answer = match body {
            Value::Null => api.send(api.request(method, path).body(Body::empty()).unwrap()).await,
            body => api.call(method, path, body).await,
        };
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "stale_version"), "{method} {path}");
    }
    let answer = api.call("PATCH", "/v1/nodes/a", json!({ "content": "mine", "expected_heads": ["0a"] })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert_eq!(api.get("/v1/nodes/a").await.ok()["content"], "more");
    let deleted =
        api.send(api.request("DELETE", &format!("/v1/nodes/a?expected_heads={}", head(&second))).body(Body::empty()).unwrap()).await;
    assert_eq!(deleted.ok()["node"]["deleted"], true);
}

#[test]
fn codes_are_written_as_the_documentation_lists_them() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/API.md")).unwrap();
    let codes = [
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidValue,
        ErrorCode::NotFound,
        ErrorCode::AlreadyExists,
        ErrorCode::StaleVersion,
        ErrorCode::Cycle,
        ErrorCode::TooLarge,
        ErrorCode::Unauthorised,
        ErrorCode::Forbidden,
        ErrorCode::MethodNotAllowed,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::NotWritable,
        ErrorCode::StoreFailed,
        ErrorCode::DiskFull,
        ErrorCode::Unavailable,
        ErrorCode::Internal,
    ];
    for code in codes {
        let name = serde_json::to_value(code).unwrap();
        let row = format!("| `{}` |", name.as_str().unwrap());
        assert!(page.contains(&row), "docs/API.md has no row for {row}");
    }
}
