//! `OperationLogger`: the command path. Local first: apply, append, make durable, answer, pass on.
//!
//! One thread owns the [`DeviceReplica`]. It takes all jobs that wait, up to [`GROUP_JOBS_MAX`], runs the writes among them, makes them
//! durable with one `fdatasync`, answers them, and then runs the reads: so whoever waits alone waits for one fsync, and sixty-four who
//! wait together wait for one as well (group commit, after DeWitt et al., *Implementation Techniques for Main Memory Database Systems*,
//! 1984). Reads come last because a read must not show what a power cut could still take back.
//!
//! When the store fails, no later write is taken: what is on disk then is known only by opening it anew. Reads go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::store::{Store as _, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::DeviceReplica;
use super::checkpoints::Checkpoints;
use super::clock::Clock;
use super::feed::{Feed, Group};
use super::hindsight::Hindsight;
use super::metrics::StoreMetrics;
use crate::model::{ErrorCode, ServiceError};

/// The most jobs that share one fsync. More wait for the next one: an answer is never further away than the work of this many.
pub const GROUP_JOBS_MAX: usize = 1_024;

/// The most jobs that wait. Who comes then waits to be let in: a burst is slowed down, not stored.
pub const QUEUE_JOBS_MAX: usize = 4_096;

/// Where the store's key-value table says before which operation cursors have to be reset (see [`Feed`]).
pub(super) const RESET_KEY: &str = "feed/reset";

/// How a write ends: called with the failure of the commit, or with nothing when it is durable.
type Finish = Box<dyn FnOnce(Option<&ServiceError>) + Send>;

/// What a write gets: the state to write to, or why nothing is written any more.
type Turn<'a> = Result<(&'a mut DeviceReplica, Timestamp), &'a ServiceError>;

/// A write: does it, and says how to end it.
type Run = Box<dyn FnOnce(Turn<'_>) -> Finish + Send>;

/// What the thread is asked to do.
enum Job {
    Read(Box<dyn FnOnce(&DeviceReplica) + Send>),
    Write {
        client: Option<Arc<str>>,
        run: Run,
    },
    /// Let what was held back take effect, take a checkpoint when one is due.
    Tick,
    Checkpoint(oneshot::Sender<Result<(), ServiceError>>),
    Stop(oneshot::Sender<Result<(), ServiceError>>),
}

/// Hands jobs to the thread.
#[derive(Clone, Debug)]
pub(crate) struct OperationLogger {
    jobs: mpsc::Sender<Job>,
}

/// When to take a checkpoint: at whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointPolicy {
    /// After so many bytes of journal: a start after a crash reads no more than that.
    pub(super) journal_bytes: u64,
    /// When the nodes that changed take so many bytes of memory, which they do until a checkpoint has them.
    pub(super) changed_nodes_bytes: usize,
}

impl CheckpointPolicy {
    fn is_due(self, replica: &DeviceReplica) -> bool {
        replica.store().bytes_since_checkpoint() >= self.journal_bytes || replica.dirty_bytes() >= self.changed_nodes_bytes
    }
}

/// What the thread keeps beside the state itself.
pub(super) struct Keeping {
    /// Who watches.
    pub(super) feed: Arc<Feed>,
    /// What had its effect before its time.
    pub(super) hindsight: Hindsight,
    /// When to take checkpoints.
    pub(super) policy: CheckpointPolicy,
}

impl OperationLogger {
    /// Starts the thread. It ends after [`OperationLogger::stop`], or when every handle is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        replica: DeviceReplica,
        keeping: Keeping,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let checkpoints = Checkpoints::new(replica.store().saver());
        let worker = Worker { replica, keeping, queue, clock, checkpoints, metrics, failed: None };
        let thread = std::thread::Builder::new().name("nodespace-writer".into()).spawn(move || worker.run())?;
        Ok((Self { jobs }, thread))
    }

    /// Runs `read` on the state as it is durable.
    ///
    /// # Errors
    /// When the device is stopping.
    pub(crate) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&DeviceReplica) -> T + Send + 'static) -> Result<T, ServiceError> {
        let (answer, answered) = oneshot::channel();
        // Nobody waiting any more is no failure of the read.
        let job = Job::Read(Box::new(move |replica| drop(answer.send(read(replica)))));
        self.jobs.send(job).await.map_err(|_| ServiceError::stopping())?;
        answered.await.map_err(|_| ServiceError::stopping())
    }

    /// Runs `write` and answers when what it wrote is durable. What it wrote before it failed stays.
    ///
    /// # Errors
    /// Those of `write`; when the store failed or the device is stopping.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        client: Option<Arc<str>>,
        write: impl FnOnce(&mut DeviceReplica, Timestamp) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let (answer, answered) = oneshot::channel();
        let run = move |turn: Turn<'_>| -> Finish {
            let outcome = turn.map_err(Clone::clone).and_then(|(replica, now)| write(replica, now));
            // Nobody waiting any more is no failure of the write.
            Box::new(move |failure| drop(answer.send(failure.map_or(outcome, |failure| Err(failure.clone())))))
        };
        let job = Job::Write { client, run: Box::new(run) };
        self.jobs.send(job).await.map_err(|_| ServiceError::stopping())?;
        answered.await.map_err(|_| ServiceError::stopping())?
    }

    /// Lets time pass. Does nothing when the queue is full: then there is no lack of occasions.
    pub(crate) fn tick(&self) -> bool {
        !matches!(self.jobs.try_send(Job::Tick), Err(mpsc::error::TrySendError::Closed(_)))
    }

    /// Takes a checkpoint now.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn checkpoint(&self) -> Result<(), ServiceError> {
        self.ask(Job::Checkpoint).await
    }

    /// Takes a checkpoint and ends the thread; jobs that come later are refused.
    ///
    /// # Errors
    /// When the store fails; everything acknowledged is in the journal all the same.
    pub(crate) async fn stop(&self) -> Result<(), ServiceError> {
        self.ask(Job::Stop).await
    }

    /// Waits until the thread has ended, whether it was told to or a fault ended it.
    pub(crate) async fn ended(&self) {
        self.jobs.closed().await;
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<Result<(), ServiceError>>) -> Job) -> Result<(), ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| ServiceError::stopping())?;
        answered.await.map_err(|_| ServiceError::stopping())?
    }
}

