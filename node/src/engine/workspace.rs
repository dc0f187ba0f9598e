//! A workspace that is open: a handle that anybody may clone and ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::WorkspaceId;
use tokio::sync::{OnceCell, watch};

use super::DeviceReplica;
use super::feed::Feed;
use super::logger::OperationLogger;
use super::projector::{Projector, ProjectorOptions};
use crate::model::{ErrorCode, ServiceError};
use crate::sync::DeviceStatus;
use crate::sync::status::Summary;

/// The local setting that holds the ticket of a join that is under way; a secret, in a file that only its owner may read.
pub(super) const TICKET_KEY: &str = "join/ticket";

/// A handle to an open workspace. Clones share it.
#[derive(Clone, Debug)]
pub struct Workspace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    id: WorkspaceId,
    folder: PathBuf,
    epoch: u32,
    logger: OperationLogger,
    feed: Arc<Feed>,
    projection: Option<ProjectorOptions>,
    projector: OnceCell<Projector>,
    /// How sync stands, as whoever syncs said last.
    sync: watch::Sender<DeviceStatus>,
    /// How often attachments came late.
    late: watch::Sender<u64>,
}

impl Inner {
    pub(super) fn new(
        id: WorkspaceId,
        folder: PathBuf,
        epoch: u32,
        logger: OperationLogger,
        feed: Arc<Feed>,
        projection: Option<ProjectorOptions>,
    ) -> Self {
        let nobody = DeviceStatus { summary: Summary::LocalOnly, operations: 0, targets: Vec::new(), help_wanted: Vec::new() };
        Self {
            id,
            folder,
            epoch,
            logger,
            feed,
            projection,
            projector: OnceCell::new(),
            sync: watch::Sender::new(nobody),
            late: watch::Sender::new(0),
        }
    }
}

impl Workspace {
    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Its id.
    pub fn id(&self) -> WorkspaceId {
        self.inner.id
    }

    /// Where it is kept.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The epoch of the log this device writes into it.
    pub fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    /// Runs `read` on the state: everything that was acknowledged before, nothing that is not durable. It holds up writers while it
    /// runs: walk long ways in several reads.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce(&DeviceReplica) -> T + Send + 'static) -> Result<T, ServiceError> {
        self.inner.logger.read(read).await
    }

    /// Runs `write` on the state and answers when what it wrote is durable. `client` is named as the origin in the change stream. What
    /// `write` wrote before it failed stays: check first, then write.
    ///
    /// # Errors
    /// Those of `write`; when the store failed or the device is stopping.
    pub async fn write<T: Send + 'static>(
        &self,
        client: Option<String>,
        write: impl FnOnce(&mut DeviceReplica, Timestamp) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.inner.logger.write(client.map(Arc::from), write).await
    }

    /// Takes a checkpoint now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self) -> Result<(), ServiceError> {
        self.inner.logger.checkpoint().await
    }

    pub(crate) fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.inner.feed)
    }

    /// The projection, started when it is first asked for.
    ///
    /// # Errors
    /// When the device was told to keep none.
    pub(crate) async fn projector(&self) -> Result<&Projector, ServiceError> {
        let Some(options) = &self.inner.projection else {
            let message = "the LanceDB table is switched off: set `projection.enabled = true` in the configuration";
            return Err(ServiceError::new(ErrorCode::Unavailable, message));
        };
        Ok(self.inner.projector.get_or_init(|| async { Projector::start(self.clone(), options.clone()) }).await)
    }

    /// Where the table is, if one is kept.
    pub(crate) fn projection_folder(&self) -> Option<&Path> {
        self.inner.projection.as_ref().map(|options| options.folder.as_path())
    }

    /// The projection, if it was started.
    pub(crate) fn started_projector(&self) -> Option<&Projector> {
        self.inner.projector.get()
    }

    /// Whether its genesis is here. Without it there is nothing to sync but by a ticket: it is being joined.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn has_genesis(&self) -> Result<bool, ServiceError> {
        self.read(|replica| !replica.membership().is_empty()).await
    }

    /// Says how sync stands; for whoever syncs it.
    pub fn publish_sync_status(&self, status: DeviceStatus) {
        self.inner.sync.send_replace(status);
    }

    /// How sync stands, as it was published last; before anybody did, that there is nobody to sync with.
    pub fn watch_sync_status(&self) -> watch::Receiver<DeviceStatus> {
        self.inner.sync.subscribe()
    }

    /// Says that attachments came late.
    pub(super) fn tell_of_late(&self) {
        self.inner.late.send_modify(|times| *times += 1);
    }

    /// Watches attachments come late: how often some did since the workspace was opened.
    pub(crate) fn watch_late(&self) -> watch::Receiver<u64> {
        self.inner.late.subscribe()
    }

    /// The ticket of a join that is under way.
    ///
    /// # Errors
    /// When the store fails or the device is stopping.
    pub(crate) async fn pending_ticket(&self) -> Result<Option<String>, ServiceError> {
        let value = self.read(|replica| replica.store().value(TICKET_KEY)).await??;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Keeps the ticket of a join, durably.
    ///
    /// # Errors
    /// When the store fails or the device is stopping.
    pub(super) async fn keep_ticket(&self, ticket: &str) -> Result<(), ServiceError> {
        let ticket = ticket.to_owned();
        Ok(self.read(move |replica| replica.store().put_value(TICKET_KEY, ticket.as_bytes())).await??)
    }

    /// Forgets the ticket of a join that is done.
    ///
    /// # Errors
    /// When the store fails or the device is stopping.
    pub(crate) async fn forget_ticket(&self) -> Result<(), ServiceError> {
        Ok(self.read(|replica| replica.store().put_values(&[(TICKET_KEY, None)])).await??)
    }

    /// Lets time pass: what was held back for its time may take effect. Answers whether the workspace is still open.
    pub(super) fn tick(&self) -> bool {
        self.inner.logger.tick()
    }

    /// Waits until nothing is read or written here any more: it was closed, or a fault ended its writer.
    pub(crate) async fn ended(&self) {
        self.inner.logger.ended().await;
    }

    /// Ends the projection, then the writer.
    pub(super) async fn close(&self) -> Result<(), ServiceError> {
        if let Some(projector) = self.started_projector() {
            projector.stop().await;
        }
        self.inner.logger.stop().await
    }
}
