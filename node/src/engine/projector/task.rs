//! The projector's task: gather, write, make durable, tidy; on a failure wait and try again, at last make the table anew.

use std::time::Duration;

use nodespace_projection::{Deleted, Filter, Mark, Opened, Projection, Reader, State, Work};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{MARK_KEY, Phase, ProgressSink, ProjectorOptions, ProjectorState, Request};
use crate::engine::{Feed, Workspace};
use crate::model::{ErrorCode, Progress, ServiceError};

/// How long is waited after a failure before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// So many operations while changes are gathered are a flood: the table follows when it is over.
const FLOOD_OPS_MIN: u32 = 2_000;

/// How long it must be calm after a flood. A line that breaks and is made again does not end one.
const FLOOD_CALM: Duration = Duration::from_secs(2);

/// How long a flood can keep the table waiting.
const FLOOD_WAIT_MAX: Duration = Duration::from_secs(60);

/// After so many failures in a row the table is made anew.
const FAILURES_BEFORE_REBUILD: u32 = 3;

pub(super) struct Task {
    pub(super) workspace: Workspace,
    options: ProjectorOptions,
    queue: mpsc::Receiver<Request>,
    state: watch::Sender<ProjectorState>,
    reader: watch::Sender<Option<Reader>>,
    pub(super) table: Option<Projection>,
    failures: u32,
    started: Instant,
}

/// Why the task went on.
enum Wake {
    /// There is something to write, or it is time to try again.
    Write,
    /// The table asks for maintenance.
    Maintain,
    Rebuild(ProgressSink, oneshot::Sender<Result<u64, ServiceError>>),
    Stop(Option<oneshot::Sender<()>>),
}

impl Task {
    pub(super) fn new(
        workspace: Workspace,
        options: ProjectorOptions,
        queue: mpsc::Receiver<Request>,
        state: watch::Sender<ProjectorState>,
        reader: watch::Sender<Option<Reader>>,
    ) -> Self {
        Self { workspace, options, queue, state, reader, table: None, failures: 0, started: Instant::now() }
    }

    pub(super) async fn run(mut self) {
        let mut outcome = self.write_or_open().await;
        loop {
            let retry = outcome.err().map(|error: ServiceError| self.failed(&error));
            outcome = match self.wait(retry).await {
                Wake::Write => self.write_or_open().await,
                Wake::Maintain => self.maintain().await,
                Wake::Rebuild(mut progress, answer) => {
                    let rebuilt = self.rebuild_on_request(&mut progress).await;
                    let outcome = rebuilt.as_ref().map(drop).map_err(Clone::clone);
                    // Whoever asked may have gone away.
                    answer.send(rebuilt).ok();
                    outcome
                }
                Wake::Stop(answer) => {
                    self.close().await;
                    answer.map(|answer| answer.send(()));
                    return;
                }
            };
        }
    }

