//! One turn of a workspace: what several packets bring, in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use nodespace_protocol::ids::{OpHash, UserId, WorkspaceId};
use nodespace_protocol::store::{Record, StoreError as ReplicaStoreError};
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::Semaphore;

use super::RelayReplica;
use super::alone::Company;
use super::opened::{Opened, Trust};
use super::push::{Added, Effects, PushJob, Pushed, Room};
use super::segments::runs_of;
use crate::checkpoints::Checkpoints;
use crate::clock;
use crate::config::QuotaConfig;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::store::{Database, Epoch, MembershipRows, NodeRows, OperationRows, StoreError, Turn, WorkspaceRow, attachments};

/// Memory for node states to work with, of one workspace; those that changed and are not used wait packed.
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
    pub(super) openings: Arc<Semaphore>,
    pub(super) company: Company,
}

/// A turn that has its lock.
struct Begun {
    transaction: Transaction<'static, Postgres>,
    row: WorkspaceRow,
    /// The replica, when there is one that is of the log.
    current: Option<Opened>,
    epoch: Epoch,
}

/// What a turn writes.
pub(super) struct Written {
    pub(super) turn: Arc<Turn>,
    members: Option<MembershipRows>,
    attachments: Vec<([u8; 32], u32)>,
}

impl Written {
    /// What it adds.
    fn added(&self) -> Added {
        let Turn { from, operations, .. } = &*self.turn;
        Added { after: from.version, bytes: operations.bytes(), runs: operations.runs() }
    }

    /// Whether there is anything to write.
    pub(super) fn is_needed(&self) -> bool {
        let Turn { from, operations, nodes, held } = &*self.turn;
        let rows = operations.len() > 0 || !nodes.is_empty() || !self.attachments.is_empty();
        rows || self.members.is_some() || *held != from.held
    }

    /// Whether one statement writes it all.
    pub(super) fn is_at_once(&self) -> bool {
        self.members.is_none() && self.attachments.is_empty() && self.turn.nodes.is_at_once()
    }

    /// Writes it, if the workspace still stands where it did; nothing else. Answers whether that was so.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        if !self.turn.write(connection).await? {
            return Ok(false);
        }
        let number = self.turn.from.number;
        attachments::announce(connection, number, &self.attachments).await?;
        if let Some(members) = &self.members {
            members.write(connection, number).await?;
        }
        Ok(true)
    }
}

