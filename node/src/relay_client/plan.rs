//! What a relay lacks, cut into packets: parents first, whoever wrote it.
//!
//! A relay refuses a packet as a whole when one segment of it is wrong, and does not say which. Whose it is is found out by sending less
//! at a time ([`Picking::part`]): the logs of the packet each by itself, then the refused one segment by segment. So one log is set aside
//! in the end, and everything before its fault has been given.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use nodespace_protocol::ids::{LogId, OpHash, hex};
use nodespace_protocol::log::Head;
use nodespace_protocol::op::segment::WireOp;
use nodespace_protocol::op::{OpType, Payload, Segment};
use nodespace_protocol::replica::{LogRange, Replica};
use nodespace_protocol::store::{Store, StoreError};
use nodespace_protocol::vector::QuantisedVector;
use nodespace_protocol::view::PacketSegment;
use uuid::Uuid;

/// Operations of a packet, about: once it has so many it is closed. A relay takes 16,384.
const PACKET_OPERATIONS_AIM: usize = 4_096;
/// Bytes of a packet, about; with a segment more it stays below the 8 MiB that a relay takes.
const PACKET_BYTES_AIM: usize = 2 << 20;
/// Attachments that go inside a segment, in bytes, about: the segment is cut before more.
const SEGMENT_ATTACHMENT_BYTES_MAX: u64 = 2 << 20;
/// A segment that is larger goes without its attachments, so that the packet can be sent at all. They follow by themselves.
const SEGMENT_BYTES_MAX: usize = 4 << 20;

/// Which logs go into packets, and in what company.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picking {
    /// The relay does not take more of these.
    pub(super) aside: BTreeSet<LogId>,
    /// These go in packets of their own.
    pub(super) alone: BTreeSet<LogId>,
    /// Of these a packet holds one segment.
    pub(super) single: BTreeSet<LogId>,
    /// What these build on was not there: the others go first.
    pub(super) late: BTreeSet<LogId>,
}

impl Picking {
    /// A packet with these logs was refused as a whole: they are sent in smaller parts. Answers the one to blame when it was the smallest
    /// part already.
    pub(super) fn part(&mut self, plan: &Plan) -> Option<LogId> {
        let logs = plan.logs();
        let log = logs.first().copied().filter(|_| logs.len() == 1);
        match log {
            None => self.alone.extend(logs),
            Some(log) if plan.segments.len() > 1 => {
                self.alone.insert(log);
                self.single.insert(log);
            }
            Some(log) => {
                self.aside.insert(log);
                return Some(log);
            }
        }
        None
    }

    /// Whether a log may go into the packet that was begun with another.
    fn may_join(&self, first: Option<LogId>, log: LogId) -> bool {
        first.is_none_or(|first| {
            let together = !self.alone.contains(&first) && !self.alone.contains(&log);
            together || (first == log && !self.single.contains(&log))
        })
    }
}

/// What goes into the next packet.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The segments.
    pub(super) segments: Vec<PacketSegment>,
    /// Where each one leads, in the same order.
    pub(super) reached: Vec<(LogId, Head)>,
    /// The operations of each one.
    pub(super) operations: Vec<Vec<OpHash>>,
    /// The hash of every attachment, by operation.
    pub(super) checksums: BTreeMap<Uuid, String>,
    /// Attachments that are left behind because the relay would refuse the packet for them.
    pub(super) unsound: usize,
    /// Logs that are set aside though the relay lacks some of them.
    pub(super) kept_back: BTreeSet<LogId>,
}

