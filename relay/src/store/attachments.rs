//! Which attachments operations name, and which of them are in object storage.

use sqlx::{PgConnection, PgPool};

use super::{StoreError, bytes32};

/// An attachment by its hash.
pub(crate) type AttachmentHash = [u8; 32];

/// Notes attachments that operations name, with their lengths; those that are noted already stay as they are.
pub(crate) async fn announce(
    transaction: &mut PgConnection,
    workspace: i64,
    announced: &[(AttachmentHash, u32)],
) -> Result<(), StoreError> {
    if announced.is_empty() {
        return Ok(());
    }
    let hashes: Vec<Vec<u8>> = announced.iter().map(|(hash, _)| hash.to_vec()).collect();
    let lengths: Vec<i32> = announced.iter().map(|(_, length)| i32::try_from(*length).unwrap_or(i32::MAX)).collect();
    let insert = sqlx::query!(
        "INSERT INTO attachments (workspace, hash, length, stored) \
         SELECT $1, hash, length, false FROM UNNEST($2::bytea[], $3::integer[]) AS new (hash, length) \
         ON CONFLICT (workspace, hash) DO NOTHING",
        workspace,
        &hashes,
        &lengths
    );
    insert.execute(transaction).await.map(drop).map_err(StoreError::doing("noting attachments"))
}

/// What is known of some attachments: hash, length, whether stored.
pub(crate) async fn find(pool: &PgPool, workspace: i64, hashes: &[AttachmentHash]) -> Result<Vec<(AttachmentHash, u32, bool)>, StoreError> {
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
    let rows = sqlx::query!("SELECT hash, length, stored FROM attachments WHERE workspace = $1 AND hash = ANY($2)", workspace, &hashes);
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("looking for attachments"))?;
    rows.into_iter().map(|row| Ok((bytes32(&row.hash, "attachments")?, row.length.unsigned_abs(), row.stored))).collect()
}

/// Notes that attachments are stored and counts their bytes for the quota.
pub(crate) async fn mark_stored(pool: &PgPool, workspace: i64, hashes: &[AttachmentHash]) -> Result<(), StoreError> {
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
    let mark = sqlx::query!(
        "WITH changed AS ( \
           UPDATE attachments SET stored = true WHERE workspace = $1 AND hash = ANY($2) AND NOT stored RETURNING length \
         ) UPDATE workspaces SET attachment_bytes = attachment_bytes + coalesce((SELECT sum(length) FROM changed), 0) WHERE number = $1",
        workspace,
        &hashes
    );
    mark.execute(pool).await.map(drop).map_err(StoreError::doing("noting attachments"))
}
