//! What a turn writes, in one statement: one round trip, whoever waits for the workspace's row.

use sqlx::PgConnection;

use super::operations::{NewColumns, OperationRows};
use super::{Advance, NodeRows, StoreError, WorkspaceRow, signed};

/// Adds operations to a log, writes the nodes that changed, and moves the workspace on, if it still stands where `from` says. Answers whether it
/// did: when another transaction has moved it, nothing is written.
///
/// The row is locked by the statement itself: a transaction that has moved it without being committed yet is waited for, and then looked
/// at again.
pub(crate) async fn write(
    connection: &mut PgConnection,
    from: &WorkspaceRow,
    operations: &OperationRows,
    nodes: &NodeRows,
    to: &Advance,
) -> Result<bool, StoreError> {
    let changed = nodes.columns();
    let NewColumns { hashes, headers, payloads, sizes, signatures, running_hashes } = operations.columns();
    let statement = sqlx::query_scalar!(
        "WITH moved AS ( \
           UPDATE workspaces SET version = $9::bigint, running_hash = $12, bytes = bytes + $13::bigint, held = $14, changed_at = now() \
           WHERE number = $1::bigint AND version = $2::bigint AND running_hash = $15 RETURNING number \
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
        signed(to.version),
        changed.ids,
        changed.states,
        to.running.0.as_slice(),
        signed(to.bytes_added),
        to.held,
        from.running.0.as_slice()
    );
    let moved = statement.fetch_optional(&mut *connection).await.map_err(StoreError::doing("writing a turn"))?;
    if moved.is_some() {
        nodes.write_rest(connection, from.number, to.version).await?;
    }
    Ok(moved.is_some())
}
