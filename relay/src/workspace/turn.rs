//! One turn of a workspace: what several packets bring, in one transaction.

use std::collections::BTreeMap;

use nodespace_protocol::ids::{UserId, WorkspaceId};
use nodespace_protocol::store::{Record, StoreError as ReplicaStoreError};
use sqlx::PgConnection;
use tokio::runtime::Handle;

use super::push::{Effects, PushJob, Pushed};
use super::segments::runs_of;
use super::{LogStore, RelayReplica};
use crate::clock;
use crate::config::QuotaConfig;
use crate::refusal::Refusal;
use crate::store::{Advance, Database, Epoch, MembershipRows, NodeRows, OperationRows, StoreError, WorkspaceRow, attachments};

/// Memory for node states that were read again, of one workspace.
const NODE_CACHE_BYTES: usize = 4 << 20;

/// A replica and the log it is of.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) replica: RelayReplica,
    number: i64,
    epoch: Epoch,
}

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
        let current = opened.take().filter(|opened| opened.epoch == epoch && opened.number == row.number);
        let bench = self.clone();
        let (caught_up, held) = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(row.number, row.version, epoch)?,
            };
            catch_up(&mut now, row.version)?;
            now.replica.tick(clock::now())?;
            Ok((now, row.held))
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

    fn open(&self, number: i64, version: u64, epoch: Epoch) -> Result<Opened, TurnError> {
        let log = LogStore::open(self.database.read().clone(), number, version, Handle::current());
        let mut replica = RelayReplica::open(self.workspace, log, None, clock::now())?;
        replica.set_cache_bytes(NODE_CACHE_BYTES);
        Ok(Opened { replica, number, epoch })
    }

    /// Makes a turn. After an error `opened` is empty.
    pub(super) async fn run(&self, opened: &mut Option<Opened>, founders: &[UserId], jobs: Vec<PushJob>) -> Result<Outcome, TurnError> {
        let founds = jobs.iter().any(PushJob::founds);
        // Opening reads the whole log: done before the row is locked, so that other instances do not wait for it.
        if opened.is_none() && !founds {
            let row = WorkspaceRow::read(self.database.read(), &self.workspace).await?;
            if let Some(row) = row {
                let (bench, epoch) = (self.clone(), self.database.epoch().current());
                *opened = Some(in_thread(move || bench.open(row.number, row.version, epoch)).await?);
            }
        }
        let begin = StoreError::doing("beginning a turn");
        let mut transaction = self.database.write().begin().await.map_err(begin)?;
        let Some(row) = self.lock(&mut transaction, founds, founders).await? else {
            *opened = None;
            let refusal =
                || Refusal::not_found("unknown_workspace", "this relay does not hold the workspace; its founding operation brings it");
            return Ok(Outcome { answers: jobs.iter().map(|_| Err(refusal())).collect(), grown_to: None });
        };
        let epoch = self.database.epoch().current();
        let current = opened.take().filter(|opened| opened.epoch == epoch && opened.number == row.number);
        let (bench, at) = (self.clone(), row.clone());
        let (now, mut answers, written) = in_thread(move || {
            let mut now = match current {
                Some(opened) => opened,
                None => bench.open(at.number, at.version, epoch)?,
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
        *opened = Some(now);
        let left = written.moves(&row);
        answers.iter_mut().flatten().for_each(|pushed| pushed.row = Some(left.clone()));
        Ok(Outcome { answers, grown_to: (grown > 0).then_some(row.version + grown) })
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
        catch_up(opened, row.version)?;
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
        let held = replica.held_ops() > 0;
        Ok(Written { operations, nodes, members, attachments: named.into_iter().collect(), held })
    }
}

/// Gives the replica what other instances have added. It was judged when it was added, and is judged again: alike, since nothing in that
/// depends on who judges.
fn catch_up(opened: &mut Opened, through: u64) -> Result<(), TurnError> {
    let replica = &mut opened.replica;
    let log = replica.store().clone();
    if log.committed() > through {
        let what = format!("it ends at {through}, operations up to {} were read", log.committed());
        return Err(StoreError::corrupt("the log", what).into());
    }
    while log.committed() < through {
        let before = log.committed();
        let runs = runs_of(log.read_on()?)?;
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
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, TurnError> + Send + 'static) -> Result<T, TurnError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(TurnError::Panicked))
}
