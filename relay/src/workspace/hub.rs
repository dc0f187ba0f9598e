//! All workspaces that are in memory, found by id; the least used leave when memory is short.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nodespace_protocol::ids::WorkspaceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::RelayReplica;
use super::opening::openings;
use super::push::{PushJob, Pushed};
use super::seat::{Request, Seat, Surroundings, Waiting};
use crate::checkpoints::Checkpoints;
use crate::config::{QuotaConfig, ServerConfig};
use crate::memory::Share;
use crate::metrics::Metrics;
use crate::notify::Bus;
use crate::refusal::Refusal;
use crate::store::Database;

/// How long a request waits for a place in a workspace's queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// When to come back to a workspace that is busy.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// The workspaces in memory.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seats: Mutex<HashMap<WorkspaceId, Seat>>,
    /// What seats are made with; `None` once the hub is closed.
    around: Mutex<Option<Surroundings>>,
    bytes_max: u64,
    /// Ends when no seat is left.
    seated: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// What a hub is made of.
#[derive(Clone, Debug)]
pub struct HubParts {
    /// Where the logs are.
    pub database: Database,
    /// Whom to tell that a workspace has grown.
    pub bus: Bus,
    /// What is measured.
    pub metrics: Metrics,
    /// Where checkpoints are kept.
    pub checkpoints: Checkpoints,
}

/// What is in memory, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HubStatus {
    /// Workspaces.
    pub workspaces: usize,
    /// What their replicas take, about.
    pub bytes: u64,
}

impl Hub {
    /// A hub without any workspace.
    #[must_use]
    pub fn new(parts: HubParts, server: &ServerConfig, quota: QuotaConfig) -> Self {
        let HubParts { database, bus, metrics, checkpoints } = parts;
        let idle = Duration::from_secs(server.workspace_idle_seconds);
        let (here, seated) = mpsc::channel(1);
        let around = Surroundings { database, bus, metrics, quota, idle, checkpoints, openings: openings(), _here: here };
        let bytes_max = server.workspaces_in_memory_mib << 20;
        let shared = Shared {
            seats: Mutex::new(HashMap::new()),
            around: Mutex::new(Some(around)),
            bytes_max,
            seated: tokio::sync::Mutex::new(seated),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets all workspaces leave memory, each with a checkpoint when that is worth it, and waits until they have. What is asked of the hub from
    /// then on is told that it is busy.
    pub async fn close(&self) {
        self.shared.around.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (_, seat) in self.shared.seats.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            seat.stop.cancel();
        }
        while self.shared.seated.lock().await.recv().await.is_some() {}
    }

    /// Stores what a packet brings. Its share is kept until its turn is over.
    ///
    /// # Errors
    /// When nothing of it was stored.
    pub async fn push(&self, workspace: WorkspaceId, job: PushJob, share: Arc<Share>) -> Result<Pushed, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(workspace, Request::Push(job, Waiting::new(answer, share))).await?;
        // A turn answers everybody; one that is gone was ended with the process.
        answered.await.unwrap_or_else(|_| Err(busy()))
    }

    /// Asks a replica that holds everything the database held when it was asked.
    ///
    /// # Errors
    /// When the workspace is not here, or the database fails.
    pub(crate) async fn ask<T, F>(&self, workspace: WorkspaceId, question: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&RelayReplica) -> Result<T, Refusal> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let question = move |replica: Result<&RelayReplica, Refusal>| {
            // Who has gone away does not want to know.
            answer.send(replica.and_then(question)).ok();
        };
        self.send(workspace, Request::Ask(Box::new(question))).await?;
        answered.await.unwrap_or_else(|_| Err(busy()))
    }

    async fn send(&self, workspace: WorkspaceId, request: Request) -> Result<(), Refusal> {
        // A seat may end between being found and being asked; the one after it is fresh.
        for _ in 0..3 {
            let Some(sender) = self.seat(workspace) else { break };
            match timeout(QUEUE_WAIT, sender.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(request);
                    return Ok(());
                }
                Ok(Err(_)) => {}
                Err(_) => return Err(busy()),
            }
        }
        Err(busy())
    }

    fn seat(&self, workspace: WorkspaceId) -> Option<mpsc::Sender<Request>> {
        let mut seats = self.shared.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|_, seat| !seat.requests.is_closed());
        let around = self.shared.around.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let seat = seats.entry(workspace).or_insert_with(|| Seat::start(workspace, around));
        seat.used = Instant::now();
        let sender = seat.requests.clone();
        self.trim(&mut seats, workspace);
        Some(sender)
    }

    /// Lets the least used leave, but not the one that is wanted now.
    fn trim(&self, seats: &mut HashMap<WorkspaceId, Seat>, wanted: WorkspaceId) {
        let mut bytes: u64 = seats.values().map(|seat| seat.bytes.load(Ordering::Relaxed)).sum();
        while bytes > self.shared.bytes_max {
            let others = seats.iter().filter(|(id, _)| **id != wanted);
            let Some(least) = others.min_by_key(|(_, seat)| seat.used).map(|(id, _)| *id) else { break };
            if let Some(seat) = seats.remove(&least) {
                bytes = bytes.saturating_sub(seat.bytes.load(Ordering::Relaxed));
                seat.stop.cancel();
            }
        }
    }

    /// What is in memory.
    #[must_use]
    pub fn status(&self) -> HubStatus {
        let seats = self.shared.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = seats.values().map(|seat| seat.bytes.load(Ordering::Relaxed)).sum();
        HubStatus { workspaces: seats.len(), bytes }
    }
}

fn busy() -> Refusal {
    Refusal::unavailable("workspace_busy", "more is waiting to be written to the workspace than can be held", BUSY_RETRY)
}
