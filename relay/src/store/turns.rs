//! What a turn writes, in one statement: while others wait for the workspace's row, one round trip and not three.

use sqlx::PgConnection;

use super::operations::{NewColumns, OperationRows};
use super::{Advance, NodeRows, StoreError, signed};

/// Adds operations after a version, writes the nodes that changed, and moves the locked workspace on.
pub(crate) async fn write(
    transaction: &mut PgConnection,
    workspace: i64,
    after: u64,
    operations: &OperationRows,
    nodes: &NodeRows,
    to: &Advance,
) -> Result<(), StoreError> {
    let changed = nodes.columns();
    let NewColumns { hashes, headers, payloads, sizes, signatures, running_hashes } = operations.columns();
    let statement = sqlx::query!(
        "WITH added AS ( \
           INSERT INTO operations (workspace, version, op_hash, header, payload, size, signature, running_hash) \
           SELECT $1::bigint, $2::bigint + place, op_hash, header, payload, size, signature, running_hash \
           FROM UNNEST($3::bytea[], $4::bytea[], $5::bytea[], $6::integer[], $7::bytea[], $8::bytea[]) \
           WITH ORDINALITY AS new (op_hash, header, payload, size, signature, running_hash, place) \
         ), folded AS ( \
           INSERT INTO nodes (workspace, node_id, version, state) SELECT $1::bigint, node_id, $9::bigint, state \
           FROM UNNEST($10::text[], $11::bytea[]) AS new (node_id, state) \
           ON CONFLICT (workspace, node_id) DO UPDATE SET version = excluded.version, state = excluded.state \
         ) UPDATE workspaces SET version = $9::bigint, running_hash = $12, bytes = bytes + $13::bigint, held = $14, changed_at = now() \
         WHERE number = $1::bigint",
        workspace,
        signed(after),
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
        to.held
    );
    statement.execute(&mut *transaction).await.map_err(StoreError::doing("writing a turn"))?;
    nodes.write_rest(transaction, workspace, to.version).await
}
