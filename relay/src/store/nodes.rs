//! The canonical version of each node, as the protocol folds it.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::view::CanonicalNode;
use sqlx::{PgConnection, PgPool};

use super::{StoreError, signed, unsigned};

/// Rows written by one statement; more are written by several.
const ROWS_MAX: usize = 2_048;

/// Nodes to be written, each with its state in CBOR.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeRows {
    ids: Vec<String>,
    states: Vec<Vec<u8>>,
    /// Bytes of the states.
    bytes: u64,
    /// Nodes that are there no more: what made them has become void.
    gone: Vec<String>,
}

/// The columns of nodes that one statement writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeColumns<'a> {
    pub(super) ids: &'a [String],
    pub(super) states: &'a [Vec<u8>],
}

impl NodeRows {
    pub(crate) fn push(&mut self, id: &NodeId, node: Option<&CanonicalNode>) -> Result<(), StoreError> {
        let Some(node) = node else {
            self.gone.push(id.to_string());
            return Ok(());
        };
        let mut state = Vec::with_capacity(256 + node.content.len());
        ciborium::into_writer(node, &mut state).map_err(|error| StoreError::corrupt(format!("node {id}"), error))?;
        self.bytes += state.len() as u64;
        self.ids.push(id.to_string());
        self.states.push(state);
        Ok(())
    }

    /// Whether one statement writes them all.
    pub(crate) fn is_at_once(&self) -> bool {
        self.gone.is_empty() && self.ids.len() <= ROWS_MAX
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.gone.is_empty()
    }

    /// The columns of as many as one statement writes.
    pub(super) fn columns(&self) -> NodeColumns<'_> {
        let at_once = self.ids.len().min(ROWS_MAX);
        NodeColumns { ids: &self.ids[..at_once], states: &self.states[..at_once] }
    }

    /// Writes, as of a version, those that are not among the columns: of a turn that changes very many, and those that are gone.
    pub(crate) async fn write_rest(&self, transaction: &mut PgConnection, workspace: i64, version: u64) -> Result<(), StoreError> {
        let failed = || StoreError::doing("writing nodes");
        for (ids, states) in self.ids.chunks(ROWS_MAX).zip(self.states.chunks(ROWS_MAX)).skip(1) {
            let upsert = sqlx::query!(
                "INSERT INTO nodes (workspace, node_id, version, state) SELECT $1, node_id, $2, state \
                 FROM UNNEST($3::text[], $4::bytea[]) AS new (node_id, state) \
                 ON CONFLICT (workspace, node_id) DO UPDATE SET version = excluded.version, state = excluded.state",
                workspace,
                signed(version),
                ids,
                states
            );
            upsert.execute(&mut *transaction).await.map_err(failed())?;
        }
        if !self.gone.is_empty() {
            let delete = sqlx::query!("DELETE FROM nodes WHERE workspace = $1 AND node_id = ANY($2)", workspace, &self.gone);
            delete.execute(transaction).await.map_err(failed())?;
        }
        Ok(())
    }
}

/// Reads the canonical version of a node, with the workspace's version as of which it is so.
pub(crate) async fn read(pool: &PgPool, workspace: i64, id: &NodeId) -> Result<Option<(u64, CanonicalNode)>, StoreError> {
    let name = id.to_string();
    let row = sqlx::query!("SELECT version, state FROM nodes WHERE workspace = $1 AND node_id = $2", workspace, name);
    let row = row.fetch_optional(pool).await.map_err(StoreError::doing("reading a node"))?;
    row.map(|row| Ok((unsigned(row.version, "nodes")?, decode(&name, &row.state)?))).transpose()
}

/// Reads all canonical nodes of a workspace, ascending by id: for a check against the fold.
pub(crate) async fn read_all(pool: &PgPool, workspace: i64) -> Result<Vec<CanonicalNode>, StoreError> {
    let rows = sqlx::query!("SELECT node_id, state FROM nodes WHERE workspace = $1 ORDER BY node_id", workspace);
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("reading nodes"))?;
    rows.iter().map(|row| decode(&row.node_id, &row.state)).collect()
}

fn decode(id: &str, state: &[u8]) -> Result<CanonicalNode, StoreError> {
    ciborium::from_reader(state).map_err(|error| StoreError::corrupt(format!("node {id}"), error))
}
