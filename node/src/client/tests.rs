//! Both ways to a small API of the same shape as the real one.

use std::fs;

use axum::Json;
use axum::extract::Request as Incoming;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::model::ErrorCode;

async fn echo(headers: HeaderMap, incoming: Incoming) -> Json<Value> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Json(json!({
        "target": incoming.uri().to_string(),
        "token": header("authorization"),
        "client": header("x-nodespace-client"),
        "host": header("host").is_some(),
    }))
}

fn router() -> Router {
    let refusal = ErrorBody { code: ErrorCode::StaleVersion, message: "the node has version 7".into(), version: Some(7) };
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/v1/echo", get(echo))
        .route("/v1/refuse", get(move || async move { (StatusCode::CONFLICT, Json(refusal)).into_response() }))
        .route("/v1/plain", get(|| async { (StatusCode::BAD_GATEWAY, "a proxy's page") }))
        .route(
            "/v1/task",
            get(|| async {
                concat!(
                    "{\"progress\":{\"step\":\"reading\",\"done\":1,\"total\":2}}\n",
                    "{\"progress\":{\"step\":\"reading\",\"done\":2,\"total\":2}}\r\n",
                    "{\"result\":{\"count\":2}}\n"
                )
            }),
        )
        .route("/v1/failing", get(|| async { "{\"error\":{\"code\":\"disk_full\",\"message\":\"no space\"}}\n" }))
        .route("/v1/cut", get(|| async { "{\"progress\":{\"step\":\"reading\",\"done\":1,\"total\":null}}\n" }))
        .route(
            "/v1/ended",
            get(|| async {
                "id: 3\nevent: ready\ndata: {}\n\nid: 4\nevent: change\ndata: 1\n\nevent: error\ndata: {\"code\":\"unavailable\",\"message\":\"stopping\"}\n\n"
            }),
        )
        .route("/v1/events", get(|| async { ": hello\n\nid: 4\nevent: change\ndata: {\"a\":\ndata: 1}\n\ndata:x\n\nid: 9\n\n" }))
}

/// The same API in this process and over a socket.
async fn clients() -> [Client; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(async move { axum::serve(listener, router()).await }));
    [Client::tcp(address, "secret".into()), Client::in_process(router(), "secret".into())]
}

#[tokio::test]
async fn both_ways_say_the_same() {
    for client in clients().await {
        let client = client.named("test").of_workspace(Some("w 1".into()));
        let answer: Answer<Value> = client.ask(Request::get(&["v1", "echo"]).query("limit", 3)).await.unwrap();
        let expected = json!({ "target": "/v1/echo?limit=3&workspace=w%201", "token": "Bearer secret", "client": "test", "host": true });
        assert_eq!(answer.value, expected);
        assert_eq!(serde_json::from_slice::<Value>(&answer.raw).unwrap(), expected);
    }
}

#[tokio::test]
async fn refusals_keep_the_words_of_the_device() {
    for client in clients().await {
        let error = client.ask::<Value>(Request::get(&["v1", "refuse"])).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::StaleVersion));
        assert_eq!(error.to_string(), "the node has version 7");
        let error = client.ask::<Value>(Request::get(&["v1", "plain"])).await.unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood(ref text) if text.contains("502")), "{error}");
    }
}

#[tokio::test]
async fn a_task_tells_its_progress_and_then_its_result() {
    for client in clients().await {
        let mut seen = Vec::new();
        let answer: Answer<Value> = client.task(Request::get(&["v1", "task"]), |progress| seen.push(progress.done)).await.unwrap();
        assert_eq!((seen, answer.value, &answer.raw[..]), (vec![1, 2], json!({ "count": 2 }), &b"{\"count\":2}"[..]));
        let failed = client.task::<Value>(Request::get(&["v1", "failing"]), |_| {}).await.unwrap_err();
        assert_eq!(failed.code(), Some(ErrorCode::DiskFull));
        let cut = client.task::<Value>(Request::get(&["v1", "cut"]), |_| {}).await.unwrap_err();
        assert!(matches!(cut, ClientError::Cut(_)), "{cut}");
    }
}

#[tokio::test]
async fn events_are_read_as_the_standard_says() {
    for client in clients().await {
        let mut events = client.events(Request::get(&["v1", "events"])).await.unwrap();
        let first = Event { id: Some("4".into()), kind: "change".into(), data: "{\"a\":\n1}".into() };
        assert_eq!(events.next().await.unwrap(), Some(first));
        assert_eq!(events.next().await.unwrap(), Some(Event { id: None, kind: "message".into(), data: "x".into() }));
        assert_eq!(events.next().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_stream_that_ends_with_a_reason_tells_it() {
    for client in clients().await {
        let mut events = client.events(Request::get(&["v1", "ended"])).await.unwrap();
        let mut passed = Vec::new();
        assert_eq!(events.next_of("change", |event| passed.push(event.id)).await.unwrap().unwrap().data, "1");
        assert_eq!(passed, [Some("3".to_owned())]);
        let error = events.next_of("change", drop).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Unavailable));
    }
}

#[tokio::test]
async fn a_daemon_is_found_only_while_it_lives_and_its_token_is_its_owners() {
    let home = tempfile::tempdir().unwrap();
    assert!(find(home.path()).await.unwrap().is_none());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let write = |pid: u32| fs::write(home.path().join(API_FILE), serde_json::to_vec(&ApiFile { address, pid }).unwrap()).unwrap();
    let daemon = tokio::spawn(async move { axum::serve(listener, router()).await });
    // No process has a number beyond what the kernel gives out.
    write(i32::MAX.unsigned_abs());
    assert!(find(home.path()).await.unwrap().is_none());
    write(std::process::id());
    assert!(matches!(find(home.path()).await, Err(ClientError::Token { .. })));
    let token = home.path().join(TOKEN_FILE);
    fs::write(&token, "secret\n").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
        let error = find(home.path()).await.unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let found = find(home.path()).await.unwrap().unwrap();
    let answer: Answer<Value> = found.client.ask(Request::get(&["v1", "echo"])).await.unwrap();
    assert_eq!(answer.value["token"], "Bearer secret");
    daemon.abort();
    daemon.await.unwrap_err();
    assert!(find(home.path()).await.unwrap().is_none());
}
