//! A relay that lies: what it is brought is changed on its way, or what it answers to that.
//!
//! Nobody but its author can sign an operation, and nobody but the relay a checkpoint; so these are the lies that remain, and each must be
//! caught by the device that is told it: what is left out, when that comes by another way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::view::encoding::PACKET_LIMITS;
use nodespace_protocol::view::{Encoding, SyncPacket, SyncResponse};
use serde::{Deserialize, Serialize};

/// A kind of lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LieKind {
    /// Something of what is new is not given.
    Withhold,
    /// What is new is given in another order than was signed.
    Reorder,
    /// A bit of what is new is another.
    Alter,
    /// The device is answered as it was long ago.
    Rewind,
    /// What the device brings is acknowledged, and reaches nobody.
    Drop,
    /// The log is said to end where it ended when the lie began: nothing that came since is given, and what the device brings is acknowledged.
    Omit,
}

impl LieKind {
    /// The word for it, as scenarios have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Withhold => "withhold",
            Self::Reorder => "reorder",
            Self::Alter => "alter",
            Self::Rewind => "rewind",
            Self::Drop => "drop",
            Self::Omit => "omit",
        }
    }
}

/// A lie, and who is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lie {
    /// Which.
    pub kind: LieKind,
    /// Whom; the others hear the truth.
    pub victims: BTreeSet<DeviceId>,
}

/// What a device was told before.
#[derive(Clone, Debug)]
struct Told {
    /// The first answer that said how far the log reached.
    first: SyncResponse,
    /// How far the last answer said so that was followed, and what was signed for that; nothing else of it.
    last: SyncResponse,
}

/// Tells lies, or passes the truth on.
#[derive(Debug, Default)]
pub(super) struct Liar {
    lie: Mutex<Option<Lie>>,
    before: Mutex<BTreeMap<DeviceId, Told>>,
    told: AtomicU64,
}

impl Liar {
    /// Lies from now on, or not any more.
    pub(super) fn tell(&self, lie: Option<Lie>) {
        *lock(&self.lie) = lie;
    }

    /// How many answers were lies.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// What the relay is brought instead of a packet; nothing when it is handed on as it is.
    pub(super) fn hand_on(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut packet = SyncPacket::from_bytes(packet, PACKET_LIMITS).ok()?.0;
        if self.lie_to(&packet.device_id) != Some(LieKind::Drop) || packet.segments.is_empty() {
            return None;
        }
        packet.segments.clear();
        packet.operations.clear();
        packet.vector_checksums.clear();
        packet.to_bytes(Encoding::Cbor).ok()
    }

    /// What is said instead of an answer; nothing when it is passed on as it is.
    pub(super) fn consider(&self, packet: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
        let packet = SyncPacket::from_bytes(packet, PACKET_LIMITS).ok()?.0;
        let answer = SyncResponse::from_bytes(answer, PACKET_LIMITS).ok()?.0;
        let before = self.told_before(packet.device_id, &answer);
        let lie = self.lie_to(&packet.device_id).and_then(|kind| turn(kind, &packet, answer.clone(), before));
        if lie.as_ref().is_none_or(|lie| lie.cursor() == answer.cursor()) {
            self.note_last(packet.device_id, &answer);
        }
        let said = lie?.to_bytes(Encoding::Cbor).ok()?;
        self.told.fetch_add(1, Ordering::Relaxed);
        Some(said)
    }

    /// How a device is lied to now.
    fn lie_to(&self, device: &DeviceId) -> Option<LieKind> {
        lock(&self.lie).as_ref().filter(|lie| lie.victims.contains(device)).map(|lie| lie.kind)
    }

    /// What a device was told before it is answered this.
    fn told_before(&self, device: DeviceId, answer: &SyncResponse) -> Told {
        let mut before = lock(&self.before);
        let told = before.entry(device).or_insert_with(|| Told { first: answer.clone(), last: end_of(answer) });
        if told.first.latest_version == 0 || told.first.epoch != answer.epoch {
            told.first.clone_from(answer);
        }
        told.clone()
    }

