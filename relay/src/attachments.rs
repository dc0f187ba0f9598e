//! Attachments (quantised embeddings) in object storage, by hash. The server's part of the document's `VectorSyncOptimizer`.
//!
//! An object is `embeddings/<workspace>/<hash>`, both in hex: names are made of hashes only, so nothing that somebody sent is a path.
//! Only attachments that a stored operation of the workspace names are taken, and only bytes with that hash. Writing one twice changes
//! nothing.

use std::sync::Arc;

use axum::body::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use nodespace_protocol::ids::{WorkspaceId, hex};
use nodespace_protocol::op::attachment_hash;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::store::attachments::{self as rows, AttachmentHash};
use crate::store::{Database, RETRY_AFTER, WorkspaceRow};

/// Objects written or read at once for one request.
const AT_ONCE: usize = 8;
/// Attachments in one request; more are refused, and sent by several.
pub const ATTACHMENTS_MAX: usize = 1_024;
/// Bytes of attachments in one answer; the rest is named as left and asked for again.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why object storage cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentsError {
    /// The folder cannot be made.
    #[error("cannot use {folder} for attachments")]
    Folder {
        /// Which.
        folder: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The settings do not fit together, or storage does not answer.
    #[error("object storage cannot be used: {0}")]
    Storage(#[from] object_store::Error),
}

/// Attachments of all workspaces.
#[derive(Clone, Debug)]
pub struct Attachments {
    objects: Arc<dyn ObjectStore>,
    database: Database,
    metrics: Metrics,
    quota_bytes: u64,
}

/// What was found of some attachments.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Those that are here.
    pub attachments: Vec<(AttachmentHash, Bytes)>,
    /// Those that are named by an operation, or not even that, and not here.
    pub missing: Vec<AttachmentHash>,
    /// Those that did not fit into the answer.
    pub left: Vec<AttachmentHash>,
}

