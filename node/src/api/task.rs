//! Long work, answered line by line (`application/x-ndjson`).
//!
//! The work runs by itself: a client that leaves does not stop it half way. Progress is a picture of the present, so a slow reader is
//! shown the latest and no queue builds up; the last line is the result or why there is none.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::state::ApiState;
use crate::model::{ErrorCode, Progress, ServiceError, TaskLine};

/// The media type of lines of JSON.
pub(super) const MEDIA_TYPE: &str = "application/x-ndjson";

/// What a task says while it works.
#[derive(Clone, Debug)]
pub(super) struct Report(watch::Sender<Option<Progress>>);

impl Report {
    /// How far the work is.
    pub(super) fn progress(&self, progress: Progress) {
        self.0.send_replace(Some(progress));
    }
}

#[derive(Debug)]
struct Lines<T> {
    progress: watch::Receiver<Option<Progress>>,
    outcome: Option<oneshot::Receiver<Result<T, ServiceError>>>,
    state: ApiState,
}

impl<T> Lines<T> {
    async fn next(&mut self) -> Option<TaskLine<T>> {
        if self.outcome.is_some() && self.progress.changed().await.is_ok() {
            let progress = self.progress.borrow_and_update().clone();
            if let Some(progress) = progress {
                return Some(TaskLine::Progress(progress));
            }
        }
        let outcome = self.outcome.take()?;
        Some(match outcome.await {
            Ok(Ok(result)) => TaskLine::Result(result),
            Ok(Err(error)) => TaskLine::Error(error.0),
            // The work ended without a word: it panicked, as a handler may.
            Err(_) => {
                self.state.metrics.panicked();
                TaskLine::Error(ServiceError::new(ErrorCode::Internal, "a fault of NodeSpace ended this task; see the log").0)
            }
        })
    }
}

/// Starts work and answers with its lines. Work that fails before it has made any progress is answered with a plain refusal.
pub(super) async fn run<T, F>(state: &ApiState, work: impl FnOnce(Report) -> F + Send + 'static) -> Result<Response, ServiceError>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, ServiceError>> + Send + 'static,
{
    let (progress, watch) = watch::channel(None);
    let (answer, outcome) = oneshot::channel();
    tokio::spawn(async move {
        let result = work(Report(progress)).await;
        // Whoever asked may have left.
        drop(answer.send(result));
    });
    let mut lines = Lines { progress: watch, outcome: Some(outcome), state: state.clone() };
    let first = match lines.next().await {
        Some(TaskLine::Error(error)) => return Err(ServiceError(error)),
        first => first,
    };
    let rest = futures::stream::unfold(lines, |mut lines| async move { lines.next().await.map(|line| (line, lines)) });
    let body = futures::stream::iter(first).chain(rest).map(|line| Ok::<_, Infallible>(to_line(&line)));
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(body)).into_response())
}

/// A value as a line of JSON. What cannot be written is a fault of ours and is said as one.
pub(super) fn to_line<T: Serialize>(value: &T) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a line could not be written as JSON; this is a fault of NodeSpace");
        br#"{"error":{"code":"internal","message":"a line could not be written as JSON"}}"#.to_vec()
    });
    line.push(b'\n');
    line.into()
}
