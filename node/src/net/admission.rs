//! Who may be connected. Members first: everything else a peer could do comes after this question.
//!
//! A peer that is no member may still be one that *we* have not heard of yet: it joined at somebody else's device, or comes with a fresh
//! ticket. Such a **guest** gets a connection, a few seconds, and the one stream on which membership is shown; it gets no gossip, no addresses
//! and nothing of a workspace. Who was removed comes as a guest too, to be told so. There are few places for guests, so strangers can fill
//! those and nothing else, and fewer for those of one address. One that was turned away, or wasted its time, is not let in again for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nodespace_protocol::ids::DeviceId;

/// Guests that may be connected at one time; the next one is refused and may come again.
pub const GUESTS_MAX: usize = 16;
/// Guests from one address that may be connected at one time, since one machine can have as many keys as it likes; the next one is refused
/// and may come again. By IPv6 the network of 64 bits counts as one address; those that come through a circuit relay are not counted so.
pub const GUESTS_OF_ONE_PLACE_MAX: usize = 4;
/// How long a guest may take to show that it belongs, in milliseconds; then it is disconnected.
pub const GUEST_MS_MAX: u64 = 20_000;
/// How long a stranger that was turned away is not let in again, in milliseconds.
pub const TURNED_AWAY_MS: u64 = 30_000;
/// Strangers that are remembered as turned away; beyond it the oldest is forgotten and may try again sooner.
pub const TURNED_AWAY_MAX: usize = 1_024;

/// What somebody is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A member of a workspace that is here.
    Member,
    /// A host of a workspace that this device is joining, named by a ticket.
    Host,
    /// A circuit relay of the configuration: it carries connections and is shown nothing.
    Carrier,
    /// Not known: it may show that it belongs.
    Guest,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refused {
    /// Its key is of another kind than devices have.
    #[error("its key is not an Ed25519 key, so it is no device")]
    ForeignKey,
    /// It was turned away a moment ago.
    #[error("it was turned away a moment ago")]
    TurnedAway,
    /// There is no workspace here that it could belong to.
    #[error("there is no workspace here")]
    NoWorkspace,
    /// All places for guests are taken.
    #[error("all places for devices that are not known are taken")]
    TooManyGuests,
}

impl Refused {
    /// The word for it in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForeignKey => "foreign_key",
            Self::TurnedAway => "turned_away",
            Self::NoWorkspace => "no_workspace",
            Self::TooManyGuests => "too_many_guests",
        }
    }
}

/// Who belongs, as the workspaces of this device know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// Devices of members of any workspace that is here.
    pub members: BTreeSet<DeviceId>,
    /// Whom tickets name that are being used.
    pub hosts: BTreeSet<DeviceId>,
    /// Whether there is a workspace to which a guest could belong.
    pub has_workspace: bool,
}

#[derive(Debug, Default)]
struct State {
    roll: Roll,
    carriers: BTreeSet<DeviceId>,
    /// Who is connected as a guest, and from where.
    guests: BTreeMap<DeviceId, Option<IpAddr>>,
    turned_away: BTreeMap<DeviceId, u64>,
}

/// The list at the door, shared by the swarm's gate and those who keep it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    state: Arc<RwLock<State>>,
}

impl Admission {
    /// Puts another roll in place. Answers the devices that are connected as guests and have become members: they need not show any more
    /// that they belong, and their places are free.
    pub fn set_roll(&self, roll: Roll) -> Vec<DeviceId> {
        let mut state = self.write();
        state.roll = roll;
        let State { roll, guests, turned_away, .. } = &mut *state;
        turned_away.retain(|device, _| !roll.members.contains(device));
        guests.extract_if(.., |device, _| roll.members.contains(device)).map(|(device, _)| device).collect()
    }

    /// Names the circuit relays of the configuration.
    pub fn set_carriers(&self, carriers: BTreeSet<DeviceId>) {
        self.write().carriers = carriers;
    }

    /// What a device is to us, wherever it is.
    ///
    /// # Errors
    /// When it may not be connected now.
    pub fn judge(&self, device: &DeviceId, now_ms: u64) -> Result<Standing, Refused> {
        self.judge_from(device, None, now_ms)
    }

    /// The same of a device that comes from somewhere: of one address there are few guests.
    ///
    /// # Errors
    /// When it may not be connected now.
    pub fn judge_from(&self, device: &DeviceId, from: Option<IpAddr>, now_ms: u64) -> Result<Standing, Refused> {
        let state = self.read();
        if state.roll.members.contains(device) {
            return Ok(Standing::Member);
        }
        if state.roll.hosts.contains(device) {
            return Ok(Standing::Host);
        }
        if state.carriers.contains(device) {
            return Ok(Standing::Carrier);
        }
        if !state.roll.has_workspace {
            return Err(Refused::NoWorkspace);
        }
        if state.turned_away.get(device).is_some_and(|since| now_ms < since.saturating_add(TURNED_AWAY_MS)) {
            return Err(Refused::TurnedAway);
        }
        let from_there = || state.guests.values().filter(|other| other.is_some() && **other == from).count();
        let is_full = || state.guests.len() >= GUESTS_MAX || from_there() >= GUESTS_OF_ONE_PLACE_MAX;
        if !state.guests.contains_key(device) && is_full() {
            return Err(Refused::TooManyGuests);
        }
        Ok(Standing::Guest)
    }