    fn note_last(&self, device: DeviceId, answer: &SyncResponse) {
        if let Some(told) = lock(&self.before).get_mut(&device) {
            told.last = end_of(answer);
        }
    }
}

/// An answer that says how far the log reaches, as this one does, and brings nothing.
fn end_of(answer: &SyncResponse) -> SyncResponse {
    SyncResponse { checkpoint: answer.checkpoint.clone(), ..SyncResponse::nothing_new(answer.cursor()) }
}

/// The answer turned into a lie; nothing where there is nothing to lie about.
fn turn(kind: LieKind, packet: &SyncPacket, mut answer: SyncResponse, before: Told) -> Option<SyncResponse> {
    match kind {
        LieKind::Withhold => answer.segments.pop().map(drop)?,
        LieKind::Reorder => {
            // Two that lie next to each other in one log would be put back in order.
            let last = answer.segments.len().checked_sub(1).filter(|last| *last > 0)?;
            answer.segments.swap(0, last);
        }
        LieKind::Alter => {
            let segment = answer.segments.last_mut()?;
            let middle = segment.bytes.len() / 2;
            *segment.bytes.get_mut(middle)? ^= 1;
        }
        LieKind::Rewind => {
            if before.first.latest_version >= answer.latest_version {
                return None;
            }
            // As then: what was new then, and nothing of what was sent since.
            answer = SyncResponse { applied_operations: answer.applied_operations, pushed: Vec::new(), ..before.first };
        }
        LieKind::Drop => {
            let brought = packet.verify_consistency(&|_: &_| None).ok().filter(|segments| !segments.is_empty())?;
            answer.applied_operations = brought.iter().flat_map(|segment| segment.ops.iter().map(|op| op.hash.uuid())).collect();
        }
        LieKind::Omit => {
            // Whoever has not come as far as it was told would find a gap.
            let is_news = before.last.cursor() == packet.cursor() && before.last.cursor() != answer.cursor();
            answer = is_news.then(|| SyncResponse { applied_operations: answer.applied_operations, ..before.last })?;
        }
    }
    Some(answer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::conflict::Policy;
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::{UserId, WorkspaceId};
    use nodespace_protocol::membership::Certificate;
    use nodespace_protocol::replica::{Author, Founding, LogRange, Replica};
    use nodespace_protocol::store::MemoryStore;
    use nodespace_protocol::view::{Cursor, PacketSegment, Sender};

    use super::*;

    fn cursor(version: u64) -> Cursor {
        Cursor { epoch: 1, version }
    }

    fn answer(version: u64, segments: &[u8]) -> SyncResponse {
        let segments = segments.iter().map(|byte| PacketSegment { previous: None, bytes: vec![*byte; 8] }).collect();
        SyncResponse { segments, ..SyncResponse::nothing_new(cursor(version)) }
    }

    fn pull(device: u8, version: u64) -> SyncPacket {
        let sender = Sender { workspace: WorkspaceId([1; 32]), user: UserId([2; 32]), device: DeviceId([device; 32]) };
        SyncPacket::pull(sender, cursor(version), Timestamp::from_ms(1))
    }

    fn before(first: &SyncResponse, last: &SyncResponse) -> Told {
        Told { first: first.clone(), last: end_of(last) }
    }

    /// A packet that founds a workspace, by the device that does.
    fn founding() -> SyncPacket {
        let (user, key) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let (certificate, now) = (Certificate::issue(&user, key.device()), Timestamp::from_ms(1_700_000_000_000));
        let founding = Founding { name: "notes".into(), policy: Policy::default(), secret: [3; 32] };
        let author = Author { key: key.clone(), epoch: 1 };
        let mut replica = Replica::found(MemoryStore::new(), author, certificate, founding, now).unwrap();
        replica.commit().unwrap();
        let log = replica.own_log().unwrap();
        let sender = Sender { workspace: replica.workspace(), user: user.user(), device: key.device() };
        let mut packet = SyncPacket::pull(sender, Cursor::default(), now);
        packet.push(&replica, &LogRange { log, branch: 0, after: 0, through: 1 }).unwrap();
        packet.without_views()
    }

    #[test]
    fn a_lie_is_another_answer_and_there_is_none_about_nothing() {
        let (truth, first) = (answer(9, &[1, 2, 3]), answer(4, &[1]));
        for kind in [LieKind::Withhold, LieKind::Reorder, LieKind::Alter, LieKind::Rewind, LieKind::Omit] {
            let lie = turn(kind, &pull(3, 4), truth.clone(), before(&first, &first)).unwrap();
            assert_ne!(lie, truth, "{kind:?}");
        }
        for kind in [LieKind::Withhold, LieKind::Reorder, LieKind::Alter, LieKind::Drop] {
            assert_eq!(turn(kind, &pull(3, 4), answer(9, &[]), before(&first, &first)), None, "{kind:?}");
        }
        assert_eq!(turn(LieKind::Rewind, &pull(3, 4), first.clone(), before(&first, &first)), None, "as it was is as it is");
    }

    #[test]
    fn what_is_omitted_is_the_end_of_the_log_and_stays_so() {
        let (first, truth) = (answer(4, &[1]), answer(9, &[2, 3]));
        let lie = turn(LieKind::Omit, &pull(3, 4), truth.clone(), before(&first, &first)).unwrap();
        assert_eq!(lie, SyncResponse::nothing_new(cursor(4)));
        let lie = |packet: &SyncPacket, answer: SyncResponse| turn(LieKind::Omit, packet, answer, before(&first, &first));
        assert_eq!(lie(&pull(3, 4), first.clone()), None, "there is nothing new");
        assert_eq!(lie(&pull(3, 2), truth), None, "it has not come so far");
    }

    #[test]
    fn only_victims_are_lied_to() {
        let packet = |device: u8| pull(device, 0).to_bytes(Encoding::Cbor).unwrap();
        let truth = answer(9, &[1, 2]).to_bytes(Encoding::Cbor).unwrap();
        let liar = Liar::default();
        assert_eq!(liar.consider(&packet(3), &truth), None);
        liar.tell(Some(Lie { kind: LieKind::Withhold, victims: [DeviceId([3; 32])].into() }));
        assert!(liar.consider(&packet(3), &truth).is_some());
        assert_eq!(liar.consider(&packet(4), &truth), None);
        assert_eq!(liar.told(), 1);
    }

    #[test]
    fn what_is_dropped_reaches_nobody_and_is_acknowledged() {
        let packet = founding();
        let bytes = packet.to_bytes(Encoding::Cbor).unwrap();
        let truth = answer(0, &[]).to_bytes(Encoding::Cbor).unwrap();
        let liar = Liar::default();
        assert_eq!((liar.hand_on(&bytes), liar.consider(&bytes, &truth)), (None, None));
        liar.tell(Some(Lie { kind: LieKind::Drop, victims: [packet.device_id].into() }));
        let handed_on = SyncPacket::from_bytes(&liar.hand_on(&bytes).unwrap(), PACKET_LIMITS).unwrap().0;
        assert_eq!((handed_on.segments.len(), handed_on.operations.len(), handed_on.cursor()), (0, 0, packet.cursor()));
        let said = SyncResponse::from_bytes(&liar.consider(&bytes, &truth).unwrap(), PACKET_LIMITS).unwrap().0;
        assert_eq!((said.applied_operations.len(), said.pushed.len(), said.latest_version), (1, 0, 0));
        // There is nothing to drop of a packet that brings nothing.
        assert_eq!(liar.hand_on(&handed_on.to_bytes(Encoding::Cbor).unwrap()), None);
    }
}
