//! What devices may do, remembered for as long as a workspace's row proves it.
//!
//! Every request asks what its device may do now. That is in the rows of members, which only a turn writes, and in the transaction that
//! moves the workspace's row on; the running hash in that row is of the whole log. So a role that was read together with a row holds
//! wherever the workspace stands there again, and where a turn of this instance led it from there without writing members. Each request
//! reads the workspace's row as it is now, and nothing else while that is such a place. When the workspace stands elsewhere, because
//! another instance has written or members have changed, the role is read with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nodespace_protocol::ids::{DeviceId, WorkspaceId};
use nodespace_protocol::view::RunningHash;
use sqlx::PgConnection;

use super::{Database, DeviceRole, Standing, StoreError, WorkspaceRow};

/// Workspaces of which roles are remembered, and devices of one; beyond these they are forgotten, and read again.
const WORKSPACES_MAX: usize = 1_024;
const DEVICES_MAX: usize = 64;
/// Places where a workspace lately stood: a request may have read a row that turns have moved on since.
const PLACES_MAX: usize = 16;
/// Requests that read all at once after one that read the row in vain: while others write, too, hardly any request asks twice.
const WHOLE_READS: u32 = 4;

/// Reads how a device stands to a workspace, or the workspace's row alone where that is enough. `None` when the workspace is not here.
pub(crate) async fn standing(database: &Database, workspace: &WorkspaceId, device: &DeviceId) -> Result<Option<Standing>, StoreError> {
    let taken = database.readers().take().await;
    let mut connection = taken.map_err(StoreError::doing("connecting for a device's standing"))?;
    let standing = database.roles().standing(&mut connection, workspace, device).await?;
    connection.keep();
    Ok(standing)
}

/// Roles of members' devices.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    known: Mutex<HashMap<WorkspaceId, Known>>,
}

/// What is remembered of a workspace.
#[derive(Debug, Default)]
struct Known {
    /// Where it stood while the members were these, the latest last.
    places: VecDeque<Place>,
    devices: HashMap<DeviceId, DeviceRole>,
    /// So many requests are to read all at once.
    whole_reads: u32,
}

/// Where a workspace stands. A number is never given out again within a database, and in one that was set back the running hash tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    number: i64,
    version: u64,
    running: RunningHash,
}

impl Place {
    const fn of(row: &WorkspaceRow) -> Self {
        Self { number: row.number, version: row.version, running: row.running }
    }
}

impl Roles {
    async fn standing(
        &self,
        connection: &mut PgConnection,
        workspace: &WorkspaceId,
        device: &DeviceId,
    ) -> Result<Option<Standing>, StoreError> {
        if self.is_promising(workspace, device) {
            let Some(row) = WorkspaceRow::read(&mut *connection, workspace).await? else { return Ok(None) };
            if let Some(device) = self.at(workspace, device, &row) {
                return Ok(Some(Standing { workspace: row, device }));
            }
        }
        let standing = Standing::read(connection, workspace, device).await?;
        if let Some(standing) = &standing {
            self.learn(workspace, device, standing);
        }
        Ok(standing)
    }

    /// Whether it is worth reading the workspace's row alone first.
    fn is_promising(&self, workspace: &WorkspaceId, device: &DeviceId) -> bool {
        let mut all = self.lock();
        let Some(known) = all.get_mut(workspace) else { return false };
        let is_whole_read = known.whole_reads > 0;
        known.whole_reads = known.whole_reads.saturating_sub(1);
        !is_whole_read && known.devices.contains_key(device)
    }

    /// A device's role where the workspace stands now.
    fn at(&self, workspace: &WorkspaceId, device: &DeviceId, row: &WorkspaceRow) -> Option<DeviceRole> {
        let known = self.lock();
        let known = known.get(workspace).filter(|known| known.places.contains(&Place::of(row)))?;
        known.devices.get(device).copied()
    }

    /// Remembers a role that was read together with the workspace's row: a member's only, so that strangers take no memory.
    fn learn(&self, workspace: &WorkspaceId, device: &DeviceId, standing: &Standing) {
        if !matches!(standing.device, DeviceRole::Member { .. }) {
            return;
        }
        let place = Place::of(&standing.workspace);
        let mut all = self.lock();
        if all.len() >= WORKSPACES_MAX && !all.contains_key(workspace) {
            all.clear();
        }
        let known = all.entry(*workspace).or_default();
        if !known.places.contains(&place) {
            // The members may be others there.
            let whole_reads = if known.places.is_empty() { 0 } else { WHOLE_READS };
            *known = Known { places: VecDeque::from([place]), devices: HashMap::new(), whole_reads };
        }
        if known.devices.len() >= DEVICES_MAX {
            known.devices.clear();
        }
        known.devices.insert(*device, standing.device);
    }

