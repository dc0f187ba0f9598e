//! The seat of a workspace: a queue of packets and questions, served one turn after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nodespace_protocol::ids::{UserId, WorkspaceId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::RelayReplica;
use super::alone::Company;
use super::opened::Opened;
use super::push::{PushJob, Pushed};
use super::turn::Workbench;
use crate::checkpoints::Checkpoints;
use crate::config::QuotaConfig;
use crate::memory::Share;
use crate::metrics::Metrics;
use crate::notify::Bus;
use crate::refusal::Refusal;
use crate::store::Database;

/// Requests waiting for one workspace; more are told that it is busy. What their packets hold is bounded by [`crate::memory`].
pub(super) const QUEUE_MAX: usize = 256;
/// Operations of one turn; packets beyond it wait for the next. One larger packet is a turn of its own.
const TURN_OPERATIONS_MAX: usize = 4_096;
/// Bytes of them, about: they are in memory several times until the transaction is committed.
const TURN_BYTES_MAX: u64 = 8 << 20;

/// A question to a replica that is up to date, or the reason why there is none.
pub(super) type Question = Box<dyn FnOnce(Result<&RelayReplica, Refusal>) + Send>;

pub(super) enum Request {
    Push(PushJob, Waiting),
    Ask(Question),
}

/// Who waits for what becomes of a packet, and what the packet holds of the memory for bodies until then.
pub(super) struct Waiting {
    answer: oneshot::Sender<Result<Pushed, Refusal>>,
    _share: Arc<Share>,
}

impl Waiting {
    pub(super) const fn new(answer: oneshot::Sender<Result<Pushed, Refusal>>, share: Arc<Share>) -> Self {
        Self { answer, _share: share }
    }

    /// Who has gone away meanwhile will find what is stored when it asks again.
    fn tell(self, outcome: Result<Pushed, Refusal>) {
        self.answer.send(outcome).ok();
    }
}

/// What all seats share.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) database: Database,
    pub(super) bus: Bus,
    pub(super) metrics: Metrics,
    pub(super) quota: QuotaConfig,
    pub(super) idle: Duration,
    pub(super) checkpoints: Checkpoints,
    pub(super) openings: Arc<Semaphore>,
    /// Gone when all seats have ended: nothing is ever sent.
    pub(super) _here: mpsc::Sender<()>,
}

/// A seat, seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) requests: mpsc::Sender<Request>,
    /// Asks it to end once its queue is empty.
    pub(super) stop: CancellationToken,
    /// What its replica takes, about.
    pub(super) bytes: Arc<AtomicU64>,
    pub(super) used: Instant,
}

impl Seat {
    /// Starts a seat.
    pub(super) fn start(workspace: WorkspaceId, around: Surroundings) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let (stop, bytes) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let bench = Workbench {
            database: around.database.clone(),
            quota: around.quota,
            workspace,
            checkpoints: around.checkpoints.clone(),
            metrics: around.metrics.clone(),
            openings: Arc::clone(&around.openings),
            company: Company::default(),
        };
        let service = Service { workspace, around, bench, queue, opened: None, bytes: Arc::clone(&bytes) };
        tokio::spawn(service.serve(stop.clone()));
        Self { requests, stop, bytes, used: Instant::now() }
    }
}

struct Service {
    workspace: WorkspaceId,
    around: Surroundings,
    bench: Workbench,
    queue: mpsc::Receiver<Request>,
    opened: Option<Opened>,
    bytes: Arc<AtomicU64>,
}

impl Service {
    async fn serve(mut self, stop: CancellationToken) {
        loop {
            let request = tokio::select! {
                biased;
                request = timeout(self.around.idle, self.queue.recv()) => request,
                () = stop.cancelled() => break,
            };
            match request {
                Ok(Some(request)) => self.take_turn(request).await,
                // Nobody asks any more, or nobody has for a while.
                Ok(None) | Err(_) => break,
            }
        }
        // Nothing new from here on; who was in the queue is served.
        self.queue.close();
        while let Some(request) = self.queue.recv().await {
            self.take_turn(request).await;
        }
        self.bench.keep_last(&mut self.opened).await;
        self.bytes.store(0, Ordering::Relaxed);
    }

    async fn take_turn(&mut self, first: Request) {
        let mut jobs = Vec::new();
        let mut questions = Vec::new();
        let (mut operations, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Push(job, waiting) => {
                    operations += job.operations();
                    bytes += job.bytes();
                    jobs.push((job, waiting));
                }
                Request::Ask(question) => questions.push(question),
            }
            if operations < TURN_OPERATIONS_MAX && bytes < TURN_BYTES_MAX {
                next = self.queue.try_recv().ok();
            }
        }
        if !jobs.is_empty() {
            self.push(jobs).await;
        }
        if !questions.is_empty() {
            self.ask(questions).await;
        }
        self.bench.keep(&mut self.opened).await;
        self.weigh();
    }

    async fn push(&mut self, queued: Vec<(PushJob, Waiting)>) {
        let started = Instant::now();
        let founders: Vec<UserId> = queued.iter().filter(|(job, _)| job.founds()).map(|(job, _)| job.user).collect();
        let (jobs, waiting): (Vec<PushJob>, Vec<Waiting>) = queued.into_iter().unzip();
        let packets = jobs.len();
        match self.bench.run(&mut self.opened, &founders, jobs).await {
            Ok(outcome) => {
                let stored: usize = outcome.answers.iter().flatten().map(|pushed| pushed.stored).sum();
                self.around.metrics.turn(packets, stored, started.elapsed());
                if let Some(version) = outcome.grown_to {
                    self.around.bus.publish(self.workspace, version);
                }
                waiting.into_iter().zip(outcome.answers).for_each(|(waiting, outcome)| waiting.tell(outcome));
            }
            Err(error) => {
                self.opened = None;
                self.around.metrics.turn_failed();
                let refusal = Refusal::from(error);
                waiting.into_iter().for_each(|waiting| waiting.tell(Err(refusal.clone())));
            }
        }
    }

    async fn ask(&mut self, questions: Vec<Question>) {
        let refreshed = self.bench.refresh(&mut self.opened).await;
        let reason = match refreshed {
            Ok(true) => None,
            Ok(false) => Some(Refusal::not_found("unknown_workspace", "this relay does not hold the workspace")),
            Err(error) => {
                self.opened = None;
                Some(error.into())
            }
        };
        let opened = self.opened.take();
        let answered = tokio::task::spawn_blocking(move || {
            for question in questions {
                match (&opened, &reason) {
                    (Some(opened), None) => question(Ok(&opened.replica)),
                    (_, Some(reason)) => question(Err(reason.clone())),
                    (None, None) => question(Err(Refusal::not_found("unknown_workspace", "this relay does not hold the workspace"))),
                }
            }
            opened
        });
        self.opened = answered.await.ok().flatten();
    }

    fn weigh(&mut self) {
        self.bytes.store(self.opened.as_ref().map_or(0, Opened::weight), Ordering::Relaxed);
    }
}