/// The thread's side.
struct Worker {
    replica: DeviceReplica,
    keeping: Keeping,
    queue: mpsc::Receiver<Job>,
    clock: Clock,
    checkpoints: Checkpoints,
    metrics: StoreMetrics,
    /// Why no more is written.
    failed: Option<ServiceError>,
}

impl Worker {
    fn run(mut self) {
        let mut jobs = Vec::with_capacity(GROUP_JOBS_MAX);
        while self.queue.blocking_recv_many(&mut jobs, GROUP_JOBS_MAX) > 0 {
            let group = std::mem::take(&mut jobs);
            // A panic leaves the state half-changed. Nothing more may be answered from it; the journal holds what was acknowledged.
            match catch_unwind(AssertUnwindSafe(|| self.group(group))) {
                Ok(false) => {}
                Ok(true) => return,
                Err(_) => {
                    tracing::error!("a fault of ours stopped the workspace; restart the device, and please report it");
                    return;
                }
            }
        }
    }

    /// One group of jobs. Answers whether that was the last.
    fn group(&mut self, jobs: Vec<Job>) -> bool {
        let began = Instant::now();
        let mut group = Group::starting_at(self.replica.store().op_count());
        let (mut finishes, mut reads, mut asked, mut stop) = (Vec::new(), Vec::new(), Vec::new(), None);
        for job in jobs {
            match job {
                Job::Read(read) => reads.push(read),
                Job::Write { client, run } => {
                    let turn = match &self.failed {
                        Some(failure) => Err(failure),
                        None => Ok((&mut self.replica, self.clock.now())),
                    };
                    finishes.push(run(turn));
                    group.wrote(self.replica.store().op_count(), client);
                }
                Job::Tick => self.tick(),
                Job::Checkpoint(answer) => asked.push(answer),
                Job::Stop(answer) => stop = Some(answer),
            }
        }
        let before = group.start();
        let outcome = self.commit(group);
        let written = self.replica.store().op_count() - before;
        if written > 0 && outcome.is_ok() {
            self.metrics.committed(written, began.elapsed());
        }
        finishes.into_iter().for_each(|finish| finish(outcome.as_ref().err()));
        reads.into_iter().for_each(|read| read(&self.replica));
        self.checkpoint_when_due();
        if !asked.is_empty() {
            let outcome = self.checkpoint_now();
            asked.into_iter().for_each(|answer| drop(answer.send(outcome.clone())));
        }
        let Some(stop) = stop else { return false };
        // A few operations are replayed sooner than a checkpoint is written.
        let worthwhile = self.replica.store().bytes_since_checkpoint() >= CHECKPOINT_AT_STOP_BYTES_MIN;
        let outcome = if worthwhile { self.checkpoint_now() } else { self.failed.clone().map_or(Ok(()), Err) };
        // Whoever asked may have gone away; the thread ends all the same.
        stop.send(outcome).ok();
        true
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        let due = self.replica.next_timeout().is_some_and(|at| at <= now);
        if due && let Err(error) = self.replica.tick(now) {
            self.fail(&error);
        }
    }

    /// Makes a group durable and tells who watches.
    fn commit(&mut self, group: Group) -> Result<(), ServiceError> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let wrote = self.replica.store().op_count() > group.start();
        let held = self.replica.held_ops();
        let committed = self.replica.commit().and_then(|()| {
            let changed = self.replica.take_changed()?;
            if wrote || !changed.is_empty() {
                self.keeping.hindsight.note(self.replica.store(), self.clock.now(), held)?;
            }
            let reset = self.keeping.feed.publish(group, changed, &self.replica)?;
            reset.map_or(Ok(()), |ops| self.replica.store().put_value(RESET_KEY, &ops.to_le_bytes()))
        });
        committed.map_err(|error| self.fail(&error))
    }

    /// Takes in a checkpoint that was written, and begins one when enough has changed.
    fn checkpoint_when_due(&mut self) {
        if self.failed.is_some() {
            return;
        }
        self.checkpoints.take_in(&mut self.replica, false);
        if !self.keeping.policy.is_due(&self.replica) {
            return;
        }
        match self.checkpoints.begin(&mut self.replica) {
            Ok(true) => self.metrics.checkpoint(),
            Ok(false) => {}
            Err(error) => drop(self.fail(&error)),
        }
    }

    /// Takes a checkpoint and waits for it.
    fn checkpoint_now(&mut self) -> Result<(), ServiceError> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        self.checkpoints.take_in(&mut self.replica, true);
        self.replica.checkpoint().map_err(|error| ServiceError::of_store(&error))
    }

    fn fail(&mut self, error: &StoreError) -> ServiceError {
        let mut refusal = ServiceError::of_store(error);
        if refusal.code() == ErrorCode::StoreFailed {
            refusal.0.message.push_str("; nothing more is written until the device is restarted, run `nodespace doctor` first");
        }
        self.metrics.failure();
        tracing::error!(error = %refusal, "the store failed");
        self.failed = Some(refusal.clone());
        refusal
    }
}

/// A stop with less journal than this after the last checkpoint takes none: a command that makes one note must not rewrite an index.
const CHECKPOINT_AT_STOP_BYTES_MIN: u64 = 256 * 1024;