impl Plan {
    /// The next packet for a relay that holds these logs up to there.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn next<S: Store>(replica: &Replica<S>, held: &BTreeMap<LogId, Vec<Head>>, picking: &Picking) -> Result<Self, StoreError> {
        let mut plan = Self::default();
        let mut queue: BinaryHeap<Reverse<(bool, u64, LogRange)>> = BinaryHeap::new();
        for (log, _) in replica.logs().iter() {
            let theirs = held.get(log).map_or(&[][..], Vec::as_slice);
            let lacking = replica.lacking(*log, theirs)?.0;
            if picking.aside.contains(log) {
                plan.kept_back.extend(lacking.first().map(|_| *log));
                continue;
            }
            for range in lacking {
                queue.push(Reverse((picking.late.contains(log), version_after(replica, &range)?, range)));
            }
        }
        let (mut operations, mut bytes) = (0, 0);
        while let Some(Reverse((is_late, _, mut range))) = queue.pop() {
            if operations >= PACKET_OPERATIONS_AIM || bytes >= PACKET_BYTES_AIM {
                break;
            }
            if !picking.may_join(plan.reached.first().map(|(log, _)| *log), range.log) {
                continue;
            }
            let Some((segment, unsound)) = cut(replica, &range)? else { continue };
            operations += segment.ops.len();
            plan.unsound += unsound;
            range.after = segment.last_seq();
            bytes += plan.add(replica, &range, &segment)?;
            if range.after < range.through {
                queue.push(Reverse((is_late, version_after(replica, &range)?, range)));
            }
        }
        Ok(plan)
    }

    /// Whose segments they are.
    pub(super) fn logs(&self) -> BTreeSet<LogId> {
        self.reached.iter().map(|(log, _)| *log).collect()
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Adds a segment that ends where `range` now begins. Answers its size.
    fn add<S: Store>(&mut self, replica: &Replica<S>, range: &LogRange, segment: &Segment) -> Result<usize, StoreError> {
        let log = replica.logs().get(&range.log);
        let at = |seq: u64| log.and_then(|log| log.on_path(range.branch, seq)).map(|index| replica.store().op(index)).transpose();
        let mut hashes = Vec::with_capacity(segment.ops.len());
        for seq in segment.first_seq..=segment.last_seq() {
            let Some(op) = at(seq)? else { continue };
            hashes.push(op.hash);
            self.checksums.extend(op.header.attachment.map(|attachment| (op.hash.uuid(), hex(&attachment.hash))));
            if seq == segment.last_seq() {
                self.reached.push((range.log, Head { seq, hash: op.hash }));
            }
        }
        let previous = if segment.first_seq > 1 { at(segment.first_seq - 1)?.map(|op| op.hash) } else { None };
        let packed = PacketSegment::new(previous, segment);
        let bytes = packed.bytes.len();
        self.operations.push(hashes);
        self.segments.push(packed);
        Ok(bytes)
    }
}

/// The next segment of a range, with as many attachments as fit; and how many are left behind since they are not sound.
fn cut<S: Store>(replica: &Replica<S>, range: &LogRange) -> Result<Option<(Segment, usize)>, StoreError> {
    let mut part = *range;
    let (mut seq, mut bytes) = (range.after, 0);
    while seq < range.through {
        let index = replica.logs().get(&range.log).and_then(|log| log.on_path(range.branch, seq + 1));
        let Some(index) = index else { break };
        bytes += replica.store().op(index)?.header.attachment.map_or(0, |attachment| u64::from(attachment.len));
        if bytes > SEGMENT_ATTACHMENT_BYTES_MAX && seq > range.after {
            break;
        }
        seq += 1;
        // A segment in bulk is not longer.
        if seq - range.after >= 512 {
            break;
        }
    }
    part.through = seq;
    let segment = replica.segment(&part, true, &|_| 0)?;
    if let Some(mut segment) = segment.filter(|segment| segment.content_bytes() <= SEGMENT_BYTES_MAX) {
        let unsound = segment.ops.iter_mut().filter_map(leave_unsound).count();
        return Ok(Some((segment, unsound)));
    }
    Ok(replica.segment(range, false, &|_| 0)?.map(|segment| (segment, 0)))
}

/// Leaves an attachment behind that is not what the payload announces.
fn leave_unsound(op: &mut WireOp) -> Option<()> {
    let (_, attachment) = op.attachment.as_mut()?;
    let bytes = attachment.as_ref()?;
    if is_sound(op.kind, op.encryption, &op.payload, bytes) {
        return None;
    }
    *attachment = None;
    Some(())
}

/// What a relay asks of an attachment: to be the embedding that the payload announces, where that can be read.
pub(super) fn is_sound(kind: OpType, encryption: u8, payload: &[u8], attachment: &[u8]) -> bool {
    if encryption != 0 {
        return true;
    }
    let Ok(payload) = Payload::decode(kind, payload) else { return true };
    let dimension = QuantisedVector::from_bytes(attachment).ok().map(|vector| vector.values().len());
    dimension.is_some() && dimension == payload.embedding.map(|note| note.dimension as usize)
}