impl Workbench {
    /// Opens the replica, or brings one up to date. Nothing is locked, unless the time of something has come that was ahead of it. `false`
    /// when the workspace is not here.
    pub(super) async fn refresh(&self, opened: &mut Option<Opened>) -> Result<bool, TurnError> {
        let Some(row) = self.read_row().await? else {
            *opened = None;
            return Ok(false);
        };
        let epoch = self.database.epoch().current();
        let current = opened.take().filter(|opened| opened.is_of(&row, epoch));
        let permit = self.may_open(current.is_none()).await;
        let bench = self.clone();
        let (caught_up, is_shown) = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(&row, epoch, Trust::Checkpoint)?,
            };
            drop(permit);
            let is_shown = bench.bring_up(&mut now, &row)?;
            Ok((now, is_shown))
        })
        .await?;
        *opened = Some(caught_up);
        if !is_shown {
            self.release(opened).await?;
        }
        Ok(true)
    }

    /// Brings a replica up to a row. Answers whether the rows of nodes show everything it folded.
    fn bring_up(&self, opened: &mut Opened, row: &WorkspaceRow) -> Result<bool, TurnError> {
        let was_shown = opened.is_settled() && opened.behind(row.version) == 0;
        self.catch_up(opened, row.version)?;
        let now = clock::now();
        let is_due = opened.replica.next_timeout().is_some_and(|due| due <= now);
        opened.replica.tick(now)?;
        if !row.held {
            // Those who added what was just read have written these.
            drop(opened.replica.take_changed()?);
        }
        let is_shown = !row.held || (was_shown && !is_due);
        if is_shown {
            opened.settle_at(row.clone());
        }
        Ok(is_shown)
    }

    async fn read_row(&self) -> Result<Option<WorkspaceRow>, StoreError> {
        self.database.within(WorkspaceRow::read(self.database.read(), &self.workspace)).await
    }

    /// Writes the canonical nodes of operations whose time has come.
    async fn release(&self, opened: &mut Option<Opened>) -> Result<(), TurnError> {
        let outcome = self.run(opened, &[], Vec::new()).await?;
        drop(outcome);
        Ok(())
    }

    /// Makes a turn. After an error `opened` is empty.
    pub(super) async fn run(&self, opened: &mut Option<Opened>, founders: &[UserId], jobs: Vec<PushJob>) -> Result<Outcome, TurnError> {
        let jobs = Arc::new(jobs);
        let made = match self.at_once(opened, &jobs).await {
            // What is rare is in a box, so that it takes no room where it is not done.
            Ok(None) => Box::pin(self.attempt(opened, founders, &jobs, Trust::Checkpoint)).await,
            Ok(Some(outcome)) => Ok(outcome),
            Err(error) => Err(error),
        };
        match made {
            Err(error) if error.casts_doubt() => {
                tracing::warn!(error = %crate::store::chain(&error), "a turn failed; it is made once more, by the log alone");
                *opened = None;
                Box::pin(self.attempt(opened, founders, &jobs, Trust::LogAlone)).await
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
        let Some(begun) = self.start(opened.take(), founders, jobs, trust).await? else { return Ok(not_here(jobs)) };
        let Begun { mut transaction, row, current, epoch } = begun;
        // Of a workspace that is new here there is nothing to read.
        let permit = self.may_open(current.is_none() && row.version > 0).await;
        let (bench, at, all) = (self.clone(), row.clone(), Arc::clone(jobs));
        let (now, mut answers, written) = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(&at, epoch, trust)?,
            };
            drop(permit);
            let (answers, written) = bench.fold(&mut now, &at, &all)?;
            Ok((now, answers, written))
        })
        .await?;
        if row.version == 0 && written.turn.operations.len() == 0 {
            // Nothing founded it after all: the row goes with the transaction.
            return Ok(Outcome { answers, grown_to: None });
        }
        if written.is_needed() && !self.database.within(written.write(&mut transaction)).await? {
            return Err(StoreError::corrupt("workspaces", format!("row {} moved on though it was locked", row.number)).into());
        }
        self.database.within(async { transaction.commit().await.map_err(StoreError::doing("committing a turn")) }).await?;
        Ok(self.conclude(opened, now, &written, jobs, &mut answers).await)
    }

    /// What a turn wrote is committed.
    pub(super) async fn conclude(
        &self,
        opened: &mut Option<Opened>,
        mut now: Opened,
        written: &Written,
        jobs: &Arc<Vec<PushJob>>,
        answers: &mut Vec<Result<Pushed, Refusal>>,
    ) -> Outcome {
        let (from, left) = (&written.turn.from, written.turn.left());
        if written.members.is_none() {
            self.database.roles().follow(&self.workspace, from, &left);
        }
        now.replica.store().settle();
        now.settle_at(left.clone());
        *opened = Some(now);
        answers.iter_mut().flatten().for_each(|pushed| pushed.row = Some(left.clone()));
        if let [Ok(pushed)] = answers.as_mut_slice() {
            pushed.added = Some(written.added());
        }
        self.tell_conflicts(opened, jobs, answers).await;
        Outcome { answers: std::mem::take(answers), grown_to: (left.version > from.version).then_some(left.version) }
    }

    /// Locks the workspace's row, if possible with a replica at hand that lacks little of it. `None` when the workspace is not here.
    async fn start(
        &self,
        mut current: Option<Opened>,
        founders: &[UserId],
        jobs: &[PushJob],
        trust: Trust,
    ) -> Result<Option<Begun>, TurnError> {
        let founds = jobs.iter().any(PushJob::founds);
        let mut tries = 0..ATTEMPTS;
        loop {
            current = self.prepare(current, jobs, trust).await?;
            let begin = self.database.write().begin();
            let mut transaction = self.database.within(async { begin.await.map_err(StoreError::doing("beginning a turn")) }).await?;
            let locked = self.database.within(self.lock(&mut transaction, founds, founders)).await?;
            let Some(row) = locked else { return Ok(None) };
            self.company.note(current.as_ref().map_or(row.version == 0, |opened| opened.behind(row.version) == 0));
            let epoch = self.database.epoch().current();
            current = current.filter(|opened| opened.is_of(&row, epoch));
            // Nobody else should wait for what takes long; at last it is done nevertheless.
            let ready = current.as_ref().map_or(row.version == 0, |opened| opened.behind(row.version) <= BEHIND_MAX);
            if ready || tries.next().is_none() {
                return Ok(Some(Begun { transaction, row, current, epoch }));
            }
            self.database.within(async { transaction.rollback().await.map_err(StoreError::doing("putting a turn off")) }).await?;
        }
    }

    /// Adds to the answers the conflicts that packets are part of, when others may have the lock again. What was stored is stored, whatever
    /// comes of this.
    async fn tell_conflicts(&self, opened: &mut Option<Opened>, jobs: &Arc<Vec<PushJob>>, answers: &mut [Result<Pushed, Refusal>]) {
        let stored = |answer: &Result<Pushed, Refusal>| answer.as_ref().map_or_else(|_| Vec::new(), |pushed| pushed.applied.clone());
        let stored: Vec<Vec<OpHash>> = answers.iter().map(stored).collect();
        // Mostly there are none, which is known without reading anything.
        let contested = |opened: &Opened| jobs.iter().any(|job| job.is_contested(&opened.replica));
        if stored.iter().all(Vec::is_empty) || !opened.as_ref().is_some_and(contested) {
            return;
        }
        let Some(now) = opened.take() else { return };
        let jobs = Arc::clone(jobs);
        let found = in_thread(move || {
            let found = jobs.iter().zip(&stored).map(|(job, stored)| job.conflicts(&now.replica, stored));
            let found = found.collect::<Result<Vec<_>, _>>()?;
            Ok((now, found))
        });
        match found.await {
            Ok((now, found)) => {
                *opened = Some(now);
                for (answer, conflicts) in answers.iter_mut().zip(found) {
                    if let Ok(pushed) = answer {
                        pushed.conflicts = conflicts;
                    }
                }
            }
            // The replica is gone, and opened again when it is needed.
            Err(error) => tracing::warn!(error = %crate::store::chain(&error), "conflicts could not be told"),
        }
    }

    /// A replica that holds about what the log does, before anything is locked.
    async fn prepare(&self, current: Option<Opened>, jobs: &[PushJob], trust: Trust) -> Result<Option<Opened>, TurnError> {
        let seen = jobs.iter().map(|job| job.seen_version).max().unwrap_or(0);
        if current.as_ref().is_some_and(|opened| opened.behind(seen) <= BEHIND_MAX) {
            return Ok(current);
        }
        let Some(row) = self.read_row().await?.filter(|row| row.version > 0) else { return Ok(None) };
        let epoch = self.database.epoch().current();
        let current = current.filter(|opened| opened.is_of(&row, epoch));
        let permit = self.may_open(current.is_none()).await;
        let bench = self.clone();
        let ready = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(&row, epoch, trust)?,
            };
            drop(permit);
            bench.catch_up(&mut now, row.version)?;
            Ok(now)
        });
        ready.await.map(Some)
    }

    async fn lock(&self, transaction: &mut PgConnection, founds: bool, founders: &[UserId]) -> Result<Option<WorkspaceRow>, StoreError> {
        let found = WorkspaceRow::lock(transaction, &self.workspace).await?;
        let Some(founder) = founders.first().filter(|_| founds && found.is_none()) else { return Ok(found) };
        WorkspaceRow::insert(transaction, &self.workspace, founder, self.quota.workspaces_per_user).await?;
        WorkspaceRow::lock(transaction, &self.workspace).await
    }

    /// The part of a turn that is the protocol's.
    pub(super) fn fold(
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
        let mut room = Room::of(self.quota, row);
        for job in jobs {
            let (answer, own) = job.ingest(replica, now, &mut room)?;
            effects.membership |= own.membership;
            effects.held |= own.held;
            answers.push(answer);
        }
        let written = self.written(replica, row, effects)?;
        Ok((answers, written))
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
        let held = replica.held_ops() > 0;
        let turn = Arc::new(Turn { from: row.clone(), operations, nodes, held });
        Ok(Written { turn, members, attachments: named.into_iter().collect() })
    }

    /// Gives the replica what other instances have added. It was judged when it was added, and is judged again: alike, since nothing in
    /// that depends on who judges.
    fn catch_up(&self, opened: &mut Opened, through: u64) -> Result<(), TurnError> {
        opened.unsettle();
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

/// Runs what may wait for the database, or takes long, where that holds up nobody else.
pub(super) async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, TurnError> + Send + 'static) -> Result<T, TurnError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(TurnError::Panicked))
}
