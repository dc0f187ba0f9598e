//! Importing: the machine of [`crate::import`], a few hundred nodes at a time, so that other writers get their turn.

use crate::engine::Workspace;
use crate::import::job::STEP_NODES_DEFAULT;
use crate::import::{Import, Step};
use crate::model::{ErrorCode, ImportReport, ImportRequest, Progress, ServiceError};

impl Workspace {
    /// Imports Markdown documents; again and again as the files change. What was imported when it stops in the middle stays, and the next
    /// import goes on from there.
    ///
    /// # Errors
    /// When nothing can be written, or the node to import under is not there. What is wrong with one document is in its outcome.
    pub async fn import(
        &self,
        client: Option<String>,
        request: ImportRequest,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<ImportReport, ServiceError> {
        let mut import = blocking(move || Import::new(request)).await??;
        loop {
            progress(import.progress());
            let (advanced, step) = self.import_step(client.clone(), import).await?;
            import = advanced;
            if step == Step::Done {
                progress(import.progress());
                return Ok(import.report());
            }
        }
    }

    /// One step, durable, and then the records of the documents that it finished.
    async fn import_step(&self, client: Option<String>, mut import: Import) -> Result<(Import, Step), ServiceError> {
        let (mut import, step) = self
            .write(client, move |replica, now| {
                let step = import.step(replica, &|store, key| store.value(key), now, STEP_NODES_DEFAULT)?;
                Ok((import, step))
            })
            .await?;
        let records = import.take_records();
        if !records.is_empty() {
            self.read(move |replica| {
                let values: Vec<(&str, Option<&[u8]>)> =
                    records.iter().map(|(key, bytes)| (key.as_str(), Some(bytes.as_slice()))).collect();
                replica.store().put_values(&values)
            })
            .await??;
        }
        Ok((import, step))
    }
}

/// Runs what takes its time where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    let fault =
        |error: tokio::task::JoinError| ServiceError::new(ErrorCode::Internal, format!("a fault of NodeSpace ended this work: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(fault)
}
