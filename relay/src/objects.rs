//! Object storage: the folder or the bucket that a configuration names.

use std::sync::Arc;

use axum::body::Bytes;
use nodespace_protocol::ids::hex;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use crate::config::Config;

/// What names of objects begin with that are written to see whether that can be done. They are beside those of attachments, not among them.
const TRIED: &str = "nodespace-relay-check";

/// Why object storage cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
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
    /// It does not give back what it was given.
    #[error("object storage has given other bytes back than were written to {0}")]
    Altered(String),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Opens it. A folder is made, of a bucket nothing is asked yet.
///
/// # Errors
/// When the folder cannot be made, or the settings do not fit together.
pub fn open(config: &Config) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let objects: Arc<dyn ObjectStore> =
        if config.storage.bucket.is_empty() { Arc::new(folder(config)?) } else { Arc::new(bucket(config)?) };
    Ok(objects)
}

/// Writes an object that nobody else has and reads it, as the relay does with attachments. Answers its name when it could not be removed: the
/// relay itself removes nothing, and need not be allowed to.
///
/// # Errors
/// When it cannot be written or read, or other bytes are read than were written.
pub async fn try_out(objects: &Arc<dyn ObjectStore>) -> Result<Option<String>, StorageError> {
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(StorageError::Random)?;
    let name = format!("{TRIED}-{}", hex(&number));
    let place = Path::from(name.as_str());
    let written = Bytes::from(format!("written by nodespace-relay check: {name}"));
    objects.put(&place, PutPayload::from(written.clone())).await?;
    let read = async { objects.get(&place).await?.bytes().await }.await;
    let is_removed = objects.delete(&place).await.is_ok();
    if read? != written {
        return Err(StorageError::Altered(name));
    }
    Ok((!is_removed).then_some(name))
}

fn folder(config: &Config) -> Result<LocalFileSystem, StorageError> {
    let folder = config.attachment_folder();
    let failed = |source| StorageError::Folder { folder: folder.display().to_string(), source };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // Marked as stored means durable.
    Ok(LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true))
}

fn bucket(config: &Config) -> Result<AmazonS3, StorageError> {
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
