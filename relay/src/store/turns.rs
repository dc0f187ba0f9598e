//! What turns write, in one statement: one round trip, whoever waits for a workspace's row, and however many workspaces there are.

use std::iter::repeat_n;

use sqlx::PgConnection;

use super::nodes::NodeColumns;
use super::operations::{NewColumns, OperationRows};
use super::{NodeRows, StoreError, WorkspaceRow, signed};

/// What a turn writes to its workspace: operations, the nodes that they change, and the row.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The workspace as it must stand; else nothing is written.
    pub(crate) from: WorkspaceRow,
    pub(crate) operations: OperationRows,
    pub(crate) nodes: NodeRows,
    /// Whether some operation of the workspace is ahead of time then.
    pub(crate) held: bool,
}

impl Turn {
    /// The workspace's row once it is written.
    pub(crate) fn left(&self) -> WorkspaceRow {
        WorkspaceRow {
            version: self.version(),
            running: *self.operations.running(),
            bytes: self.from.bytes + self.operations.bytes(),
            held: self.held,
            ..self.from.clone()
        }
    }

    /// Bytes of the operations and of the nodes' states.
    pub(super) const fn bytes(&self) -> u64 {
        self.operations.bytes() + self.nodes.bytes()
    }

    /// The workspace's version once it is written.
    fn version(&self) -> u64 {
        self.from.version + self.operations.len() as u64
    }

    /// Writes it, if the workspace still stands where it did; answers whether that was so. When another transaction has moved the
    /// workspace, nothing is written.
    ///
    /// The row is locked by the statement itself: a transaction that has moved it without being committed yet is waited for, and then
    /// looked at again.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        let Self { from, operations, nodes, held } = self;
        let (changed, running) = (nodes.columns(), operations.running());
        let NewColumns { hashes, headers, payloads, sizes, signatures, running_hashes } = operations.columns();
        let statement = sqlx::query_scalar!(
            "WITH moved AS ( \
               UPDATE workspaces SET version = $9::bigint, running_hash = $12, bytes = bytes + $13::bigint, held = $14, changed_at = now() \
               WHERE number = $1::bigint AND version = $2::bigint AND running_hash = $15 AND held = $16 RETURNING number \
             ), added AS ( \
               INSERT INTO operations (workspace, version, op_hash, header, payload, size, signature, running_hash) \
               SELECT moved.number, $2::bigint + place, op_hash, header, payload, size, signature, new.running_hash \
               FROM moved, UNNEST($3::bytea[], $4::bytea[], $5::bytea[], $6::integer[], $7::bytea[], $8::bytea[]) \
               WITH ORDINALITY AS new (op_hash, header, payload, size, signature, running_hash, place) \
             ), folded AS ( \
               INSERT INTO nodes (workspace, node_id, version, state) SELECT moved.number, node_id, $9::bigint, state \
               FROM moved, UNNEST($10::text[], $11::bytea[]) AS new (node_id, state) \
               ON CONFLICT (workspace, node_id) DO UPDATE SET version = excluded.version, state = excluded.state \
             ) SELECT number FROM moved",
            from.number,
            signed(from.version),
            &hashes as &[&[u8]],
            &headers as &[&[u8]],
            &payloads as &[&[u8]],
            &sizes,
            &signatures as &[Option<&[u8]>],
            &running_hashes as &[Option<&[u8]>],
            signed(self.version()),
            changed.ids,
            changed.states,
            running.0.as_slice(),
            signed(operations.bytes()),
            *held,
            from.running.0.as_slice(),
            from.held
        );
        let moved = statement.fetch_optional(&mut *connection).await.map_err(StoreError::doing("writing a turn"))?;
        if moved.is_some() {
            nodes.write_rest(connection, from.number, self.version()).await?;
        }
        Ok(moved.is_some())
    }
}