    /// Waits for something to do.
    async fn wait(&mut self, retry: Option<Duration>) -> Wake {
        let feed = self.workspace.feed();
        let gather = self.options.interval;
        let due = self.table.as_ref().and_then(Projection::next_due).map(|due| self.started + due);
        let timer = retry.map(|delay| Instant::now() + delay).or(due);
        let timed_out = async {
            match timer {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Whoever was told and then did something else has not written yet: a word is said once.
        let waits = feed.dirty_count() > 0 || feed.end().position.ops > self.state.borrow().ops;
        let gathered = async {
            if !waits {
                feed.dirtied.notified().await;
            }
            gather_flood(&feed, gather).await;
        };
        tokio::select! {
            request = self.queue.recv() => match request {
                Some(Request::Flush) => Wake::Write,
                Some(Request::Rebuild(progress, answer)) => Wake::Rebuild(progress, answer),
                Some(Request::Stop(answer)) => Wake::Stop(Some(answer)),
                None => Wake::Stop(None),
            },
            () = timed_out => if retry.is_some() { Wake::Write } else { Wake::Maintain },
            () = gathered, if retry.is_none() => Wake::Write,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    async fn write_or_open(&mut self) -> Result<(), ServiceError> {
        match self.table {
            Some(_) => self.write().await,
            None => self.open().await,
        }
    }

    /// Opens the table where the last mark says, or makes it anew.
    async fn open(&mut self) -> Result<(), ServiceError> {
        let mark = if self.failures < FAILURES_BEFORE_REBUILD { self.mark().await? } else { None };
        let Opened { projection, state } = self.open_table(mark).await?;
        let verification = projection.verification();
        let ops = u32::try_from(projection.position()).unwrap_or(u32::MAX);
        self.reader.send_replace(Some(projection.reader()));
        self.table = Some(projection);
        match state {
            State::Current => {
                let resumed = match self.resume(ops).await {
                    Ok(()) => self.rows().await,
                    Err(error) => Err(error),
                };
                match resumed {
                    Ok(rows) => self.state.send_modify(|state| (state.ops, state.rows, state.phase) = (ops, rows, Phase::CatchingUp)),
                    // Without its marks of what may differ the table must not be written on: it is opened again.
                    Err(error) => {
                        self.table = None;
                        return Err(error);
                    }
                }
                if let Some(verification) = verification {
                    self.verify(verification);
                }
                self.write().await
            }
            State::Empty(_) => self.rebuild(&mut (Box::new(|_: Progress| {}) as ProgressSink)).await.map(drop),
        }
    }

    async fn open_table(&self, mark: Option<Mark>) -> Result<Opened, ServiceError> {
        let opened = Projection::open(&self.options.folder, mark, self.options.settings.clone()).await;
        opened.map_err(|error| failure(&error))
    }

    /// Checks the bytes of a large table beside everything else; a doubt lets the task make it anew.
    fn verify(&self, verification: nodespace_projection::Verification) {
        let workspace = self.workspace.clone();
        tokio::spawn(async move {
            let Err(doubt) = verification.run().await else { return };
            tracing::warn!(reason = %doubt, "the LanceDB table is damaged and is made anew");
            if let Ok(projector) = workspace.projector().await {
                // Whoever is stopping makes it anew at the next start: the same check finds the same.
                projector.rebuild(Box::new(|_| {})).await.ok();
            }
        });
    }

    /// Does what the table asks for: tidying, and making durable what was written.
    async fn maintain(&mut self) -> Result<(), ServiceError> {
        let now = self.elapsed();
        let Some(work) = self.table.as_mut().and_then(|table| table.due(now)) else { return Ok(()) };
        match (work, self.table.as_mut()) {
            (Work::Checkpoint, _) => self.checkpoint().await,
            (work, Some(table)) => table.maintain(work).await.map(drop).map_err(|error| failure(&error)),
            (_, None) => Ok(()),
        }
    }

    /// Makes what was written durable and notes where that is.
    pub(super) async fn checkpoint(&mut self) -> Result<(), ServiceError> {
        let now = self.elapsed();
        let Some(table) = self.table.as_mut() else { return Ok(()) };
        let mark = table.checkpoint(now).await.map_err(|error| failure(&error))?;
        let bytes = serde_json::to_vec(&mark).map_err(|error| failure(&error))?;
        Ok(self.workspace.read(move |replica| replica.store().put_value(MARK_KEY, &bytes)).await??)
    }

    async fn mark(&self) -> Result<Option<Mark>, ServiceError> {
        let bytes = self.workspace.read(|replica| replica.store().value(MARK_KEY)).await??;
        // A mark that cannot be read says nothing: then the table is made anew.
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Says that the table has everything before `ops`.
    pub(super) async fn current(&mut self, ops: u32, phase: Phase) -> Result<(), ServiceError> {
        if self.table.is_none() {
            return Ok(());
        }
        let rows = self.rows().await?;
        self.failures = 0;
        self.state.send_if_modified(|state| {
            let new = ProjectorState { phase, ops, rows, problem: None };
            let differs = *state != new;
            *state = new;
            differs
        });
        Ok(())
    }

    /// How many rows the table has; none while there is no table.
    async fn rows(&self) -> Result<u64, ServiceError> {
        let Some(table) = &self.table else { return Ok(0) };
        let counted = table.reader().count(&Filter { deleted: Deleted::Include, ..Filter::default() }).await;
        counted.map_err(|error| failure(&error))
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.state.send_modify(|state| state.phase = phase);
    }

    async fn rebuild_on_request(&mut self, progress: &mut ProgressSink) -> Result<u64, ServiceError> {
        if self.table.is_none() {
            let Opened { projection, .. } = self.open_table(None).await?;
            self.reader.send_replace(Some(projection.reader()));
            self.table = Some(projection);
        }
        self.rebuild(progress).await
    }

    /// Takes note of a failure; answers how long to wait.
    fn failed(&mut self, error: &ServiceError) -> Duration {
        self.failures += 1;
        tracing::warn!(%error, failures = self.failures, "the LanceDB table could not be written; your notes are in the journal");
        if self.failures >= FAILURES_BEFORE_REBUILD {
            self.table = None;
        }
        self.state.send_modify(|state| (state.phase, state.problem) = (Phase::Failed, Some(error.to_string())));
        RETRY_AFTER
    }

    /// Writes what waits and makes it durable; what was due for attachments that came late is not due any more then.
    async fn write_last(&mut self) -> Result<(), ServiceError> {
        let late = self.workspace.late_rows().await?;
        // Those that are due and were not named yet, too.
        self.workspace.feed().add_dirty(late.iter().cloned());
        self.write().await?;
        self.checkpoint().await?;
        self.workspace.forget_late_rows(late).await
    }

    async fn close(&mut self) {
        let outcome = match self.table {
            Some(_) => self.write_last().await,
            None => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the LanceDB table is not current; it heals at the next start");
        }
        self.table = None;
        self.set_phase(Phase::Stopped);
    }
}

/// Waits while changes are gathered: once, or, while operations pour in, until they do so no more. A row that is written now and
/// changed a moment later is written for nothing, and the table's work takes the processor from what pours in.
async fn gather_flood(feed: &Feed, gather: Duration) {
    let most = Instant::now() + FLOOD_WAIT_MAX;
    let mut before = feed.end().position.ops;
    let mut poured = None;
    loop {
        tokio::time::sleep(gather).await;
        let (now, ops) = (Instant::now(), feed.end().position.ops);
        if ops - before >= FLOOD_OPS_MIN {
            poured = Some(now);
        }
        before = ops;
        let is_calm = poured.is_none_or(|poured| now.duration_since(poured) >= FLOOD_CALM);
        if is_calm || now >= most {
            return;
        }
    }
}

/// A failure of the table, with its causes.
pub(super) fn failure(error: &dyn std::error::Error) -> ServiceError {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    ServiceError::new(ErrorCode::StoreFailed, message)
}
