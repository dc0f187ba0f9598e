//! Attachments (quantised embeddings) in object storage, by hash. The server's part of the document's `VectorSyncOptimizer`.
//!
//! An object is `embeddings/<workspace>/<hash>`, both in hex: names are made of hashes only, so nothing that somebody sent is a path.
//! Only attachments that a stored operation of the workspace names are taken, and only bytes with that hash. Writing one twice changes
//! nothing. The length that an operation announces is its author's word, and nothing here relies on it: counted is what is there. (One that
//! is not the bytes' is no reason to refuse them: another operation may name them with the right one, and devices take only what fits theirs.)
//!
//! Operations are acknowledged whether their attachments could be stored or not. Which ones are not here is told to whoever asks
//! ([`Attachments::missing`]); devices ask after every exchange and upload what they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use nodespace_protocol::ids::{WorkspaceId, hex};
use nodespace_protocol::op::attachment_hash;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::config::Config;
use crate::memory::Share;
use crate::metrics::Metrics;
use crate::objects::{self, StorageError};
use crate::refusal::Refusal;
use crate::store::attachments::{self as rows, AttachmentHash, Marked};
use crate::store::{Database, RETRY_AFTER, StoreError, WorkspaceRow};

/// Objects written or read at once for one request.
const AT_ONCE: usize = 8;
/// Attachments in one request; more are refused, and sent by several.
pub const ATTACHMENTS_MAX: usize = 1_024;
/// Bytes of attachments in one answer; the rest is named as left and asked for again.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

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
    pub fn open(config: &Config, database: Database, metrics: Metrics) -> Result<Self, StorageError> {
        let objects = objects::open(config)?;
        Ok(Self { objects, database, metrics, quota_bytes: config.quota.workspace_attachments_mib << 20 })
    }

    /// Whether storage answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StorageError> {
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
        if let Some(hash) = hashes.iter().find(|hash| !known.contains_key(*hash)) {
            let message = format!("no operation held here names attachment {}: push the operation first", hex(&hash[..4]));
            return Err(Refusal::not_found("unknown_attachment", message));
        }
        let fresh: BTreeMap<AttachmentHash, Bytes> = sent.iter().filter(|(hash, _)| known.get(hash) == Some(&false)).cloned().collect();
        if fresh.is_empty() {
            return Ok(0);
        }
        let lengths: Vec<(AttachmentHash, u64)> = fresh.iter().map(|(hash, bytes)| (*hash, bytes.len() as u64)).collect();
        let bytes: u64 = lengths.iter().map(|(_, length)| length).sum();
        // So that storage is not filled with what is refused then. What is under way at once may be written all the same, and not be counted.
        if row.attachment_bytes.saturating_add(bytes) > self.quota_bytes {
            return Err(self.full());
        }
        let writes = fresh.into_iter().map(|(hash, bytes)| {
            let (objects, place) = (Arc::clone(&self.objects), place(workspace, &hash));
            async move { objects.put(&place, bytes.into()).await.map(drop) }
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.map_err(storage_failed)?;
        // Only what is in storage is marked: what fails in between is sent again.
        let marking = rows::mark_stored(self.database.write(), row.number, &lengths, self.quota_bytes);
        match self.database.within(marking).await? {
            Marked::Stored => {
                self.metrics.attachments("up", lengths.len(), bytes);
                Ok(lengths.len())
            }
            Marked::Full => Err(self.full()),
            Marked::Gone => Err(Refusal::not_found("unknown_workspace", "the workspace was deleted while this was being stored")),
        }
    }

    fn full(&self) -> Refusal {
        let message = format!("the workspace's attachments would take more than {} MiB", self.quota_bytes >> 20);
        Refusal::new(axum::http::StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", message)
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
        let wanted: Vec<(AttachmentHash, Bytes)> = carried.iter().filter(|(hash, _)| known.get(hash) == Some(&false)).cloned().collect();
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
        Ok(known.into_iter().filter(|(_, is_stored)| !is_stored).map(|(hash, _)| hash).collect())
    }

    /// Reads some, as many as fit into an answer. What turns out to be lost is noted as missing. The share grows as they are read.
    ///
    /// # Errors
    /// When storage or the database fails, or there is no memory for them now.
    pub async fn fetch(
        &self,
        workspace: WorkspaceId,
        row: &WorkspaceRow,
        hashes: &[AttachmentHash],
        share: &mut Share,
    ) -> Result<Found, Refusal> {
        let known = self.find(row, hashes).await?;
        let (stored, missing): (Vec<_>, Vec<_>) = hashes.iter().copied().partition(|hash| known.get(hash) == Some(&true));
        let mut found = Found { missing, ..Found::default() };
        let reads =
            stored.clone().into_iter().map(|hash| async move { Ok::<_, object_store::Error>((hash, self.read(workspace, &hash).await?)) });
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(AT_ONCE));
        let (mut bytes, mut lost) = (0, Vec::new());
        // Bounded by what was read: few more than fit are read at all.
        while let Some((hash, read)) = reads.try_next().await.map_err(storage_failed)? {
            match read {
                None => lost.push(hash),
                Some(read) if found.attachments.is_empty() || bytes + read.len() <= ANSWER_BYTES_MAX => {
                    bytes += read.len();
                    share.grow_to(bytes as u64)?;
                    found.attachments.push((hash, read));
                }
                Some(_) => break,
            }
        }
        found.left.extend_from_slice(&stored[found.attachments.len() + lost.len()..]);
        if !lost.is_empty() {
            self.note_lost(row, &lost).await;
            found.missing.append(&mut lost);
        }
        self.metrics.attachments("down", found.attachments.len(), bytes as u64);
        Ok(found)
    }

    /// Which of some operations name, and whether they are stored.
    async fn find(&self, row: &WorkspaceRow, hashes: &[AttachmentHash]) -> Result<BTreeMap<AttachmentHash, bool>, StoreError> {
        self.database.within(rows::find(self.database.read(), row.number, hashes)).await
    }

    /// Notes that some are not in storage though they were stored, so that they are named as missing and taken again.
    async fn note_lost(&self, row: &WorkspaceRow, lost: &[AttachmentHash]) {
        let noted = self.database.within(rows::mark_lost(self.database.write(), row.number, lost)).await;
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

fn storage_failed(error: object_store::Error) -> Refusal {
    tracing::warn!(error = %crate::store::chain(&error), "object storage failed");
    Refusal::unavailable("storage_unavailable", "the relay's object storage does not answer", RETRY_AFTER)
}
