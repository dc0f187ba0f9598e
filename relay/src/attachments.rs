//! Attachments (quantised embeddings) in object storage, by hash. The server's part of the document's `VectorSyncOptimizer`.
//!
//! An object is `embeddings/<workspace>/<hash>`, both in hex: names are made of hashes only, so nothing that somebody sent is a path.
//! Only attachments that a stored operation of the workspace names are taken, and only bytes with that hash. Writing one twice changes
//! nothing.
//!
//! Operations are acknowledged whether their attachments could be stored or not. Which ones are not here is told to whoever asks
//! ([`Attachments::missing`]); devices ask after every exchange and upload what they have.

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
use crate::store::{Database, RETRY_AFTER, StoreError, WorkspaceRow};

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
        let known = self.find(row, &hashes).await?;
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
            self.database.within(rows::mark_stored(self.database.write(), row.number, &written)).await?;
            self.metrics.attachments("up", written.len(), bytes);
        }
        Ok(written.len())
    }

    /// Stores what came along with operations that are stored now. What cannot be stored the device uploads later: it asks what is missing.
    pub(crate) async fn store_carried(&self, workspace: WorkspaceId, row: &WorkspaceRow, carried: &[(AttachmentHash, Bytes)]) {
        let hashes: Vec<AttachmentHash> = carried.iter().map(|(hash, _)| *hash).collect();
        let known = match self.find(row, &hashes).await {
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

    /// Those of some attachments that operations held here name and that are not here: whoever has them uploads them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing(&self, row: &WorkspaceRow, hashes: &[AttachmentHash]) -> Result<Vec<AttachmentHash>, Refusal> {
        let known = self.find(row, hashes).await?;
        Ok(known.into_iter().filter(|(.., is_stored)| !is_stored).map(|(hash, ..)| hash).collect())
    }

    /// Reads some, as many as fit into an answer. What turns out to be lost is noted as missing.
    ///
    /// # Errors
    /// When storage or the database fails.
    pub async fn fetch(&self, workspace: WorkspaceId, row: &WorkspaceRow, hashes: &[AttachmentHash]) -> Result<Found, Refusal> {
        let known = self.find(row, hashes).await?;
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
        let mut lost = Vec::new();
        for (hash, bytes) in read {
            match bytes {
                Some(bytes) => found.attachments.push((hash, bytes)),
                None => lost.push(hash),
            }
        }
        if !lost.is_empty() {
            self.note_lost(row, &lost).await;
            found.missing.append(&mut lost);
        }
        let total: usize = found.attachments.iter().map(|(_, bytes)| bytes.len()).sum();
        self.metrics.attachments("down", found.attachments.len(), total as u64);
        Ok(found)
    }

    /// What is known of some: hash, length, whether stored.
    async fn find(&self, row: &WorkspaceRow, hashes: &[AttachmentHash]) -> Result<Vec<(AttachmentHash, u32, bool)>, StoreError> {
        self.database.within(rows::find(self.database.read(), row.number, hashes)).await
    }

    /// Notes that some are not in storage though they were stored, so that they are named as missing and taken again.
    async fn note_lost(&self, row: &WorkspaceRow, lost: &[AttachmentHash]) {
        const LOST: &str = "WITH changed AS ( \
               UPDATE attachments SET stored = false WHERE workspace = $1 AND hash = ANY($2) AND stored RETURNING length \
             ) UPDATE workspaces SET attachment_bytes = greatest(attachment_bytes - coalesce((SELECT sum(length) FROM changed), 0), 0) \
             WHERE number = $1";
        let hashes: Vec<Vec<u8>> = lost.iter().map(|hash| hash.to_vec()).collect();
        let noting = sqlx::query(LOST).bind(row.number).bind(hashes).execute(self.database.write());
        let noted = self.database.within(async { noting.await.map_err(StoreError::doing("noting attachments as lost")) }).await;
        tracing::error!(count = lost.len(), "object storage has lost attachments; devices that have them are asked for them");
        if let Err(error) = noted {
            tracing::warn!(error = %crate::store::chain(&error), "it was not noted which attachments are lost");
        }
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
