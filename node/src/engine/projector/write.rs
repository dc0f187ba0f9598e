//! Writing rows: those of changed nodes, and all of them when the table is made anew.

use std::collections::BTreeMap;

use nodespace_projection::{Change, Row, RowError};
use nodespace_protocol::ids::NodeId;

use super::task::{Task, failure};
use super::{Phase, ProgressSink};
use crate::engine::{DeviceReplica, rows};
use crate::model::{Progress, ServiceError};

/// How many nodes are read from the state at once: other requests get their turn in between.
const READ_NODES: usize = 500;

/// How many rows are written at once.
const BATCH_ROWS: usize = 4_000;

/// What the state says of some nodes.
struct Read {
    changes: Vec<Change>,
    /// Those with children: when their root or depth is not what the table says, everything below them changes too.
    parents: Vec<NodeId>,
}

impl Task {
    /// Writes the rows of everything that changed.
    pub(super) async fn write(&mut self) -> Result<(), ServiceError> {
        let feed = self.workspace.feed();
        loop {
            let dirty = feed.take_dirty();
            if dirty.nodes.is_empty() {
                return self.advance(dirty.ops, Phase::Current).await;
            }
            self.set_phase(Phase::CatchingUp);
            let nodes: Vec<NodeId> = dirty.nodes.into_iter().collect();
            let mut whole = true;
            for (at, batch) in nodes.chunks(BATCH_ROWS).enumerate() {
                match self.write_batch(batch).await {
                    Ok(nothing_below) => whole &= nothing_below,
                    Err(error) => {
                        feed.add_dirty(nodes[at * BATCH_ROWS..].iter().cloned());
                        return Err(error);
                    }
                }
            }
            if whole {
                self.advance(dirty.ops, Phase::CatchingUp).await?;
            }
        }
    }

    /// Takes note that the table has everything before `ops`.
    async fn advance(&mut self, ops: u32, phase: Phase) -> Result<(), ServiceError> {
        let now = self.elapsed();
        let table = self.table.as_mut().ok_or_else(ServiceError::stopping)?;
        table.apply(Vec::new(), u64::from(ops), now).await.map_err(|error| failure(&error))?;
        self.current(ops, phase).await
    }

    /// Writes the rows of some nodes, and leaves the position where it was. Answers whether no other rows have to follow.
    async fn write_batch(&mut self, nodes: &[NodeId]) -> Result<bool, ServiceError> {
        let mut read = self.read(nodes).await?;
        let below = self.moved_along(&read).await?;
        let now = self.elapsed();
        let table = self.table.as_mut().ok_or_else(ServiceError::stopping)?;
        tell(&table.take_out_unfit(&mut read.changes));
        let position = table.position();
        table.apply(read.changes, position, now).await.map_err(|error| failure(&error))?;
        let whole = below.is_empty();
        self.workspace.feed().add_dirty(below);
        Ok(whole)
    }

    /// Reads nodes from the state as rows.
    async fn read(&self, nodes: &[NodeId]) -> Result<Read, ServiceError> {
        let mut all = Read { changes: Vec::with_capacity(nodes.len()), parents: Vec::new() };
        for chunk in nodes.chunks(READ_NODES) {
            let ids = chunk.to_vec();
            let read = self.workspace.read(move |replica| read_rows(replica, &ids)).await??;
            all.changes.extend(read.changes);
            all.parents.extend(read.parents);
        }
        Ok(all)
    }

    /// What is below nodes whose root or depth is not what the table says.
    async fn moved_along(&self, read: &Read) -> Result<Vec<NodeId>, ServiceError> {
        let Some(table) = self.table.as_ref().filter(|_| !read.parents.is_empty()) else { return Ok(Vec::new()) };
        let names: Vec<String> = read.parents.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let old = table.reader().get(&names).await.map_err(|error| failure(&error))?;
        let old: BTreeMap<&str, &Row> = old.iter().map(|row| (row.id.as_str(), row)).collect();
        let new: BTreeMap<&str, &Row> = read.changes.iter().filter_map(upserted).map(|row| (row.id.as_str(), row)).collect();
        let place = |rows: &BTreeMap<&str, &Row>, id: &str| rows.get(id).map(|row| (row.root_id.clone(), row.depth));
        let differs = |(_, name): &(&NodeId, &&str)| place(&old, name) != place(&new, name);
        let moved: Vec<NodeId> = read.parents.iter().zip(&names).filter(differs).map(|(id, _)| id.clone()).collect();
        self.workspace.read(move |replica| descendants(replica, moved)).await
    }

    /// Makes the table anew from the state; answers its rows. One that fails leaves no table: the next try begins again.
    pub(super) async fn rebuild(&mut self, progress: &mut ProgressSink) -> Result<u64, ServiceError> {
        let rebuilt = self.write_all(progress).await;
        if rebuilt.is_err() {
            self.table = None;
        }
        rebuilt
    }

    async fn write_all(&mut self, progress: &mut ProgressSink) -> Result<u64, ServiceError> {
        self.set_phase(Phase::Rebuilding);
        // What changes from here on is written after the rebuild as well.
        let ops = self.workspace.feed().take_dirty().ops;
        let ids = self.workspace.read(|replica| replica.node_ids()).await?;
        let now = self.elapsed();
        self.table.as_mut().ok_or_else(ServiceError::stopping)?.reset(now).await.map_err(|error| failure(&error))?;
        let total = ids.len() as u64;
        let mut done = 0;
        for batch in ids.chunks(BATCH_ROWS) {
            progress(Progress { step: "writing the LanceDB table".into(), done, total: Some(total) });
            let mut read = self.read(batch).await?;
            let now = self.elapsed();
            let table = self.table.as_mut().ok_or_else(ServiceError::stopping)?;
            tell(&table.take_out_unfit(&mut read.changes));
            table.apply(read.changes, 0, now).await.map_err(|error| failure(&error))?;
            done += batch.len() as u64;
        }
        self.advance(ops, Phase::CatchingUp).await?;
        self.checkpoint().await?;
        progress(Progress { step: "writing the LanceDB table".into(), done, total: Some(total) });
        self.write().await?;
        Ok(total)
    }
}

/// Says what the table does not hold; it stays in the journal.
fn tell(unfit: &[RowError]) {
    const TOLD_MAX: usize = 20;
    for error in unfit.iter().take(TOLD_MAX) {
        tracing::warn!(%error, "left out of the LanceDB table");
    }
    if unfit.len() > TOLD_MAX {
        tracing::warn!(more = unfit.len() - TOLD_MAX, "left out of the LanceDB table");
    }
}

fn upserted(change: &Change) -> Option<&Row> {
    match change {
        Change::Upsert(row) => Some(row),
        Change::Remove(_) => None,
    }
}

fn read_rows(replica: &DeviceReplica, ids: &[NodeId]) -> Result<Read, ServiceError> {
    let mut read = Read { changes: Vec::with_capacity(ids.len()), parents: Vec::new() };
    for id in ids {
        read.changes.push(match rows::row(replica, id)? {
            Some(row) => Change::Upsert(Box::new(row)),
            None => Change::Remove(id.to_string()),
        });
        if !replica.tree().children(Some(id)).is_empty() {
            read.parents.push(id.clone());
        }
    }
    Ok(read)
}

/// All nodes below some.
fn descendants(replica: &DeviceReplica, mut open: Vec<NodeId>) -> Vec<NodeId> {
    let mut below = Vec::new();
    while let Some(id) = open.pop() {
        let children = replica.tree().children(Some(&id));
        below.extend(children.iter().cloned());
        open.extend(children);
    }
    below
}
