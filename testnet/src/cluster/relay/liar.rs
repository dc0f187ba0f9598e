//! A relay that lies: what it answers to packets is changed on its way.
//!
//! Nobody but its author can sign an operation, and nobody but the relay a checkpoint; so these are the lies that remain, and each must be
//! caught by the device that is told it.

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
}

impl LieKind {
    /// The word for it, as scenarios have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Withhold => "withhold",
            Self::Reorder => "reorder",
            Self::Alter => "alter",
            Self::Rewind => "rewind",
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

/// Tells lies, or passes the truth on.
#[derive(Debug, Default)]
pub(super) struct Liar {
    lie: Mutex<Option<Lie>>,
    /// By device: the first answer that said how far the log reached.
    first: Mutex<BTreeMap<DeviceId, SyncResponse>>,
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

    /// What is said instead of an answer; nothing when it is passed on as it is.
    pub(super) fn consider(&self, packet: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
        let device = SyncPacket::from_bytes(packet, PACKET_LIMITS).ok()?.0.device_id;
        let answer = SyncResponse::from_bytes(answer, PACKET_LIMITS).ok()?.0;
        let before = self.remember(device, &answer);
        let kind = lock(&self.lie).as_ref().filter(|lie| lie.victims.contains(&device))?.kind;
        let said = turn(kind, answer, before)?.to_bytes(Encoding::Cbor).ok()?;
        self.told.fetch_add(1, Ordering::Relaxed);
        Some(said)
    }

    /// The first answer to this device, which is kept.
    fn remember(&self, device: DeviceId, answer: &SyncResponse) -> SyncResponse {
        let mut first = lock(&self.first);
        let kept = first.entry(device).or_insert_with(|| answer.clone());
        if kept.latest_version == 0 || kept.epoch != answer.epoch {
            kept.clone_from(answer);
        }
        kept.clone()
    }
}

/// The answer turned into a lie; nothing where there is nothing to lie about.
fn turn(kind: LieKind, mut answer: SyncResponse, first: SyncResponse) -> Option<SyncResponse> {
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
            if first.latest_version >= answer.latest_version {
                return None;
            }
            // As then: what was new then, and nothing of what was sent since.
            answer = SyncResponse { applied_operations: answer.applied_operations, pushed: Vec::new(), ..first };
        }
    }
    Some(answer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::view::{Cursor, PacketSegment};

    use super::*;

    fn answer(version: u64, segments: &[u8]) -> SyncResponse {
        let segments = segments.iter().map(|byte| PacketSegment { previous: None, bytes: vec![*byte; 8] }).collect();
        SyncResponse { segments, ..SyncResponse::nothing_new(Cursor { epoch: 1, version }) }
    }

    #[test]
    fn a_lie_is_another_answer_and_there_is_none_about_nothing() {
        let truth = answer(9, &[1, 2, 3]);
        let first = answer(4, &[1]);
        for kind in [LieKind::Withhold, LieKind::Reorder, LieKind::Alter, LieKind::Rewind] {
            let lie = turn(kind, truth.clone(), first.clone()).unwrap();
            assert_ne!(lie, truth, "{kind:?}");
        }
        for kind in [LieKind::Withhold, LieKind::Reorder, LieKind::Alter] {
            assert_eq!(turn(kind, answer(9, &[]), first.clone()), None, "{kind:?}");
        }
        assert_eq!(turn(LieKind::Rewind, first.clone(), first), None, "as it was is as it is");
    }

    #[test]
    fn only_victims_are_lied_to() {
        use nodespace_protocol::clock::Timestamp;
        use nodespace_protocol::ids::{UserId, WorkspaceId};
        use nodespace_protocol::view::Sender;

        let packet = |device: u8| {
            let sender = Sender { workspace: WorkspaceId([1; 32]), user: UserId([2; 32]), device: DeviceId([device; 32]) };
            SyncPacket::pull(sender, Cursor::default(), Timestamp::from_ms(1)).to_bytes(Encoding::Cbor).unwrap()
        };
        let truth = answer(9, &[1, 2]).to_bytes(Encoding::Cbor).unwrap();
        let liar = Liar::default();
        assert_eq!(liar.consider(&packet(3), &truth), None);
        liar.tell(Some(Lie { kind: LieKind::Withhold, victims: [DeviceId([3; 32])].into() }));
        assert!(liar.consider(&packet(3), &truth).is_some());
        assert_eq!(liar.consider(&packet(4), &truth), None);
        assert_eq!(liar.told(), 1);
    }
}
