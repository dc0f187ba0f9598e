//! Following how sync stands.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::state::StreamPermit;
use super::{RETRY_MS, event, refusal};
use crate::engine::Workspace;
use crate::model::ServiceError;
use crate::sync::DeviceStatus;

/// What a client of the sync stream has been shown.
#[derive(Debug)]
pub(in super::super) struct Watch {
    workspace: Workspace,
    published: watch::Receiver<DeviceStatus>,
    shown: Option<DeviceStatus>,
    now: DeviceStatus,
    pause: Duration,
    /// Not before this is the next event.
    next_at: Instant,
    ended: bool,
    permit: StreamPermit,
}

impl Watch {
    /// Begins with the present status.
    pub(in super::super) async fn open(workspace: Workspace, pause: Duration, permit: StreamPermit) -> Result<Self, ServiceError> {
        let published = workspace.watch_sync_status();
        let now = workspace.sync_status().await?;
        Ok(Self { workspace, published, shown: None, now, pause, next_at: Instant::now(), ended: false, permit })
    }

    /// The events, until the client leaves, the API stops or something fails.
    pub(in super::super) fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        futures::stream::unfold(self, |mut watch| async move { watch.next().await.map(|event| (Ok(event), watch)) })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.ended || self.permit.stop().is_cancelled() {
                return None;
            }
            let first = self.shown.is_none();
            if self.shown.as_ref() != Some(&self.now) {
                self.next_at = Instant::now() + self.pause;
                self.shown = Some(self.now.clone());
                let event = event("sync", &self.now);
                return Some(if first { event.retry(Duration::from_millis(RETRY_MS)) } else { event });
            }
            if let Err(error) = self.look().await {
                self.ended = true;
                return Some(refusal(&error));
            }
        }
    }

    /// Waits until the status has changed, then looks at it. Changes that follow each other closely are seen as one.
    async fn look(&mut self) -> Result<(), ServiceError> {
        tokio::select! {
            changed = self.published.changed() => changed.map_err(|_| ServiceError::stopping())?,
            () = self.permit.stop().cancelled() => return Ok(()),
        }
        tokio::select! {
            () = sleep_until(self.next_at) => {}
            () = self.permit.stop().cancelled() => return Ok(()),
        }
        self.published.borrow_and_update();
        self.now = self.workspace.sync_status().await?;
        Ok(())
    }
}
