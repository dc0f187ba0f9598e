//! One turn of a workspace: what several packets bring, in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use nodespace_protocol::ids::{UserId, WorkspaceId};
use nodespace_protocol::store::{Record, StoreError as ReplicaStoreError};
use sqlx::PgConnection;
use tokio::runtime::Handle;

use super::opened::{Opened, Trust};
use super::push::{Effects, PushJob, Pushed};
use super::segments::runs_of;
use super::{LogStore, RelayReplica};
use crate::checkpoints::{CheckpointFile, Checkpoints, Place};
use crate::clock;
use crate::config::QuotaConfig;
use crate::metrics::{Metrics, OpenedFrom};
use crate::refusal::Refusal;
use crate::store::{Advance, Database, Epoch, MembershipRows, NodeRows, OperationRows, StoreError, WorkspaceRow, attachments, operations};

/// Memory for node states that were read again, of one workspace.
pub(super) const NODE_CACHE_BYTES: usize = 1 << 20;
/// So many operations behind, a replica reads what it lacks before the row is locked rather than while others wait for it.
const BEHIND_MAX: u64 = 1_024;
/// How often a turn begins again because its replica turned out not to fit the row that was locked; then it is opened under the lock.
const ATTEMPTS: usize = 3;

/// What a turn made of its packets.
#[derive(Debug)]
pub(super) struct Outcome {
    /// An answer for each packet, in order.
    pub(super) answers: Vec<Result<Pushed, Refusal>>,
    /// The version now, when it has grown.
    pub(super) grown_to: Option<u64>,
}

/// Why a turn came to nothing. Its transaction was rolled back, its replica is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Replica(#[from] ReplicaStoreError),
    #[error("a turn ended in a panic")]
    Panicked,
}

impl TurnError {
    /// Whether state that a checkpoint held wrongly could be the reason.
    const fn casts_doubt(&self) -> bool {
        let corrupt = matches!(self, Self::Store(StoreError::Corrupt { .. }) | Self::Replica(ReplicaStoreError::Corrupt { .. }));
        corrupt || matches!(self, Self::Panicked)
    }
}

impl From<TurnError> for Refusal {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::Store(error) => error.into(),
            TurnError::Replica(ReplicaStoreError::Corrupt { place, what }) => StoreError::Corrupt { place, what }.into(),
            TurnError::Replica(error) => {
                tracing::warn!(error = %crate::store::chain(&error), "a replica could not read its log");
                Self::unavailable(
                    "database_unavailable",
                    "the relay's database does not answer; nothing was stored",
                    crate::store::RETRY_AFTER,
                )
            }
            TurnError::Panicked => {
                tracing::error!("a turn ended in a panic; this is a fault of the relay");
                Self::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "relay_fault", "a fault of the relay; nothing was stored")
            }
        }
    }
}

/// What turns are made with.
#[derive(Clone, Debug)]
pub(super) struct Workbench {
    pub(super) database: Database,
    pub(super) quota: QuotaConfig,
    pub(super) workspace: WorkspaceId,
    pub(super) checkpoints: Checkpoints,
    pub(super) metrics: Metrics,
}

/// What the transaction writes beside the counter.
struct Written {
    operations: OperationRows,
    nodes: NodeRows,
    members: Option<MembershipRows>,
    attachments: Vec<([u8; 32], u32)>,
    held: bool,
}

impl Written {
    /// The workspace's row once this is committed.
    fn moves(&self, row: &WorkspaceRow) -> WorkspaceRow {
        WorkspaceRow {
            version: row.version + self.operations.len() as u64,
            running: self.operations.running(),
            bytes: row.bytes + self.operations.bytes(),
            held: self.held,
            ..row.clone()
        }
    }
}

