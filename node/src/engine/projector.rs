//! The projector: keeps the LanceDB table behind the journal, never ahead of it, and heals it by itself.
//!
//! The only writer of the table. It takes the nodes that changed, asks the state what they are now, and writes them in batches; where it
//! is, it notes in the store's own key-value table together with the mark that says which version of the table was made durable. After
//! a crash it goes on from that mark: rows are written again, which changes nothing. When there is any doubt about the table it is made
//! anew from the state; nothing is lost by that, because nothing is only there.

mod resume;
mod task;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use nodespace_projection::{Hit, Query, Reader, Settings};
use tokio::sync::{mpsc, oneshot, watch};

use super::Workspace;
use crate::model::{ErrorCode, Progress, ServiceError};
use crate::service::search_refusal;
use task::Task;

/// How the table is kept.
#[derive(Clone, Debug)]
pub(crate) struct ProjectorOptions {
    /// Where.
    pub(crate) folder: PathBuf,
    /// How long changes are gathered before they are written.
    pub(crate) interval: Duration,
    /// What the table may take.
    pub(crate) settings: Settings,
}

/// How the table is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectorState {
    /// In one word.
    pub(crate) phase: Phase,
    /// All operations before this one are in the table.
    pub(crate) ops: u32,
    /// Rows in the table.
    pub(crate) rows: u64,
    /// What failed last, until it is healed.
    pub(crate) problem: Option<String>,
}

/// What the projector is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being opened.
    #[default]
    Starting,
    /// Nothing to do.
    Current,
    /// Writing what changed.
    CatchingUp,
    /// Making the table anew.
    Rebuilding,
    /// Waiting before it tries again.
    Failed,
    /// Stopped for good.
    Stopped,
}

impl Phase {
    /// For people and programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Current => "current",
            Self::CatchingUp => "catching_up",
            Self::Rebuilding => "rebuilding",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Tells how far a rebuild is.
pub(crate) type ProgressSink = Box<dyn FnMut(Progress) + Send>;

enum Request {
    /// Write what waits without gathering.
    Flush,
    Rebuild(ProgressSink, oneshot::Sender<Result<u64, ServiceError>>),
    Stop(oneshot::Sender<()>),
}

/// A handle to the projector's task.
#[derive(Debug)]
pub(crate) struct Projector {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<ProjectorState>,
    reader: watch::Receiver<Option<Reader>>,
}

impl Projector {
    /// Starts the task.
    pub(super) fn start(workspace: Workspace, options: ProjectorOptions) -> Self {
        let (requests, queue) = mpsc::channel(64);
        let (state, watched) = watch::channel(ProjectorState::default());
        let (reader, readers) = watch::channel(None);
        tokio::spawn(Task::new(workspace, options, queue, state, reader).run());
        Self { requests, state: watched, reader: readers }
    }

    /// How it is doing.
    pub(crate) fn state(&self) -> ProjectorState {
        self.state.borrow().clone()
    }

    /// Waits until the table has all operations before `ops`.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub(crate) async fn catch_up(&self, ops: u32) -> Result<(), ServiceError> {
        let mut state = self.state.clone();
        let reached = |state: &ProjectorState| state.ops >= ops && !matches!(state.phase, Phase::Starting | Phase::Rebuilding);
        if reached(&state.borrow()) {
            return Ok(());
        }
        self.requests.send(Request::Flush).await.map_err(|_| ServiceError::stopping())?;
        let ended = |state: &ProjectorState| reached(state) || matches!(state.phase, Phase::Failed | Phase::Stopped);
        let state = state.wait_for(ended).await.map_err(|_| ServiceError::stopping())?.clone();
        match state.problem {
            Some(problem) if !reached(&state) => Err(ServiceError::new(
                ErrorCode::Unavailable,
                format!("the LanceDB table cannot be written now: {problem}; your notes are safe in the journal, it is tried again"),
            )),
            None if !reached(&state) => Err(ServiceError::stopping()),
            _ => Ok(()),
        }
    }

    /// Asks the table.
    ///
    /// # Errors
    /// When the query cannot be answered.
    pub(crate) async fn search(&self, query: Query) -> Result<Vec<Hit>, ServiceError> {
        self.reader()?.search(&query).await.map_err(|error| search_refusal(&error))
    }

    /// The models whose vectors the table holds.
    ///
    /// # Errors
    /// When the table is not open.
    pub(crate) fn models(&self) -> Result<Vec<String>, ServiceError> {
        Ok(self.reader()?.models().into_iter().map(|model| model.name).collect())
    }

    /// Reads the table.
    ///
    /// # Errors
    /// When it is not open.
    pub(crate) fn reader(&self) -> Result<Reader, ServiceError> {
        let missing = || ServiceError::new(ErrorCode::Unavailable, "the LanceDB table is being opened; try again");
        self.reader.borrow().clone().ok_or_else(missing)
    }

    /// Makes the table anew; answers its rows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn rebuild(&self, progress: ProgressSink) -> Result<u64, ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Rebuild(progress, answer)).await.map_err(|_| ServiceError::stopping())?;
        answered.await.map_err(|_| ServiceError::stopping())?
    }

    /// Writes what waits, makes it durable and ends the task.
    pub(crate) async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::Stop(answer)).await.is_ok() {
            // A task that ended by itself has nothing left to answer.
            answered.await.ok();
        }
    }
}

/// The projector's note in the store's key-value table.
const MARK_KEY: &str = "projection/mark";
