//! Every request is answered in a bounded time.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::model::{ErrorCode, ServiceError};

/// How long a request may take until its answer begins; then it is refused as `unavailable`. Streams and tasks begin at once and may
/// go on for as long as they like; a long poll waits less than this.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Answers in time, if only with a refusal.
pub(super) async fn keep(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message =
                format!("no answer within {} s; a write may still have happened: read before you repeat it", ANSWER_WAIT.as_secs());
            ServiceError::new(ErrorCode::Unavailable, message).into_response()
        }
    }
}
