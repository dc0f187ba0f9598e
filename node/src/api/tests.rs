//! What can only be tested from inside: handlers that fail as ours must not.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::engine::{CreateOptions, OpenOptions};
use crate::model::{ErrorBody, ErrorCode, Progress, ServiceError};

async fn state() -> (ApiState, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    Device::create(&CreateOptions { home: home.clone(), workspace_name: "notes".to_owned(), policy: Default::default() }).unwrap();
    let device = Device::open(OpenOptions { projection: false, ..OpenOptions::new(home) }).await.unwrap();
    let token = Token::open(device.home()).unwrap();
    (ApiState::new(device, ApiOptions::new(token), String::new()), folder)
}

async fn ask(state: &ApiState, routes: Router<ApiState>, path: &str) -> (StatusCode, Vec<u8>) {
    let bearer = format!("Bearer {}", state.options.token.secret());
    let request = Request::builder().uri(path).header("host", "localhost").header("authorization", bearer).body(Body::empty()).unwrap();
    let response = guarded(routes, state.clone()).oneshot(request).await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    (response.status(), response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn panics() -> StatusCode {
    panic!("a handler met what it thought impossible");
}

#[tokio::test]
async fn a_panic_becomes_an_answer_and_is_counted() {
    let (state, _folder) = state().await;
    let (status, body) = ask(&state, Router::new().route("/panic", get(panics)), "/panic").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let body: ErrorBody = serde_json::from_slice(&body).unwrap();
    assert_eq!(body.code, ErrorCode::Internal);
    assert!(!body.message.contains("impossible"), "{}", body.message);
    assert!(state.device.metrics_text().await.contains("nodespace_api_panics_total 1"));
}

/// Runs a task that answers `outcome` after it has said how far it is, if it is to.
async fn task(state: &ApiState, progress: bool, outcome: fn() -> Result<u32, ServiceError>) -> (StatusCode, String) {
    let given = state.clone();
    let route = get(move || async move {
        task::run(&given, move |report| async move {
            if progress {
                report.progress(Progress { step: "counting".to_owned(), done: 1, total: Some(2) });
            }
            outcome()
        })
        .await
    });
    let (status, body) = ask(state, Router::new().route("/task", route), "/task").await;
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_task_answers_with_lines_and_one_outcome() {
    let (state, _folder) = state().await;
    let progress = r#"{"progress":{"step":"counting","done":1,"total":2}}"#;
    assert_eq!(task(&state, true, || Ok(7)).await, (StatusCode::OK, format!("{progress}\n{{\"result\":7}}\n")));
    assert_eq!(task(&state, false, || Ok(7)).await, (StatusCode::OK, "{\"result\":7}\n".to_owned()));
    let full = || Err(ServiceError::new(ErrorCode::DiskFull, "no space"));
    let error = r#"{"code":"disk_full","message":"no space"}"#;
    assert_eq!(task(&state, true, full).await, (StatusCode::OK, format!("{progress}\n{{\"error\":{error}}}\n")));
    assert_eq!(task(&state, false, full).await, (StatusCode::INSUFFICIENT_STORAGE, error.to_owned()));
    let (status, body) = task(&state, true, || panic!("a task met what it thought impossible")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.ends_with("\n") && body.lines().last().unwrap().contains("\"internal\""), "{body}");
    assert!(state.device.metrics_text().await.contains("nodespace_api_panics_total 1"));
}