    /// A turn was committed that led a workspace from one row to another, and wrote no members.
    pub(crate) fn follow(&self, workspace: &WorkspaceId, from: &WorkspaceRow, to: &WorkspaceRow) {
        let mut all = self.lock();
        let Some(known) = all.get_mut(workspace).filter(|known| known.places.contains(&Place::of(from))) else { return };
        let to = Place::of(to);
        if known.places.contains(&to) {
            return;
        }
        if known.places.len() >= PLACES_MAX {
            known.places.pop_front();
        }
        known.places.push_back(to);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Known>> {
        // Nothing in here panics half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::ids::UserId;
    use nodespace_protocol::membership::Role;

    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId([1; 32]);
    const DEVICE: DeviceId = DeviceId([2; 32]);
    const MEMBER: DeviceRole = DeviceRole::Member { user: UserId([3; 32]), role: Role::Editor };

    fn row(version: u64, running: u8) -> WorkspaceRow {
        WorkspaceRow { number: 7, version, running: RunningHash([running; 32]), bytes: 0, attachment_bytes: 0, held: false }
    }

    fn knowing(at: WorkspaceRow) -> Roles {
        let roles = Roles::default();
        roles.learn(&WORKSPACE, &DEVICE, &Standing { workspace: at, device: MEMBER });
        roles
    }

    #[test]
    fn a_role_holds_where_it_was_read_and_where_turns_led_without_members() {
        let roles = knowing(row(10, 1));
        assert_eq!(roles.at(&WORKSPACE, &DEVICE, &row(10, 1)), Some(MEMBER));
        roles.follow(&WORKSPACE, &row(10, 1), &row(12, 2));
        roles.follow(&WORKSPACE, &row(12, 2), &row(15, 3));
        for held in [row(10, 1), row(12, 2), row(15, 3), WorkspaceRow { bytes: 9, held: true, ..row(15, 3) }] {
            assert_eq!(roles.at(&WORKSPACE, &DEVICE, &held), Some(MEMBER));
        }
        assert_eq!(roles.at(&WORKSPACE, &DeviceId([9; 32]), &row(10, 1)), None);
    }

    #[test]
    fn a_role_holds_nowhere_else() {
        let roles = knowing(row(10, 1));
        // Another version, another log, another workspace of the same id; a turn of somebody else between.
        for other in [row(11, 1), row(10, 2), WorkspaceRow { number: 8, ..row(10, 1) }] {
            assert_eq!(roles.at(&WORKSPACE, &DEVICE, &other), None);
        }
        roles.follow(&WORKSPACE, &row(11, 5), &row(12, 6));
        assert_eq!(roles.at(&WORKSPACE, &DEVICE, &row(12, 6)), None);
    }

    #[test]
    fn what_was_read_elsewhere_replaces_what_was_known() {
        let roles = knowing(row(10, 1));
        let other = DeviceId([9; 32]);
        roles.learn(&WORKSPACE, &other, &Standing { workspace: row(20, 2), device: MEMBER });
        assert_eq!(roles.at(&WORKSPACE, &other, &row(20, 2)), Some(MEMBER));
        assert_eq!(roles.at(&WORKSPACE, &other, &row(10, 1)), None);
        assert_eq!(roles.at(&WORKSPACE, &DEVICE, &row(10, 1)), None);
        // Only members are remembered.
        for device in [DeviceRole::Removed, DeviceRole::Unknown] {
            roles.learn(&WORKSPACE, &DEVICE, &Standing { workspace: row(20, 2), device });
            assert_eq!(roles.at(&WORKSPACE, &DEVICE, &row(20, 2)), None);
        }
    }

    #[test]
    fn while_others_write_hardly_any_request_asks_twice() {
        let roles = knowing(row(10, 1));
        assert!(roles.is_promising(&WORKSPACE, &DEVICE) && !roles.is_promising(&WORKSPACE, &DeviceId([9; 32])));
        roles.learn(&WORKSPACE, &DEVICE, &Standing { workspace: row(20, 2), device: MEMBER });
        for _ in 0..WHOLE_READS {
            assert!(!roles.is_promising(&WORKSPACE, &DEVICE));
        }
        assert!(roles.is_promising(&WORKSPACE, &DEVICE));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let roles = Roles::default();
        let id = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(number as u64).to_le_bytes());
            id
        };
        let standing = Standing { workspace: row(1, 1), device: MEMBER };
        for number in 0..3 * WORKSPACES_MAX {
            roles.learn(&WorkspaceId(id(number)), &DEVICE, &standing);
        }
        for number in 0..3 * DEVICES_MAX {
            roles.learn(&WORKSPACE, &DeviceId(id(number)), &standing);
        }
        for version in 1..3 * PLACES_MAX as u64 {
            roles.follow(&WORKSPACE, &row(version, 1), &row(version + 1, 1));
        }
        let known = roles.lock();
        assert!(known.len() <= WORKSPACES_MAX);
        assert!(known[&WORKSPACE].devices.len() <= DEVICES_MAX && known[&WORKSPACE].places.len() == PLACES_MAX);
    }
}
