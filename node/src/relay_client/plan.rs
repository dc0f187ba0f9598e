//! What a relay lacks, cut into packets: parents first, whoever wrote it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use nodespace_protocol::ids::{LogId, hex};
use nodespace_protocol::log::Head;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{LogRange, Replica};
use nodespace_protocol::store::{Store, StoreError};
use nodespace_protocol::view::PacketSegment;
use uuid::Uuid;

/// Operations of a packet, about: once it has so many it is closed. A relay takes 16,384.
const PACKET_OPERATIONS_AIM: usize = 4_096;
/// Bytes of a packet, about; with a segment more it stays below the 8 MiB that a relay takes.
const PACKET_BYTES_AIM: usize = 2 << 20;
/// Attachments that go inside a segment, in bytes, about: the segment is cut before more.
const SEGMENT_ATTACHMENT_BYTES_MAX: u64 = 2 << 20;
/// A segment that is larger goes without its attachments, so that the packet can be sent at all.
const SEGMENT_BYTES_MAX: usize = 4 << 20;

/// What goes into the next packet.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The segments.
    pub(super) segments: Vec<PacketSegment>,
    /// Where each one leads, in the same order.
    pub(super) reached: Vec<(LogId, Head)>,
    /// Operations of each one.
    pub(super) operations: Vec<usize>,
    /// The hash of every attachment, by operation.
    pub(super) checksums: BTreeMap<Uuid, String>,
    /// Whether there is more to send.
    pub(super) more: bool,
}

impl Plan {
    /// The next packet for a relay that holds these logs up to there. Logs in `aside` are left out.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn next<S: Store>(
        replica: &Replica<S>,
        held: &BTreeMap<LogId, Vec<Head>>,
        aside: &BTreeSet<LogId>,
    ) -> Result<Self, StoreError> {
        let mut queue: BinaryHeap<Reverse<(u64, LogRange)>> = BinaryHeap::new();
        for (log, _) in replica.logs().iter().filter(|(log, _)| !aside.contains(log)) {
            let theirs = held.get(log).map_or(&[][..], Vec::as_slice);
            for range in replica.lacking(*log, theirs)?.0 {
                queue.push(Reverse((version_after(replica, &range)?, range)));
            }
        }
        let mut plan = Self::default();
        let (mut operations, mut bytes) = (0, 0);
        while let Some(Reverse((_, mut range))) = queue.pop() {
            if operations >= PACKET_OPERATIONS_AIM || bytes >= PACKET_BYTES_AIM {
                plan.more = true;
                break;
            }
            let Some(segment) = cut(replica, &range)? else { continue };
            operations += segment.ops.len();
            range.after = segment.last_seq();
            bytes += plan.add(replica, &range, &segment)?;
            if range.after < range.through {
                queue.push(Reverse((version_after(replica, &range)?, range)));
            }
        }
        Ok(plan)
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Adds a segment that ends where `range` now begins. Answers its size.
    fn add<S: Store>(&mut self, replica: &Replica<S>, range: &LogRange, segment: &Segment) -> Result<usize, StoreError> {
        let log = replica.logs().get(&range.log);
        let at = |seq: u64| log.and_then(|log| log.on_path(range.branch, seq)).map(|index| replica.store().op(index)).transpose();
        for seq in segment.first_seq..=segment.last_seq() {
            let Some(op) = at(seq)? else { continue };
            self.checksums.extend(op.header.attachment.map(|attachment| (op.hash.uuid(), hex(&attachment.hash))));
            if seq == segment.last_seq() {
                self.reached.push((range.log, Head { seq, hash: op.hash }));
            }
        }
        let previous = if segment.first_seq > 1 { at(segment.first_seq - 1)?.map(|op| op.hash) } else { None };
        let packed = PacketSegment::new(previous, segment);
        let bytes = packed.bytes.len();
        self.operations.push(segment.ops.len());
        self.segments.push(packed);
        Ok(bytes)
    }
}

/// The next segment of a range, with as many attachments as fit.
fn cut<S: Store>(replica: &Replica<S>, range: &LogRange) -> Result<Option<Segment>, StoreError> {
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
    if segment.as_ref().is_some_and(|segment| segment.content_bytes() <= SEGMENT_BYTES_MAX) {
        return Ok(segment);
    }
    replica.segment(range, false, &|_| 0)
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
    use nodespace_protocol::replica::{Author, Founding, NewNode, PendingBuffer};
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
            let plan = Plan::next(from, held, &BTreeSet::new()).unwrap();
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
        let plan = Plan::next(&other, &held, &BTreeSet::new()).unwrap();
        assert_eq!(plan.operations, [3]);
        let aside: BTreeSet<LogId> = plan.reached.iter().map(|(log, _)| *log).collect();
        assert!(Plan::next(&other, &held, &aside).unwrap().is_empty(), "what is set aside is left out");
    }
}