/// Writes turns of several workspaces that one statement writes (see [`NodeRows::is_at_once`]), all in one transaction. Answers the numbers
/// of the workspaces that were moved; to the others nothing was written, because they stood elsewhere or another transaction has their row.
///
/// A row that is locked is passed over: who writes to one workspace does not keep the others waiting, and two who write to the same ones do
/// not wait for each other.
pub(super) async fn write_several(connection: &mut PgConnection, turns: &[&Turn]) -> Result<Vec<i64>, StoreError> {
    let (rows, new, changed) = (RowColumns::of(turns), OperationColumns::of(turns), ChangedColumns::of(turns));
    let statement = sqlx::query_scalar!(
        r#"WITH free AS (
             SELECT number FROM workspaces WHERE number = ANY($1) ORDER BY number FOR UPDATE SKIP LOCKED
           ), moved AS (
             UPDATE workspaces SET version = turn.to_version, running_hash = turn.to_running, bytes = workspaces.bytes + turn.bytes,
                                   held = turn.to_held, changed_at = now()
             FROM UNNEST($1::bigint[], $2::bigint[], $3::bytea[], $4::boolean[], $5::bigint[], $6::bytea[], $7::bigint[], $8::boolean[])
                    AS turn (number, from_version, from_running, from_held, to_version, to_running, bytes, to_held)
                  JOIN free ON free.number = turn.number
             WHERE workspaces.number = turn.number AND workspaces.version = turn.from_version
                   AND workspaces.running_hash = turn.from_running AND workspaces.held = turn.from_held
             RETURNING workspaces.number
           ), added AS (
             INSERT INTO operations (workspace, version, op_hash, header, payload, size, signature, running_hash)
             SELECT new.workspace, new.version, op_hash, header, payload, size, signature, new.running_hash
             FROM UNNEST($9::bigint[], $10::bigint[], $11::bytea[], $12::bytea[], $13::bytea[], $14::integer[], $15::bytea[], $16::bytea[])
                    AS new (workspace, version, op_hash, header, payload, size, signature, running_hash)
                  JOIN moved ON moved.number = new.workspace
           ), folded AS (
             INSERT INTO nodes (workspace, node_id, version, state) SELECT new.workspace, node_id, new.version, state
             FROM UNNEST($17::bigint[], $18::text[], $19::bigint[], $20::bytea[]) AS new (workspace, node_id, version, state)
                  JOIN moved ON moved.number = new.workspace
             ON CONFLICT (workspace, node_id) DO UPDATE SET version = excluded.version, state = excluded.state
           ) SELECT number AS "number!" FROM moved"#,
        &rows.numbers,
        &rows.from_versions,
        &rows.from_running as &[&[u8]],
        &rows.from_held,
        &rows.to_versions,
        &rows.to_running as &[&[u8]],
        &rows.bytes,
        &rows.to_held,
        &new.workspaces,
        &new.versions,
        &new.rows.hashes as &[&[u8]],
        &new.rows.headers as &[&[u8]],
        &new.rows.payloads as &[&[u8]],
        &new.rows.sizes,
        &new.rows.signatures as &[Option<&[u8]>],
        &new.rows.running_hashes as &[Option<&[u8]>],
        &changed.workspaces,
        &changed.ids as &[&str],
        &changed.versions,
        &changed.states as &[&[u8]]
    );
    statement.fetch_all(connection).await.map_err(StoreError::doing("writing turns"))
}

/// Where workspaces stand, and where turns move them: an item a turn.
#[derive(Debug)]
struct RowColumns<'a> {
    numbers: Vec<i64>,
    from_versions: Vec<i64>,
    from_running: Vec<&'a [u8]>,
    from_held: Vec<bool>,
    to_versions: Vec<i64>,
    to_running: Vec<&'a [u8]>,
    bytes: Vec<i64>,
    to_held: Vec<bool>,
}

impl<'a> RowColumns<'a> {
    fn of(turns: &[&'a Turn]) -> Self {
        Self {
            numbers: turns.iter().map(|turn| turn.from.number).collect(),
            from_versions: turns.iter().map(|turn| signed(turn.from.version)).collect(),
            from_running: turns.iter().map(|turn| turn.from.running.0.as_slice()).collect(),
            from_held: turns.iter().map(|turn| turn.from.held).collect(),
            to_versions: turns.iter().map(|turn| signed(turn.version())).collect(),
            to_running: turns.iter().map(|turn| turn.operations.running().0.as_slice()).collect(),
            bytes: turns.iter().map(|turn| signed(turn.operations.bytes())).collect(),
            to_held: turns.iter().map(|turn| turn.held).collect(),
        }
    }
}

/// Operations of several workspaces, with their versions.
#[derive(Debug, Default)]
struct OperationColumns<'a> {
    workspaces: Vec<i64>,
    versions: Vec<i64>,
    rows: NewColumns<'a>,
}

impl<'a> OperationColumns<'a> {
    fn of(turns: &[&'a Turn]) -> Self {
        let mut columns = Self::default();
        for turn in turns {
            let count = turn.operations.len();
            columns.workspaces.extend(repeat_n(turn.from.number, count));
            columns.versions.extend((signed(turn.from.version) + 1..).take(count));
            columns.rows.extend(turn.operations.columns());
        }
        columns
    }
}

/// Nodes of several workspaces, as of the versions that their workspaces come to.
#[derive(Debug, Default)]
struct ChangedColumns<'a> {
    workspaces: Vec<i64>,
    ids: Vec<&'a str>,
    versions: Vec<i64>,
    states: Vec<&'a [u8]>,
}

impl<'a> ChangedColumns<'a> {
    fn of(turns: &[&'a Turn]) -> Self {
        let mut columns = Self::default();
        for turn in turns {
            let NodeColumns { ids, states } = turn.nodes.columns();
            columns.workspaces.extend(repeat_n(turn.from.number, ids.len()));
            columns.ids.extend(ids.iter().map(String::as_str));
            columns.versions.extend(repeat_n(signed(turn.version()), ids.len()));
            columns.states.extend(states.iter().map(Vec::as_slice));
        }
        columns
    }
}