/// The version of the next operation: what a node's parents have is less.
fn version_after<S: Store>(replica: &Replica<S>, range: &LogRange) -> Result<u64, StoreError> {
    let index = replica.logs().get(&range.log).and_then(|log| log.on_path(range.branch, range.after + 1));
    Ok(match index {
        Some(index) => replica.store().op(index)?.header.version,
        None => u64::MAX,
    })
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::conflict::Policy;
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::NodeId;
    use nodespace_protocol::membership::{Certificate, Role};
    use nodespace_protocol::replica::{Author, Founding, NewEmbedding, NewNode, PendingBuffer};
    use nodespace_protocol::store::MemoryStore;

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(1_700_000_000_000 + ms)
    }

    fn founder() -> Replica<MemoryStore> {
        let (user, key) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let founding = Founding { name: "notes".into(), policy: Policy::default(), secret: [3; 32] };
        let certificate = Certificate::issue(&user, key.device());
        let mut replica = Replica::found(MemoryStore::new(), Author { key, epoch: 1 }, certificate, founding, at(0)).unwrap();
        replica.commit().unwrap();
        replica
    }

    fn write(replica: &mut Replica<MemoryStore>, from: u64, count: u64) {
        for number in from..from + count {
            let id = NodeId::parse(&format!("node-{number}")).unwrap();
            replica.create(at(number + 1), NewNode::text(id, None, format!("number {number}"))).unwrap();
        }
        replica.commit().unwrap();
    }

    /// Hands everything to a newcomer, packet by packet, as a relay would take it. Answers how many packets there were.
    fn hand_over(from: &Replica<MemoryStore>, to: &mut Replica<MemoryStore>, held: &mut BTreeMap<LogId, Vec<Head>>) -> usize {
        let mut packets = 0;
        loop {
            let plan = Plan::next(from, held, &Picking::default()).unwrap();
            if plan.is_empty() {
                return packets;
            }
            packets += 1;
            for (packed, (log, head)) in plan.segments.iter().zip(&plan.reached) {
                let segment = Segment::decode(&packed.bytes).unwrap();
                assert_eq!((segment.log, segment.last_seq()), (*log, head.seq));
                let received = PendingBuffer::default().receive(to, log.device, segment, at(9_000_000)).unwrap();
                assert!(received.refused.is_empty() && received.missing.is_none(), "parents come first: {received:?}");
                held.insert(*log, vec![*head]);
            }
            to.commit().unwrap();
        }
    }

    #[test]
    fn all_that_is_lacking_goes_in_an_order_that_can_be_taken_and_nothing_twice() {
        let mut founder = founder();
        write(&mut founder, 0, 1_500);
        let key = KeyPair::from_seed(&[7; 32]);
        let ticket = founder.invite(at(2_000), &key, Role::Editor, at(1_000_000), 1).unwrap();
        founder.commit().unwrap();
        let author = Author { key: KeyPair::from_seed(&[5; 32]), epoch: 9 };
        let certificate = Certificate::issue(&KeyPair::from_seed(&[4; 32]), author.key.device());
        let mut other = Replica::open(founder.workspace(), MemoryStore::new(), Some(author), at(0)).unwrap();
        hand_over(&founder, &mut other, &mut BTreeMap::new());
        other.join(at(3_000), &ticket, certificate).unwrap();
        write(&mut other, 5_000, 9_000);
        let mut third = Replica::open(founder.workspace(), MemoryStore::new(), None, at(0)).unwrap();
        let mut held = BTreeMap::new();
        assert!(hand_over(&other, &mut third, &mut held) > 1, "a packet is not endless");
        assert_eq!(third.frontier_digest(), other.frontier_digest());
        // Later only what is new goes.
        write(&mut other, 20_000, 3);
        let plan = Plan::next(&other, &held, &Picking::default()).unwrap();
        assert_eq!((plan.operations.iter().map(Vec::len).collect::<Vec<_>>(), plan.kept_back.len()), (vec![3], 0));
        assert_eq!(plan.operations[0].last(), Some(&plan.reached[0].1.hash));
        let picking = Picking { aside: plan.logs(), ..Picking::default() };
        let without = Plan::next(&other, &held, &picking).unwrap();
        assert!(without.is_empty(), "what is set aside is left out");
        assert_eq!(without.kept_back, picking.aside, "and not forgotten");
    }

    /// A founder with an editor beside, each with a log of its own in one replica.
    fn two_logs() -> (Replica<MemoryStore>, [LogId; 2]) {
        let mut founder = founder();
        write(&mut founder, 0, 20);
        let key = KeyPair::from_seed(&[7; 32]);
        let ticket = founder.invite(at(2_000), &key, Role::Editor, at(1_000_000), 1).unwrap();
        founder.commit().unwrap();
        let author = Author { key: KeyPair::from_seed(&[5; 32]), epoch: 9 };
        let certificate = Certificate::issue(&KeyPair::from_seed(&[4; 32]), author.key.device());
        let (first, second) = (founder.own_log().unwrap(), author.log());
        let mut other = Replica::open(founder.workspace(), MemoryStore::new(), Some(author), at(0)).unwrap();
        hand_over(&founder, &mut other, &mut BTreeMap::new());
        other.join(at(3_000), &ticket, certificate).unwrap();
        write(&mut other, 5_000, 20);
        (other, [first, second])
    }

    /// Offers everything to a relay that refuses every packet with a guilty operation. Answers how many packets that took.
    fn offer(replica: &Replica<MemoryStore>, picking: &mut Picking, guilty: Head) -> (BTreeMap<LogId, Vec<Head>>, usize) {
        let mut held: BTreeMap<LogId, Vec<Head>> = BTreeMap::new();
        for packets in 0..100 {
            let plan = Plan::next(replica, &held, picking).unwrap();
            if plan.is_empty() {
                return (held, packets);
            }
            let mut segments = plan.segments.iter().map(|packed| Segment::decode(&packed.bytes).unwrap());
            let is_guilty = |segment: Segment| {
                let ops = segment.verify(&replica.workspace(), before(replica, &segment), &|_: &_| None).unwrap();
                ops.iter().any(|op| op.hash == guilty.hash)
            };
            if segments.any(is_guilty) {
                picking.part(&plan);
            } else {
                held.extend(plan.reached.iter().map(|(log, head)| (*log, vec![*head])));
            }
        }
        panic!("it does not end");
    }

    /// The hash of the operation before a segment.
    fn before(replica: &Replica<MemoryStore>, segment: &Segment) -> Option<OpHash> {
        let log = replica.logs().get(&segment.log).unwrap();
        let index = log.on_path(0, segment.first_seq - 1);
        index.map(|index| replica.store().op(index).unwrap().hash)
    }

    fn last_of(replica: &Replica<MemoryStore>, log: LogId) -> Head {
        let entry = replica.logs().get(&log).unwrap();
        let seq = entry.last_seq();
        Head { seq, hash: replica.store().op(entry.on_path(0, seq).unwrap()).unwrap().hash }
    }

    #[test]
    fn only_the_log_that_is_to_blame_is_set_aside_and_only_from_its_fault_on() {
        let (replica, [first, second]) = two_logs();
        let guilty = last_of(&replica, second);
        let mut picking = Picking::default();
        let (held, packets) = offer(&replica, &mut picking, guilty);
        assert_eq!(picking.aside, [second].into());
        assert_eq!(held[&first], [last_of(&replica, first)], "the other log is there, all of it");
        assert!(held.get(&second).is_none_or(|heads| heads[0] < guilty));
        assert!(packets < 10, "{packets} packets");
        let plan = Plan::next(&replica, &held, &picking).unwrap();
        assert_eq!((plan.is_empty(), plan.kept_back), (true, [second].into()));
    }

    #[test]
    fn a_log_that_waits_does_not_hold_up_the_others() {
        let (replica, [first, second]) = two_logs();
        let picking = Picking { alone: [first, second].into(), late: [first].into(), ..Picking::default() };
        let plan = Plan::next(&replica, &BTreeMap::new(), &picking).unwrap();
        assert_eq!(plan.logs(), [second].into());
    }

    #[test]
    fn an_attachment_that_a_relay_would_refuse_the_packet_for_stays_behind() {
        let mut founder = founder();
        write(&mut founder, 0, 1);
        let id = NodeId::parse("node-0").unwrap();
        let embedding = NewEmbedding { model: "test-model".into(), vector: vec![0.5, -1.0, 0.25] };
        let hash = founder.attach_embedding(at(5_000), &id, &embedding).unwrap();
        founder.commit().unwrap();
        let op = founder.op(&hash).unwrap().unwrap();
        let (payload, bytes) = (op.payload.to_vec(), op.attachment.clone().unwrap());
        let sound = |attachment: &[u8]| is_sound(OpType::Update, 0, &payload, attachment);
        assert!(sound(&bytes) && !sound(&bytes[..bytes.len() - 1]) && !sound(b"no embedding"));
        assert!(is_sound(OpType::Update, 1, &payload, b"no embedding"), "what cannot be read is passed on");
        let mut wire = WireOp::of(&op, true, |_| None);
        assert_eq!(leave_unsound(&mut wire), None);
        wire.attachment.as_mut().unwrap().1 = Some(b"no embedding".as_slice().into());
        assert_eq!((leave_unsound(&mut wire), wire.attachment.unwrap().1), (Some(()), None));
        let plan = Plan::next(&founder, &BTreeMap::new(), &Picking::default()).unwrap();
        assert_eq!((plan.unsound, plan.checksums.len()), (0, 1));
    }
}
