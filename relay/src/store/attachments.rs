//! Which attachments operations name, and which of them are in object storage.
//!
//! A row's length is what an operation announced until the attachment is stored, and then that of its bytes. The workspace's row is locked
//! before rows of attachments, as turns do it.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};

use super::{StoreError, bytes32, signed};

/// An attachment by its hash.
pub(crate) type AttachmentHash = [u8; 32];

/// Notes attachments that operations name, with the lengths they announce; those that are noted already stay as they are.
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

/// Which of some attachments operations name, and whether they are stored.
pub(crate) async fn find(pool: &PgPool, workspace: i64, hashes: &[AttachmentHash]) -> Result<BTreeMap<AttachmentHash, bool>, StoreError> {
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
    let rows = sqlx::query!("SELECT hash, stored FROM attachments WHERE workspace = $1 AND hash = ANY($2)", workspace, &hashes);
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("looking for attachments"))?;
    rows.into_iter().map(|row| Ok((bytes32(&row.hash, "attachments")?, row.stored))).collect()
}

/// What became of the note that attachments are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// They are noted, and counted.
    Stored,
    /// There would be more of them than the quota allows.
    Full,
    /// The workspace is not here any more.
    Gone,
}

/// Notes that attachments are stored, with their lengths, and counts these for the quota; unless there are more then than it allows.
/// Others who store in the same workspace wait for this, so each counts what those before have counted.
pub(crate) async fn mark_stored(
    pool: &PgPool,
    workspace: i64,
    stored: &[(AttachmentHash, u64)],
    quota_bytes: u64,
) -> Result<Marked, StoreError> {
    let failed = || StoreError::doing("noting attachments");
    let hashes: Vec<Vec<u8>> = stored.iter().map(|(hash, _)| hash.to_vec()).collect();
    let lengths: Vec<i32> = stored.iter().map(|(_, length)| i32::try_from(*length).unwrap_or(i32::MAX)).collect();
    let mark = sqlx::query_scalar!(
        r#"WITH locked AS (
             SELECT number FROM workspaces WHERE number = $1 FOR UPDATE
           ), changed AS (
             UPDATE attachments SET stored = true, length = new.length
             FROM locked, UNNEST($2::bytea[], $3::integer[]) AS new (hash, length)
             WHERE attachments.workspace = $1 AND attachments.hash = new.hash AND NOT attachments.stored
             RETURNING attachments.length
           ) UPDATE workspaces SET attachment_bytes = attachment_bytes + coalesce((SELECT sum(length) FROM changed), 0)
             WHERE number = $1 RETURNING attachment_bytes AS "counted!""#,
        workspace,
        &hashes,
        &lengths
    );
    let mut transaction = pool.begin().await.map_err(failed())?;
    let counted = mark.fetch_optional(&mut *transaction).await.map_err(failed())?;
    let marked = match counted {
        Some(counted) if counted > signed(quota_bytes) => Marked::Full,
        Some(_) => Marked::Stored,
        None => Marked::Gone,
    };
    if marked == Marked::Stored {
        transaction.commit().await.map_err(failed())?;
    } else {
        transaction.rollback().await.map_err(failed())?;
    }
    Ok(marked)
}

/// Notes that attachments are not in storage any more, and counts them no longer.
pub(crate) async fn mark_lost(pool: &PgPool, workspace: i64, lost: &[AttachmentHash]) -> Result<(), StoreError> {
    let hashes: Vec<Vec<u8>> = lost.iter().map(|hash| hash.to_vec()).collect();
    let mark = sqlx::query!(
        "WITH locked AS ( \
           SELECT number FROM workspaces WHERE number = $1 FOR UPDATE \
         ), changed AS ( \
           UPDATE attachments SET stored = false FROM locked WHERE workspace = $1 AND hash = ANY($2) AND stored RETURNING length \
         ) UPDATE workspaces SET attachment_bytes = greatest(attachment_bytes - coalesce((SELECT sum(length) FROM changed), 0), 0) \
           WHERE number = $1",
        workspace,
        &hashes
    );
    mark.execute(pool).await.map(drop).map_err(StoreError::doing("noting attachments as lost"))
}