    /// Takes a place for a guest, who comes from somewhere. One that has a place keeps it as it is.
    pub fn enter(&self, device: DeviceId, from: Option<IpAddr>) {
        self.write().guests.entry(device).or_insert(from);
    }

    /// Gives the place back.
    pub fn leave(&self, device: &DeviceId) {
        self.write().guests.remove(device);
    }

    /// All connections are gone at once, because whatever made them is: all places are free.
    pub fn restarted(&self) {
        self.write().guests.clear();
    }

    /// Remembers that a stranger was turned away.
    pub fn turn_away(&self, device: DeviceId, now_ms: u64) {
        let mut state = self.write();
        if state.roll.members.contains(&device) || state.roll.hosts.contains(&device) {
            return;
        }
        if state.turned_away.len() >= TURNED_AWAY_MAX
            && let Some(oldest) = state.turned_away.iter().min_by_key(|(_, since)| **since).map(|(device, _)| *device)
        {
            state.turned_away.remove(&oldest);
        }
        state.turned_away.insert(device, now_ms);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn roll(members: &[u8]) -> Roll {
        Roll { members: members.iter().map(|number| device(*number)).collect(), has_workspace: true, ..Roll::default() }
    }

    #[test]
    fn members_are_let_in_when_all_places_for_guests_are_taken() {
        let admission = Admission::default();
        admission.set_roll(roll(&[1]));
        for number in 0..GUESTS_MAX {
            let guest = device(100 + u8::try_from(number).unwrap());
            assert_eq!(admission.judge(&guest, 0), Ok(Standing::Guest));
            admission.enter(guest, None);
        }
        assert_eq!(admission.judge(&device(99), 0), Err(Refused::TooManyGuests));
        assert_eq!(admission.judge(&device(100), 0), Ok(Standing::Guest), "who has a place keeps it");
        assert_eq!(admission.judge(&device(1), 0), Ok(Standing::Member));
        admission.leave(&device(100));
        assert_eq!(admission.judge(&device(99), 0), Ok(Standing::Guest));
        admission.enter(device(99), None);
        assert_eq!(admission.judge(&device(98), 0), Err(Refused::TooManyGuests));
        admission.restarted();
        assert_eq!(admission.judge(&device(98), 0), Ok(Standing::Guest));
    }

    #[test]
    fn guests_of_one_address_leave_places_to_those_of_others() {
        let admission = Admission::default();
        admission.set_roll(roll(&[1]));
        let (here, there) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        for number in 0..GUESTS_OF_ONE_PLACE_MAX {
            let guest = device(100 + u8::try_from(number).unwrap());
            assert_eq!(admission.judge_from(&guest, here, 0), Ok(Standing::Guest));
            admission.enter(guest, here);
        }
        assert_eq!(admission.judge_from(&device(99), here, 0), Err(Refused::TooManyGuests));
        assert_eq!(admission.judge_from(&device(99), there, 0), Ok(Standing::Guest));
        assert_eq!(admission.judge_from(&device(100), here, 0), Ok(Standing::Guest), "who has a place keeps it");
        assert_eq!(admission.judge_from(&device(1), here, 0), Ok(Standing::Member));
        // Some came by a relay, which shows no address.
        for number in 110..115 {
            admission.enter(device(number), None);
        }
        assert_eq!(admission.judge_from(&device(99), None, 0), Ok(Standing::Guest));
        // One of them has become a member: it is a guest no more.
        admission.set_roll(roll(&[1, 100]));
        assert_eq!(admission.judge_from(&device(99), here, 0), Ok(Standing::Guest));
    }

    #[test]
    fn who_was_turned_away_waits() {
        let admission = Admission::default();
        admission.set_roll(roll(&[1]));
        admission.turn_away(device(5), 1_000);
        admission.turn_away(device(1), 1_000);
        assert_eq!(admission.judge(&device(5), 1_000), Err(Refused::TurnedAway));
        assert_eq!(admission.judge(&device(5), 1_000 + TURNED_AWAY_MS), Ok(Standing::Guest));
        assert_eq!(admission.judge(&device(1), 1_000), Ok(Standing::Member), "a member is never kept out");
        admission.set_roll(roll(&[1, 5]));
        assert_eq!(admission.judge(&device(5), 1_001), Ok(Standing::Member));
    }

    #[test]
    fn what_is_remembered_of_strangers_is_bounded() {
        let admission = Admission::default();
        admission.set_roll(roll(&[]));
        for number in 0..u64::try_from(TURNED_AWAY_MAX).unwrap() + 10 {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            admission.turn_away(DeviceId(key), number);
        }
        assert_eq!(admission.read().turned_away.len(), TURNED_AWAY_MAX);
    }

    #[test]
    fn an_empty_device_has_no_guests_and_knows_its_hosts() {
        let admission = Admission::default();
        assert_eq!(admission.judge(&device(2), 0), Err(Refused::NoWorkspace));
        admission.set_roll(Roll { hosts: [device(2)].into(), ..Roll::default() });
        assert_eq!(admission.judge(&device(2), 0), Ok(Standing::Host));
    }

    #[test]
    fn a_guest_that_became_a_member_is_named() {
        let admission = Admission::default();
        admission.set_roll(roll(&[1]));
        admission.enter(device(5), None);
        assert_eq!(admission.set_roll(roll(&[1, 5])), [device(5)]);
        assert_eq!(admission.set_roll(roll(&[1, 5])), [], "once");
    }
}
