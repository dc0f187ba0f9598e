//! Following the change stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use serde_json::json;

use super::super::state::StreamPermit;
use super::{RETRY_MS, event, refusal};
use crate::engine::Workspace;
use crate::model::{Change, ServiceError};

/// How many changes are read at a time: what a stream holds in memory for its client.
const PAGE_CHANGES: usize = 256;

/// A client's place in the change stream.
#[derive(Debug)]
pub(in super::super) struct Tail {
    workspace: Workspace,
    /// After what was read into `page`.
    cursor: String,
    page: VecDeque<Change>,
    /// Where the client began, until it was told.
    begin: Option<String>,
    ended: bool,
    permit: StreamPermit,
}

impl Tail {
    /// Begins after a cursor, or now. A cursor that is none is refused here, while the answer can still be a refusal.
    pub(in super::super) async fn open(workspace: Workspace, cursor: Option<String>, permit: StreamPermit) -> Result<Self, ServiceError> {
        let page = workspace.changes(cursor.as_deref(), PAGE_CHANGES).await?;
        let begin = Some(cursor.unwrap_or_else(|| page.cursor.clone()));
        Ok(Self { workspace, cursor: page.cursor, page: page.changes.into(), begin, ended: false, permit })
    }

    /// The events, until the client leaves, the API stops or something fails.
    pub(in super::super) fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        futures::stream::unfold(self, |mut tail| async move { tail.next().await.map(|event| (Ok(event), tail)) })
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(cursor) = self.begin.take() {
            return Some(event("ready", &json!({ "cursor": cursor })).id(cursor).retry(Duration::from_millis(RETRY_MS)));
        }
        loop {
            if self.ended || self.permit.stop().is_cancelled() {
                return None;
            }
            if let Some(change) = self.page.pop_front() {
                return Some(event("change", &change).id(change.cursor));
            }
            if let Err(error) = self.read_on().await {
                self.ended = true;
                return Some(refusal(&error));
            }
        }
    }

    /// Reads the next page, after waiting for it if need be.
    async fn read_on(&mut self) -> Result<(), ServiceError> {
        let page = self.workspace.changes(Some(&self.cursor), PAGE_CHANGES).await?;
        self.cursor = page.cursor;
        self.page = page.changes.into();
        if self.page.is_empty() {
            tokio::select! {
                changed = self.workspace.changed(&self.cursor) => changed?,
                () = self.permit.stop().cancelled() => {}
            }
        }
        Ok(())
    }
}
