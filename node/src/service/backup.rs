//! Backups of a workspace that is in use.

use std::path::PathBuf;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::Record;

use super::import::blocking;
use crate::backup::source::{self, PAGE_RECORDS_DEFAULT};
use crate::backup::{BackupError, BackupWriter, Manifest};
use crate::engine::Workspace;
use crate::model::{BackupReport, BackupRequest, ErrorCode, Progress, ServiceError};

/// How many vectors are read at a time.
const PAGE_VECTORS: usize = 256;

impl Workspace {
    /// Writes a backup: everything this workspace holds now, without the identity of this device. What is written meanwhile may be missing.
    ///
    /// # Errors
    /// When the file exists or cannot be written; nothing is left behind then.
    pub async fn backup(&self, request: BackupRequest, progress: impl Fn(Progress) + Send + Sync) -> Result<BackupReport, ServiceError> {
        let path = PathBuf::from(&request.path);
        if !path.is_absolute() || path.file_name().is_none() {
            let message = format!("`{}` is not the absolute path of a new file on the device's machine", request.path);
            return Err(ServiceError::new(ErrorCode::InvalidRequest, message));
        }
        let (manifest, seals) = self.write(None, |replica, now| Ok(source::begin(replica, now)?)).await?;
        let records = manifest.records;
        let step = move |done| Progress { step: "backing up".to_owned(), done, total: Some(records) };
        progress(step(0));
        let mut writer = create(path, manifest).await?;
        let mut from = 0;
        while from < records {
            let page = self.read(move |replica| source::page(replica.store(), from, records, PAGE_RECORDS_DEFAULT)).await??;
            if page.is_empty() {
                return Err(ServiceError::new(
                    ErrorCode::StoreFailed,
                    "the journal has fewer records than it counts; run `nodespace doctor`",
                ));
            }
            from += page.len() as u64;
            writer = write(writer, page).await?;
            progress(step(from));
        }
        let writer = write(writer, seals).await?;
        let writer = self.backup_vectors(writer).await?;
        let (totals, bytes) = blocking(move || writer.finish()).await??;
        let (workspace, path) = (self.id().to_string(), request.path);
        Ok(BackupReport { path, workspace, operations: totals.operations, vectors: totals.vectors, bytes })
    }

    async fn backup_vectors(&self, mut writer: BackupWriter) -> Result<BackupWriter, ServiceError> {
        let mut after: Option<(NodeId, String)> = None;
        loop {
            let from = after.take();
            let read = move |store: &nodespace_store::DiskStore| {
                store.vectors(from.as_ref().map(|(node, model)| (node, model.as_str())), PAGE_VECTORS)
            };
            let page = self.read(move |replica| read(replica.store())).await??;
            let Some(last) = page.last() else { return Ok(writer) };
            after = Some((last.node.clone(), last.model.clone()));
            writer = blocking(move || {
                let page: Vec<_> =
                    page.iter().map(|entry| (&entry.node, entry.model.as_str(), &entry.source, entry.vector.as_slice())).collect();
                writer.vectors(&page).map(|()| writer)
            })
            .await??;
        }
    }
}

async fn create(path: PathBuf, manifest: Manifest) -> Result<BackupWriter, ServiceError> {
    Ok(blocking(move || BackupWriter::create(&path, &manifest)).await??)
}

async fn write(mut writer: BackupWriter, records: Vec<Record>) -> Result<BackupWriter, ServiceError> {
    let written = blocking(move || writer.records(&records).map(|()| writer)).await?;
    written.map_err(|error: BackupError| error.into())
}