impl Workbench {
    /// Opens the replica, or brings one up to date, without locking anything. `None` when the workspace is not here.
    pub(super) async fn refresh(&self, opened: &mut Option<Opened>) -> Result<bool, TurnError> {
        let Some(row) = WorkspaceRow::read(self.database.read(), &self.workspace).await? else {
            *opened = None;
            return Ok(false);
        };
        let epoch = self.database.epoch().current();
        let current = opened.take().filter(|opened| opened.is_of(&row, epoch));
        let (bench, held) = (self.clone(), row.held);
        let caught_up = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(&row, epoch, Trust::Checkpoint)?,
            };
            bench.catch_up(&mut now, row.version)?;
            now.replica.tick(clock::now())?;
            if !row.held {
                // Those who added what was just read have written these.
                drop(now.replica.take_changed()?);
                now.is_settled_at(row.running);
            }
            Ok(now)
        })
        .await?;
        *opened = Some(caught_up);
        if held {
            self.release(opened).await?;
        }
        Ok(true)
    }

    /// Writes the canonical nodes of operations whose time has come.
    async fn release(&self, opened: &mut Option<Opened>) -> Result<(), TurnError> {
        let outcome = self.run(opened, &[], Vec::new()).await?;
        drop(outcome);
        Ok(())
    }

    /// Opens the replica of the log as a row has it: from this instance's checkpoint, if it has one that fits, and what came since.
    fn open(&self, row: &WorkspaceRow, epoch: Epoch, trust: Trust) -> Result<Opened, TurnError> {
        let started = std::time::Instant::now();
        let (pool, runtime) = (self.database.read().clone(), Handle::current());
        let file = runtime.block_on(self.checkpoints.take(self.workspace));
        let mut log = LogStore::open(pool, row.number, row.version, runtime, self.metrics.clone());
        let mut since = 0;
        if let Some(file) = file {
            let found = self.fitting(&file, row, epoch, trust)?;
            since = found.map_or(0, |(_, version)| version);
            log = log.with_checkpoints(file, found);
        }
        let mut replica = RelayReplica::open(self.workspace, log, None, clock::now())?;
        replica.set_cache_bytes(NODE_CACHE_BYTES);
        let used = replica.store().opened();
        if used == Some(false) {
            since = 0;
            if let Some(file) = replica.store().checkpoints() {
                self.throw_away(file, "its parts cannot be read");
            }
        }
        let from = if used == Some(true) { OpenedFrom::Checkpoint } else { OpenedFrom::Log };
        self.metrics.opened(from, started.elapsed());
        Ok(Opened::new(replica, row.number, epoch, since))
    }

    /// The checkpoint in a file when it is of this log: how many records it includes, and its version. One that is not is thrown away.
    fn fitting(&self, file: &CheckpointFile, row: &WorkspaceRow, epoch: Epoch, trust: Trust) -> Result<Option<(u64, u64)>, TurnError> {
        let misfit = match file.anchor() {
            Ok(None) => return Ok(None),
            Ok(Some(_)) if trust == Trust::LogAlone => "a turn failed with it".to_owned(),
            Ok(Some(anchor)) => match Place::decode(&anchor.place) {
                None => "it is of another form".to_owned(),
                Some(place) => match self.misfit(&place, row, epoch)? {
                    None => return Ok(Some((anchor.records, place.version))),
                    Some(misfit) => misfit.to_owned(),
                },
            },
            Err(error) => crate::store::chain(&error),
        };
        self.throw_away(file, &misfit);
        Ok(None)
    }

    fn misfit(&self, place: &Place, row: &WorkspaceRow, epoch: Epoch) -> Result<Option<&'static str>, StoreError> {
        if let Some(misfit) = place.misfit(&self.workspace, row, epoch) {
            return Ok(Some(misfit));
        }
        let running = match row.version == place.version {
            true => Some(row.running),
            false => Handle::current().block_on(operations::running_at(self.database.read(), row.number, place.version))?,
        };
        Ok((running != Some(place.running)).then_some("the log is another one up to where it ends"))
    }

    fn throw_away(&self, file: &CheckpointFile, why: &str) {
        tracing::warn!(workspace = %self.workspace.short(), why, "a checkpoint is thrown away, and the log read instead");
        self.metrics.checkpoint("thrown_away");
        if let Err(error) = file.start_over() {
            tracing::warn!(error = %crate::store::chain(&error), "a checkpoint that is of no use cannot be removed");
        }
    }

    /// Makes a turn. After an error `opened` is empty.
    pub(super) async fn run(&self, opened: &mut Option<Opened>, founders: &[UserId], jobs: Vec<PushJob>) -> Result<Outcome, TurnError> {
        let jobs = Arc::new(jobs);
        match self.attempt(opened, founders, &jobs, Trust::Checkpoint).await {
            Err(error) if error.casts_doubt() => {
                tracing::warn!(error = %crate::store::chain(&error), "a turn failed; it is made once more, by the log alone");
                *opened = None;
                self.attempt(opened, founders, &jobs, Trust::LogAlone).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(
        &self,
        opened: &mut Option<Opened>,
        founders: &[UserId],
        jobs: &Arc<Vec<PushJob>>,
        trust: Trust,
    ) -> Result<Outcome, TurnError> {
        let founds = jobs.iter().any(PushJob::founds);
        let mut current = opened.take();
        let mut tries = 0..ATTEMPTS;
        let (mut transaction, row, current, epoch) = loop {
            current = self.prepare(current, jobs, trust).await?;
            let mut transaction = self.database.write().begin().await.map_err(StoreError::doing("beginning a turn"))?;
            let Some(row) = self.lock(&mut transaction, founds, founders).await? else { return Ok(not_here(jobs)) };
            let epoch = self.database.epoch().current();
            current = current.filter(|opened| opened.is_of(&row, epoch));
            // Nobody else should wait for what takes long; at last it is done nevertheless.
            let ready = current.as_ref().map_or(row.version == 0, |opened| opened.behind(row.version) <= BEHIND_MAX);
            if ready || tries.next().is_none() {
                break (transaction, row, current, epoch);
            }
            transaction.rollback().await.map_err(StoreError::doing("putting a turn off"))?;
        };
        let (bench, at, jobs) = (self.clone(), row.clone(), Arc::clone(jobs));
        let (mut now, mut answers, written) = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(&at, epoch, trust)?,
            };
            let (answers, written) = bench.fold(&mut now, &at, &jobs)?;
            Ok((now, answers, written))
        })
        .await?;
        let grown = written.operations.len() as u64;
        if row.version == 0 && grown == 0 {
            // Nothing founded it after all: the row goes with the transaction.
            return Ok(Outcome { answers, grown_to: None });
        }
        write(&mut transaction, &row, &written).await?;
        transaction.commit().await.map_err(StoreError::doing("committing a turn"))?;
        now.replica.store().settle();
        let left = written.moves(&row);
        now.is_settled_at(left.running);
        *opened = Some(now);
        answers.iter_mut().flatten().for_each(|pushed| pushed.row = Some(left.clone()));
        Ok(Outcome { answers, grown_to: (grown > 0).then_some(row.version + grown) })
    }

    /// A replica that holds about what the log does, before anything is locked.
    async fn prepare(&self, current: Option<Opened>, jobs: &[PushJob], trust: Trust) -> Result<Option<Opened>, TurnError> {
        let seen = jobs.iter().map(|job| job.seen_version).max().unwrap_or(0);
        if current.as_ref().is_some_and(|opened| opened.behind(seen) <= BEHIND_MAX) {
            return Ok(current);
        }
        let row = WorkspaceRow::read(self.database.read(), &self.workspace).await?;
        let Some(row) = row.filter(|row| row.version > 0) else { return Ok(None) };
        let epoch = self.database.epoch().current();
        let current = current.filter(|opened| opened.is_of(&row, epoch));
        let bench = self.clone();
        let ready = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(&row, epoch, trust)?,
            };
            bench.catch_up(&mut now, row.version)?;
            Ok(now)
        });
        ready.await.map(Some)
    }

    async fn lock(&self, transaction: &mut PgConnection, founds: bool, founders: &[UserId]) -> Result<Option<WorkspaceRow>, StoreError> {
        let found = WorkspaceRow::lock(transaction, &self.workspace).await?;
        let Some(founder) = founders.first().filter(|_| founds && found.is_none()) else { return Ok(found) };
        WorkspaceRow::insert(transaction, &self.workspace, founder).await?;
        WorkspaceRow::lock(transaction, &self.workspace).await
    }

    /// The part of a turn that is the protocol's.
    fn fold(
        &self,
        opened: &mut Opened,
        row: &WorkspaceRow,
        jobs: &[PushJob],
    ) -> Result<(Vec<Result<Pushed, Refusal>>, Written), TurnError> {
        self.catch_up(opened, row.version)?;
        let replica = &mut opened.replica;
        if !row.held {
            // Those who added what was just read have written these.
            drop(replica.take_changed()?);
        }
        let now = clock::now();
        replica.tick(now)?;
        let mut answers = Vec::with_capacity(jobs.len());
        let mut effects = Effects::default();
        let mut left = (self.quota.workspace_mib << 20).saturating_sub(row.bytes);
        for job in jobs {
            let bytes = job.bytes();
            if bytes > left {
                answers.push(Err(self.over_quota()));
                continue;
            }
            let (pushed, own) = job.ingest(replica, now)?;
            left -= bytes;
            effects.membership |= own.membership;
            effects.held |= own.held;
            answers.push(Ok(pushed));
        }
        for (job, answer) in jobs.iter().zip(&mut answers) {
            if let Ok(pushed) = answer {
                job.conflicts(replica, pushed)?;
            }
        }
        let written = self.written(replica, row, effects)?;
        Ok((answers, written))
    }

    fn over_quota(&self) -> Refusal {
        let message =
            format!("the workspace's operations would take more than {} MiB; ask the relay's operator for more", self.quota.workspace_mib);
        Refusal::new(axum::http::StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", message)
    }

    fn written(&self, replica: &mut RelayReplica, row: &WorkspaceRow, effects: Effects) -> Result<Written, TurnError> {
        let mut operations = OperationRows::after(row.running);
        let mut named = BTreeMap::new();
        for record in replica.store().pending() {
            match record {
                Record::Op(op) => {
                    operations.push(&self.workspace, &op);
                    named.extend(op.header.attachment.map(|attachment| (attachment.hash, attachment.len)));
                }
                Record::Signature { signature, .. } => operations.sign_last(&signature),
            }
        }
        let mut nodes = NodeRows::default();
        for id in replica.take_changed()? {
            nodes.push(&id, replica.canonical(&id)?.as_ref())?;
        }
        let members = effects.membership.then(|| MembershipRows::of(replica.membership()));
        let held = replica.next_timeout().is_some();
        Ok(Written { operations, nodes, members, attachments: named.into_iter().collect(), held })
    }

    /// Gives the replica what other instances have added. It was judged when it was added, and is judged again: alike, since nothing in
    /// that depends on who judges.
    fn catch_up(&self, opened: &mut Opened, through: u64) -> Result<(), TurnError> {
        opened.is_unsettled();
        let replica = &mut opened.replica;
        let log = replica.store().clone();
        if log.committed() > through {
            let what = format!("it ends at {through}, operations up to {} were read", log.committed());
            return Err(StoreError::corrupt("the log", what).into());
        }
        while log.committed() < through {
            let before = log.committed();
            let runs = runs_of(log.read_on(through)?)?;
            log.follow(true);
            for run in runs {
                let (_, segment) = run.segment()?;
                let taken = replica.ingest(&segment, clock::now());
                taken.map_err(|error| StoreError::corrupt(format!("operations after {before}"), error))?;
            }
            log.follow(false);
            if log.committed() == before {
                return Err(StoreError::corrupt(format!("operations after {before}"), "they are here twice").into());
            }
        }
        Ok(())
    }
}

fn not_here(jobs: &[PushJob]) -> Outcome {
    let refusal = || Refusal::not_found("unknown_workspace", "this relay does not hold the workspace; its founding operation brings it");
    Outcome { answers: jobs.iter().map(|_| Err(refusal())).collect(), grown_to: None }
}

async fn write(transaction: &mut PgConnection, row: &WorkspaceRow, written: &Written) -> Result<(), StoreError> {
    let version = row.version + written.operations.len() as u64;
    written.operations.write(transaction, row.number, row.version).await?;
    attachments::announce(transaction, row.number, &written.attachments).await?;
    if !written.nodes.is_empty() {
        written.nodes.write(transaction, row.number, version).await?;
    }
    if let Some(members) = &written.members {
        members.write(transaction, row.number).await?;
    }
    let moved = version > row.version || written.held != row.held;
    if moved {
        let (running, bytes_added) = (written.operations.running(), written.operations.bytes());
        WorkspaceRow::advance(transaction, row.number, &Advance { version, running, bytes_added, held: written.held }).await?;
    }
    Ok(())
}

/// Runs what may wait for the database, or takes long, where that holds up nobody else.
pub(super) async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, TurnError> + Send + 'static) -> Result<T, TurnError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(TurnError::Panicked))
}
