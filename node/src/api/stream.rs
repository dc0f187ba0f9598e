//! Server-sent events (WHATWG HTML, section 9.2).
//!
//! A stream pulls: it asks for what comes after its cursor when the client has taken what came before. Nothing is buffered per client
//! but one page, and nothing is dropped for a slow one.

pub(super) mod changes;
pub(super) mod status;
pub(super) mod sync;

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures::Stream;
use serde::Serialize;

use crate::model::{ErrorCode, ServiceError};

/// How long a browser waits before it connects again.
pub(super) const RETRY_MS: u64 = 1_000;

/// An answer of events, with a comment now and then so that both ends see that the other is still there.
pub(super) fn events<S>(stream: S, heartbeat: Duration) -> Sse<KeepAliveStream<S>>
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    Sse::new(stream).keep_alive(KeepAlive::new().interval(heartbeat).text("still here"))
}

/// An event with JSON as its data. What cannot be written as JSON is a fault of ours and is said as one.
fn event<T: Serialize>(name: &'static str, data: &T) -> Event {
    let text = serde_json::to_string(data);
    match text {
        Ok(text) => Event::default().event(name).data(text),
        Err(_) => refusal(&ServiceError::new(ErrorCode::Internal, "an event could not be written as JSON")),
    }
}

/// The event that ends a stream with a reason.
fn refusal(error: &ServiceError) -> Event {
    Event::default().event("error").data(serde_json::to_string(&error.0).unwrap_or_default())
}
