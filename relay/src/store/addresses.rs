//! Where members can be reached now.

use nodespace_protocol::ids::DeviceId;
use sqlx::PgPool;

use super::{StoreError, bytes32};

/// Where a device can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressRow {
    pub(crate) device: DeviceId,
    pub(crate) addresses: Vec<String>,
    /// For how long this holds, in seconds.
    pub(crate) seconds_left: u64,
}

/// Replaces a device's addresses; they hold for some seconds.
pub(crate) async fn write(pool: &PgPool, workspace: i64, device: &DeviceId, addresses: &[String], seconds: u32) -> Result<(), StoreError> {
    let upsert = sqlx::query!(
        "INSERT INTO addresses (workspace, device, addresses, expires_at) VALUES ($1, $2, $3, now() + make_interval(secs => $4)) \
         ON CONFLICT (workspace, device) DO UPDATE SET addresses = excluded.addresses, expires_at = excluded.expires_at",
        workspace,
        device.0.as_slice(),
        addresses,
        f64::from(seconds)
    );
    upsert.execute(pool).await.map(drop).map_err(StoreError::doing("writing addresses"))
}

/// The addresses of all members' devices that hold now.
pub(crate) async fn read(pool: &PgPool, workspace: i64) -> Result<Vec<AddressRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT device, addresses, greatest(extract(epoch FROM expires_at - now()), 0)::bigint AS "seconds_left!"
           FROM addresses JOIN member_devices USING (workspace, device)
           WHERE workspace = $1 AND expires_at > now() AND role IS NOT NULL ORDER BY device"#,
        workspace
    );
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("reading addresses"))?;
    let row = |device: &[u8], addresses, seconds: i64| {
        Ok(AddressRow { device: DeviceId(bytes32(device, "addresses")?), addresses, seconds_left: seconds.unsigned_abs() })
    };
    rows.into_iter().map(|found| row(&found.device, found.addresses, found.seconds_left)).collect()
}

/// Deletes what holds no more.
pub(crate) async fn sweep(pool: &PgPool) -> Result<u64, StoreError> {
    let sweep = sqlx::query!("DELETE FROM addresses WHERE expires_at <= now()");
    sweep.execute(pool).await.map(|done| done.rows_affected()).map_err(StoreError::doing("sweeping addresses"))
}