impl Attachments {
    /// Opens the folder or bucket of a configuration.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(config: &Config, database: Database, metrics: Metrics) -> Result<Self, AttachmentsError> {
        let objects: Arc<dyn ObjectStore> =
            if config.storage.bucket.is_empty() { Arc::new(folder(config)?) } else { Arc::new(bucket(config)?) };
        Ok(Self { objects, database, metrics, quota_bytes: config.quota.workspace_attachments_mib << 20 })
    }

    /// Whether storage answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), AttachmentsError> {
        match self.objects.head(&Path::from("embeddings/none")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores those that an operation names and that are not here yet; passes over what is. Answers how many were stored.
    ///
    /// # Errors
    /// When bytes have another hash than they are sent under, an operation names no such attachment, or the quota is used up. What
    /// came before in the list may be stored then.
    pub async fn store(&self, workspace: WorkspaceId, row: &WorkspaceRow, sent: &[(AttachmentHash, Bytes)]) -> Result<usize, Refusal> {
        if let Some((hash, _)) = sent.iter().find(|(hash, bytes)| attachment_hash(bytes) != *hash) {
            return Err(Refusal::bad_request("wrong_hash", format!("the bytes sent under {} have another hash", hex(&hash[..4]))));
        }
        let hashes: Vec<AttachmentHash> = sent.iter().map(|(hash, _)| *hash).collect();
        let known = rows::find(self.database.read(), row.number, &hashes).await?;
        if let Some(hash) = hashes.iter().find(|hash| !known.iter().any(|(known, ..)| known == *hash)) {
            let message = format!("no operation held here names attachment {}: push the operation first", hex(&hash[..4]));
            return Err(Refusal::not_found("unknown_attachment", message));
        }
        let is_stored = |hash: &AttachmentHash| known.iter().any(|(known, _, stored)| known == hash && *stored);
        let fresh: Vec<(AttachmentHash, Bytes)> = sent.iter().filter(|(hash, _)| !is_stored(hash)).cloned().collect();
        let bytes: u64 = fresh.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if row.attachment_bytes + bytes > self.quota_bytes {
            let message = format!("the workspace's attachments would take more than {} MiB", self.quota_bytes >> 20);
            return Err(Refusal::new(axum::http::StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", message));
        }
        let written: Vec<AttachmentHash> = fresh.iter().map(|(hash, _)| *hash).collect();
        let writes = fresh.into_iter().map(|(hash, bytes)| {
            let (objects, place) = (Arc::clone(&self.objects), place(workspace, &hash));
            async move { objects.put(&place, bytes.into()).await.map(drop) }
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.map_err(storage_failed)?;
        if !written.is_empty() {
            // Only what is in storage is marked: what fails in between is sent again.
            rows::mark_stored(self.database.write(), row.number, &written).await?;
            self.metrics.attachments("up", written.len(), bytes);
        }
        Ok(written.len())
    }

    /// Stores what came along with operations that are stored now. What cannot be stored the device uploads again later: it sees that it is
    /// missing.
    pub(crate) async fn store_carried(&self, workspace: WorkspaceId, row: &WorkspaceRow, carried: &[(AttachmentHash, Bytes)]) {
        let hashes: Vec<AttachmentHash> = carried.iter().map(|(hash, _)| *hash).collect();
        let known = match rows::find(self.database.read(), row.number, &hashes).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(error = %crate::store::chain(&error), "attachments of a packet were not stored");
                return;
            }
        };
        let wanted: Vec<(AttachmentHash, Bytes)> =
            carried.iter().filter(|(hash, _)| known.iter().any(|(known, _, stored)| known == hash && !stored)).cloned().collect();
        if !wanted.is_empty()
            && let Err(refusal) = self.store(workspace, row, &wanted).await
        {
            tracing::warn!(code = refusal.code, "attachments of a packet were not stored");
        }
    }

    /// Reads some, as many as fit into an answer.
    ///
    /// # Errors
    /// When storage or the database fails.
    pub async fn fetch(&self, workspace: WorkspaceId, row: &WorkspaceRow, hashes: &[AttachmentHash]) -> Result<Found, Refusal> {
        let known = rows::find(self.database.read(), row.number, hashes).await?;
        let mut found = Found::default();
        let mut wanted = Vec::new();
        let mut bytes = 0;
        for hash in hashes {
            match known.iter().find(|(known, ..)| known == hash) {
                Some((_, length, true)) if wanted.is_empty() || bytes + *length as usize <= ANSWER_BYTES_MAX => {
                    bytes += *length as usize;
                    wanted.push(*hash);
                }
                Some((.., true)) => found.left.push(*hash),
                _ => found.missing.push(*hash),
            }
        }
        let reads = wanted.into_iter().map(|hash| async move { Ok::<_, object_store::Error>((hash, self.read(workspace, &hash).await?)) });
        let read: Vec<(AttachmentHash, Option<Bytes>)> =
            stream::iter(reads).buffered(AT_ONCE).try_collect().await.map_err(storage_failed)?;
        for (hash, bytes) in read {
            match bytes {
                Some(bytes) => found.attachments.push((hash, bytes)),
                None => found.missing.push(hash),
            }
        }
        let total: usize = found.attachments.iter().map(|(_, bytes)| bytes.len()).sum();
        self.metrics.attachments("down", found.attachments.len(), total as u64);
        Ok(found)
    }

    /// The bytes of one; `None` when they are not there, or not what was stored.
    async fn read(&self, workspace: WorkspaceId, hash: &AttachmentHash) -> Result<Option<Bytes>, object_store::Error> {
        let object = match self.objects.get(&place(workspace, hash)).await {
            Ok(object) => object.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if attachment_hash(&object) != *hash {
            tracing::error!(attachment = %hex(hash), "object storage holds other bytes than were stored under this hash");
            return Ok(None);
        }
        Ok(Some(object))
    }
}

fn place(workspace: WorkspaceId, hash: &AttachmentHash) -> Path {
    Path::from_iter(["embeddings", &workspace.to_string(), &hex(hash)])
}

fn folder(config: &Config) -> Result<LocalFileSystem, AttachmentsError> {
    let folder = config.attachment_folder();
    let failed = |source| AttachmentsError::Folder { folder: folder.display().to_string(), source };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // Marked as stored means durable.
    Ok(LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true))
}

fn bucket(config: &Config) -> Result<object_store::aws::AmazonS3, AttachmentsError> {
    let storage = &config.storage;
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(&storage.bucket).with_region(&storage.region).with_allow_http(storage.allow_http);
    if let Some(endpoint) = &storage.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(id) = &storage.access_key_id {
        builder = builder.with_access_key_id(id).with_secret_access_key(storage.secret_access_key.reveal());
    }
    Ok(builder.build()?)
}

fn storage_failed(error: object_store::Error) -> Refusal {
    tracing::warn!(error = %crate::store::chain(&error), "object storage failed");
    Refusal::unavailable("storage_unavailable", "the relay's object storage does not answer", RETRY_AFTER)
}
