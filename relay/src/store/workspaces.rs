//! The row of each workspace: the counter, the running hash, what the quota counts.

use nodespace_protocol::ids::{DeviceId, UserId, WorkspaceId};
use nodespace_protocol::view::RunningHash;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::{StoreError, bytes32, signed, unsigned};

/// A workspace as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Its number in the other tables.
    pub number: i64,
    /// The version of the last operation.
    pub version: u64,
    /// The hash over all operations.
    pub running: RunningHash,
    /// Bytes of headers and payloads.
    pub bytes: u64,
    /// Bytes of attachments.
    pub attachment_bytes: u64,
    /// Some operation is ahead of time, and the canonical nodes do not show it yet.
    pub held: bool,
}

/// A workspace for whoever runs the relay.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WorkspaceSummary {
    /// Its id.
    pub id: WorkspaceId,
    /// Operations.
    pub version: u64,
    /// Bytes of headers and payloads.
    pub bytes: u64,
    /// Bytes of attachments.
    pub attachment_bytes: u64,
    /// Members.
    pub users: u64,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub changed_at_ms: u64,
}

impl WorkspaceRow {
    /// Reads a row without waiting for anybody.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(executor: impl PgExecutor<'_>, id: &WorkspaceId) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query!(
            "SELECT number, version, running_hash, bytes, attachment_bytes, held FROM workspaces WHERE id = $1",
            id.0.as_slice()
        );
        let row = row.fetch_optional(executor).await.map_err(StoreError::doing("reading a workspace"))?;
        row.map(|row| {
            let parts = (row.number, row.version, row.running_hash.as_slice());
            Self::of(parts, (row.bytes, row.attachment_bytes, row.held))
        })
        .transpose()
    }

    /// Locks a row until the transaction ends: versions are given out under this lock.
    pub(crate) async fn lock(transaction: &mut PgConnection, id: &WorkspaceId) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query!(
            "SELECT number, version, running_hash, bytes, attachment_bytes, held FROM workspaces WHERE id = $1 FOR UPDATE",
            id.0.as_slice()
        );
        let row = row.fetch_optional(transaction).await.map_err(StoreError::doing("locking a workspace"))?;
        row.map(|row| {
            let parts = (row.number, row.version, row.running_hash.as_slice());
            Self::of(parts, (row.bytes, row.attachment_bytes, row.held))
        })
        .transpose()
    }

    fn of((number, version, running): (i64, i64, &[u8]), (bytes, attachment_bytes, held): (i64, i64, bool)) -> Result<Self, StoreError> {
        const PLACE: &str = "workspaces";
        Ok(Self {
            number,
            version: unsigned(version, PLACE)?,
            running: RunningHash(bytes32(running, PLACE)?),
            bytes: unsigned(bytes, PLACE)?,
            attachment_bytes: unsigned(attachment_bytes, PLACE)?,
            held,
        })
    }

    /// Adds a workspace, unless somebody else just did, or its founder has brought as many as one user may. Who brings another of the same
    /// user's waits until the transaction ends, so that each is counted by the next.
    pub(crate) async fn insert(
        transaction: &mut PgConnection,
        id: &WorkspaceId,
        founder: &UserId,
        per_user: u32,
    ) -> Result<(), StoreError> {
        let (failed, beginning) = (|| StoreError::doing("adding a workspace"), RunningHash::default());
        let whose = i64::from_le_bytes(std::array::from_fn(|at| founder.0[at]));
        let alone = sqlx::query_scalar!(r#"SELECT 1 AS "alone!" FROM pg_advisory_xact_lock($1)"#, whose);
        alone.fetch_one(&mut *transaction).await.map_err(failed())?;
        let insert = sqlx::query!(
            "INSERT INTO workspaces (id, running_hash, founder) SELECT $1::bytea, $2::bytea, $3::bytea \
             WHERE (SELECT count(*) FROM workspaces WHERE founder = $3::bytea) < $4::bigint ON CONFLICT (id) DO NOTHING",
            id.0.as_slice(),
            beginning.0.as_slice(),
            founder.0.as_slice(),
            i64::from(per_user)
        );
        insert.execute(transaction).await.map(drop).map_err(failed())
    }

    /// How many workspaces a user has brought.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn founded_by(pool: &PgPool, user: &UserId) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM workspaces WHERE founder = $1"#, user.0.as_slice());
        unsigned(count.fetch_one(pool).await.map_err(StoreError::doing("counting workspaces"))?, "workspaces")
    }

    /// The versions of some workspaces: who listens to them looks for changes when notifications may have been lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(pool: &PgPool, ids: &[WorkspaceId]) -> Result<Vec<(WorkspaceId, u64)>, StoreError> {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| id.0.to_vec()).collect();
        let rows = sqlx::query!("SELECT id, version FROM workspaces WHERE id = ANY($1)", &ids);
        let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("reading versions"))?;
        rows.into_iter().map(|row| Ok((WorkspaceId(bytes32(&row.id, "workspaces")?), unsigned(row.version, "workspaces")?))).collect()
    }

    /// All workspaces, those that changed last first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(pool: &PgPool, limit: u32) -> Result<Vec<WorkspaceSummary>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT id, version, bytes, attachment_bytes, (extract(epoch FROM changed_at) * 1000)::bigint AS "changed_at_ms!",
                      (SELECT count(*) FROM member_users WHERE workspace = number) AS "users!"
               FROM workspaces ORDER BY changed_at DESC LIMIT $1"#,
            i64::from(limit)
        );
        let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("listing workspaces"))?;
        let summary = |id: &[u8], numbers: [i64; 5]| {
            let [version, bytes, attachment_bytes, users, changed_at_ms] = numbers;
            let unsigned = |value| unsigned(value, "workspaces");
            Ok(WorkspaceSummary {
                id: WorkspaceId(bytes32(id, "workspaces")?),
                version: unsigned(version)?,
                bytes: unsigned(bytes)?,
                attachment_bytes: unsigned(attachment_bytes)?,
                users: unsigned(users)?,
                changed_at_ms: unsigned(changed_at_ms)?,
            })
        };
        rows.into_iter().map(|row| summary(&row.id, [row.version, row.bytes, row.attachment_bytes, row.users, row.changed_at_ms])).collect()
    }

    /// Deletes a workspace with everything in it, and begins an epoch: what devices know of the log that goes was signed, and they may bring
    /// another one. Attachments stay in object storage, for whoever runs the relay to delete.
    ///
    /// # Errors
    /// When the database fails; nothing was deleted then.
    pub async fn delete(pool: &PgPool, id: &WorkspaceId) -> Result<bool, StoreError> {
        let failed = || StoreError::doing("deleting a workspace");
        let mut transaction = pool.begin().await.map_err(failed())?;
        // A large workspace takes longer than a statement of the service may.
        let unbounded = sqlx::query_scalar!("SELECT set_config('statement_timeout', '0', true)");
        unbounded.fetch_one(&mut *transaction).await.map_err(failed())?;
        let Some(row) = Self::lock(&mut transaction, id).await? else { return Ok(false) };
        let statements = [
            sqlx::query!("DELETE FROM operations WHERE workspace = $1", row.number),
            sqlx::query!("DELETE FROM nodes WHERE workspace = $1", row.number),
            sqlx::query!("DELETE FROM member_users WHERE workspace = $1", row.number),
            sqlx::query!("DELETE FROM member_devices WHERE workspace = $1", row.number),
            sqlx::query!("DELETE FROM attachments WHERE workspace = $1", row.number),
            sqlx::query!("DELETE FROM addresses WHERE workspace = $1", row.number),
            sqlx::query!("DELETE FROM workspaces WHERE number = $1", row.number),
            sqlx::query!("UPDATE relay SET epoch = greatest(epoch + 1, $1), epoch_since = now()", signed(crate::clock::now_ms())),
        ];
        for statement in statements {
            statement.execute(&mut *transaction).await.map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(true)
    }

    /// Whether a device is a member of any workspace: whom the circuit relay serves.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_anywhere_member(pool: &PgPool, device: &DeviceId) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM member_devices WHERE device = $1 AND role IS NOT NULL) AS "found!""#,
            device.0.as_slice()
        );
        found.fetch_one(pool).await.map_err(StoreError::doing("looking for a member"))
    }
}
