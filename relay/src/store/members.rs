//! Who belongs to a workspace, as the membership of its operations says: written whenever that changes, read with every request.

use nodespace_protocol::ids::{DeviceId, UserId, WorkspaceId};
use nodespace_protocol::membership::{Membership, Role};
use nodespace_protocol::view::RunningHash;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::{StoreError, WorkspaceRow, bytes32, signed, unsigned};

/// What a workspace knows of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRole {
    /// No workspace operation names it.
    Unknown,
    /// It was removed.
    Removed,
    /// It is a member's.
    Member {
        /// Whose.
        user: UserId,
        /// What they may do.
        role: Role,
    },
}

/// Everything that a request has to know first, in one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The workspace.
    pub workspace: WorkspaceRow,
    /// The device that asks.
    pub device: DeviceRole,
}

impl Standing {
    /// Reads how a device stands to a workspace; `None` when the workspace is not here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(executor: impl PgExecutor<'_>, workspace: &WorkspaceId, device: &DeviceId) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT number, version, running_hash, bytes, attachment_bytes, held,
                      device AS "device?", user_id AS "user_id?", role AS "role?"
               FROM workspaces LEFT JOIN member_devices ON workspace = number AND device = $2 WHERE id = $1"#,
            workspace.0.as_slice(),
            device.0.as_slice()
        );
        let row = row.fetch_optional(executor).await.map_err(StoreError::doing("reading a device's standing"))?;
        let Some(row) = row else { return Ok(None) };
        const PLACE: &str = "member_devices";
        let device = match (row.device, row.user_id, row.role) {
            (None, ..) => DeviceRole::Unknown,
            (Some(_), Some(user), Some(role)) => {
                DeviceRole::Member { user: UserId(bytes32(&user, PLACE)?), role: role_of(role).ok_or_else(|| bad_role(role))? }
            }
            _ => DeviceRole::Removed,
        };
        let workspace = WorkspaceRow {
            number: row.number,
            version: unsigned(row.version, PLACE)?,
            running: RunningHash(bytes32(&row.running_hash, PLACE)?),
            bytes: unsigned(row.bytes, PLACE)?,
            attachment_bytes: unsigned(row.attachment_bytes, PLACE)?,
            held: row.held,
        };
        Ok(Some(Self { workspace, device }))
    }
}

/// Whether a user is a member of a workspace.
pub(crate) async fn is_user(pool: &PgPool, workspace: i64, user: &UserId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM member_users WHERE workspace = $1 AND user_id = $2) AS "found!""#,
        workspace,
        user.0.as_slice()
    );
    found.fetch_one(pool).await.map_err(StoreError::doing("looking for a member"))
}

/// Whether a user brought a workspace at or after a time, in milliseconds since the Unix epoch; clocks may be a minute apart.
pub(crate) async fn brought_since(pool: &PgPool, workspace: i64, user: &UserId, since_ms: u64) -> Result<bool, StoreError> {
    const APART_MS: u64 = 60_000;
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM workspaces WHERE number = $1 AND founder = $2
                          AND extract(epoch FROM created_at) * 1000 >= $3::bigint) AS "found!""#,
        workspace,
        user.0.as_slice(),
        signed(since_ms.saturating_sub(APART_MS))
    );
    found.fetch_one(pool).await.map_err(StoreError::doing("looking who brought a workspace"))
}

fn bad_role(role: i16) -> StoreError {
    StoreError::corrupt("member_devices", format!("the role {role}"))
}

fn role_of(code: i16) -> Option<Role> {
    Role::ALL.get(usize::try_from(code).ok()?).copied()
}

/// The rows of a membership.
#[derive(Clone, Debug, Default)]
pub(crate) struct MembershipRows {
    users: Vec<Vec<u8>>,
    user_roles: Vec<i16>,
    devices: Vec<Vec<u8>>,
    device_users: Vec<Option<Vec<u8>>>,
    device_roles: Vec<Option<i16>>,
}

impl MembershipRows {
    pub(crate) fn of(membership: &Membership) -> Self {
        let mut rows = Self::default();
        for member in membership.members() {
            rows.users.push(member.user.0.to_vec());
            rows.user_roles.push(member.role as i16);
        }
        for device in membership.known_devices() {
            let found = membership.user(&device).zip(membership.role(&device));
            rows.devices.push(device.0.to_vec());
            rows.device_users.push(found.map(|(user, _)| user.0.to_vec()));
            rows.device_roles.push(found.map(|(_, role)| role as i16));
        }
        rows
    }

    /// Replaces what was written before.
    pub(crate) async fn write(&self, transaction: &mut PgConnection, workspace: i64) -> Result<(), StoreError> {
        let failed = || StoreError::doing("writing members");
        let deletions = [
            sqlx::query!("DELETE FROM member_users WHERE workspace = $1", workspace),
            sqlx::query!("DELETE FROM member_devices WHERE workspace = $1", workspace),
        ];
        for deletion in deletions {
            deletion.execute(&mut *transaction).await.map_err(failed())?;
        }
        let users = sqlx::query!(
            "INSERT INTO member_users (workspace, user_id, role) SELECT $1, * FROM UNNEST($2::bytea[], $3::smallint[])",
            workspace,
            &self.users,
            &self.user_roles
        );
        users.execute(&mut *transaction).await.map_err(failed())?;
        let devices = sqlx::query!(
            "INSERT INTO member_devices (workspace, device, user_id, role) \
             SELECT $1, * FROM UNNEST($2::bytea[], $3::bytea[], $4::smallint[])",
            workspace,
            &self.devices,
            &self.device_users as &[Option<Vec<u8>>],
            &self.device_roles as &[Option<i16>]
        );
        devices.execute(&mut *transaction).await.map(drop).map_err(failed())
    }
}
