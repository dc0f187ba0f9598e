//! What is remembered of a relay, for one workspace: in the workspace's local settings, outside every backup.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::ids::{LogId, RelayId, hex};
use nodespace_protocol::log::Head;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Store, StoreError};
use nodespace_protocol::view::{Checkpoint, Cursor, RunningHash};
use serde::{Deserialize, Serialize};

use super::error::{RelayError, RelayRefusal};
use super::follower::{Alarm, Followed};
use super::url::RelayUrl;
use crate::engine::DeviceReplica;

/// A program before this one remembered no more ends of one log than this, and let others go: of a log with so many, more may be held.
const HEADS_ONCE_MAX: usize = 64;

/// For how long a log that the relay refused is not offered again, in milliseconds.
const REFUSED_MS: u64 = 3_600_000;

/// The most refused logs that are remembered; others are offered, and refused, again.
const REFUSED_MAX: usize = 64;

/// The most characters of a relay's reason that are kept.
const REASON_CHARACTERS_MAX: usize = 300;

/// How often the relay is asked about all attachments, in milliseconds: its storage may have lost some.
const ATTACHMENTS_MS: u64 = 24 * 3_600_000;

/// How long is waited before the relay is asked once more for what it had not got, in milliseconds: doubled each time, up to an hour.
pub(super) const LACKING_WAIT_MS: u64 = 30_000;
const LACKING_WAIT_MS_MAX: u64 = 3_600_000;

/// So often the relay is asked for one embedding: some ten hours long, and again when all operations are looked through anew.
const LACKING_ASKED_MAX: u8 = 16;

/// For how long a relay may answer from an epoch before the one that it had begun, in milliseconds, before that is an alarm. Of several
/// instances each looks every two seconds which epoch it is.
const EARLIER_EPOCH_MS: u64 = 60_000;

/// How deep what is kept may nest; it nests less.
const DEPTH_MAX: usize = 16;

/// What is remembered of a relay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelayMemory {
    /// Who it is, from the first contact on.
    pub(crate) relay: Option<RelayId>,
    /// Up to where its log has come.
    pub(crate) cursor: Cursor,
    #[serde(with = "serde_bytes")]
    running: Vec<u8>,
    /// The last word it gave.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// How far it holds each log: what was met in its log, up to the cursor.
    held: Vec<(LogId, Vec<Head>)>,
    /// Of the operations of this store, in order of arrival, so many are all held by it.
    pub(crate) stored_through: u32,
    /// Why it is not trusted any more.
    pub(crate) alarm: Option<Alarm>,
    /// When all that is here was last confirmed, in Unix milliseconds.
    pub(crate) confirmed_ms: Option<u64>,
    /// Logs that it does not take more of.
    #[serde(default)]
    refused: Vec<RefusedLog>,
    /// Of the operations of this store, in order of arrival, it was asked about the attachments of so many, and given what it lacked.
    #[serde(default)]
    pub(super) attachments_through: u32,
    /// When that was begun, in Unix milliseconds; 0 = never.
    #[serde(default)]
    attachments_since_ms: u64,
    /// Of the operations of this store, in order of arrival, so many were looked through for embeddings whose bytes are not here.
    #[serde(default)]
    pub(super) lacking_through: u32,
    /// Those that were found, by their place in that order, and how often it was asked for each in vain.
    #[serde(default)]
    pub(super) lacking: BTreeMap<u32, u8>,
    /// Since when it has been answering from an epoch before the one that it had begun, in Unix milliseconds.
    #[serde(default)]
    earlier_epoch_ms: Option<u64>,
}

/// A log that a relay does not take more of, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefusedLog {
    log: LogId,
    code: String,
    message: String,
    /// When it said so, in Unix milliseconds.
    at_ms: u64,
}

impl RelayMemory {
    /// What is remembered of a relay; nothing of one that was never spoken to.
    ///
    /// # Errors
    /// When the store fails, or what was kept cannot be read: then nobody could say whether the relay is to be trusted.
    pub(crate) fn load(replica: &DeviceReplica, url: &RelayUrl) -> Result<Self, StoreError> {
        let key = key(url);
        let Some(bytes) = replica.store().value(&key)? else { return Ok(Self::default()) };
        read(&bytes).map_err(|error| StoreError::Corrupt {
            place: format!("what is remembered of the relay {url}"),
            what: format!("{error}; remove the relay and add it again"),
        })
    }

    /// Keeps it, durably.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn save(&self, replica: &DeviceReplica, url: &RelayUrl) -> Result<(), StoreError> {
        replica.store().put_value(&key(url), &write(self))
    }

    /// Forgets a relay, evidence included.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn remove(replica: &DeviceReplica, url: &RelayUrl) -> Result<(), StoreError> {
        replica.store().put_values(&[(key(url).as_str(), None)])
    }

    /// Where its log has been followed to.
    pub(super) fn followed(&self) -> Followed {
        let running = RunningHash(self.running.as_slice().try_into().unwrap_or_default());
        Followed { cursor: self.cursor, running, witness: self.checkpoint.clone() }
    }

    /// Its log has been followed further. In another epoch it may have lost what it held.
    pub(super) fn follow(&mut self, followed: Followed) {
        if followed.cursor.epoch != self.cursor.epoch {
            self.forget_held();
        }
        self.cursor = followed.cursor;
        self.running = followed.running.0.to_vec();
        self.checkpoint = followed.witness;
        self.earlier_epoch_ms = None;
    }

    /// It answers from an epoch before the one that it had begun. Answers whether it has done so for longer than an honest one can.
    pub(super) fn note_earlier_epoch(&mut self, now_ms: u64) -> bool {
        // Counted anew when the clock was set back.
        let since = self.earlier_epoch_ms.filter(|since| *since <= now_ms).unwrap_or(now_ms);
        self.earlier_epoch_ms = Some(since);
        now_ms - since >= EARLIER_EPOCH_MS
    }

    /// Begins anew: its log is read from the beginning, and offered everything. What it signed is not forgotten.
    pub(crate) fn rebuild(&mut self) {
        let mut followed = self.followed();
        followed.begin(self.cursor.epoch);
        self.follow(followed);
        self.forget_held();
    }

    /// Whether anything is remembered that a relay without the workspace cannot have.
    pub(super) fn is_of_a_log(&self) -> bool {
        self.cursor.version > 0 || !self.held.is_empty()
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.stored_through = 0;
        self.forget_refused();
        (self.attachments_through, self.attachments_since_ms) = (0, 0);
        self.lacking_through = 0;
        self.lacking.clear();
    }

    /// It refused to take more of a log: what was put together for it, and nothing else, is to blame.
    pub(super) fn note_refused(&mut self, log: LogId, refusal: &RelayRefusal, now_ms: u64) {
        self.refused.retain(|refused| refused.log != log);
        let surplus = (self.refused.len() + 1).saturating_sub(REFUSED_MAX);
        self.refused.drain(..surplus);
        let message = refusal.message.chars().take(REASON_CHARACTERS_MAX).collect();
        self.refused.push(RefusedLog { log, code: refusal.code.clone(), message, at_ms: now_ms });
    }

    /// Logs that it refused: those it is not offered now, and those it is offered once more, by themselves.
    pub(super) fn refused_logs(&self, now_ms: u64) -> (BTreeSet<LogId>, BTreeSet<LogId>) {
        let is_recent = |refused: &&RefusedLog| refused.at_ms.abs_diff(now_ms) < REFUSED_MS;
        let (recent, old): (Vec<_>, Vec<_>) = self.refused.iter().partition(is_recent);
        let logs = |refused: Vec<&RefusedLog>| refused.into_iter().map(|refused| refused.log).collect();
        (logs(recent), logs(old))
    }

    /// Why it does not take one of these logs, if it said so.
    pub(super) fn refusal_of(&self, logs: &BTreeSet<LogId>) -> Option<RelayError> {
        let refused = self.refused.iter().find(|refused| logs.contains(&refused.log))?;
        Some(RelayError::LeftOut { code: refused.code.clone(), message: refused.message.clone() })
    }

    /// Everything that it refused is offered again.
    pub(super) fn forget_refused(&mut self) {
        self.refused.clear();
    }

    /// Goes on asking about attachments; from the beginning when `ops` operations have been asked about and that was long ago. What is lacking
    /// here is looked for from the beginning then, too: what was asked for too often may have been brought since.
    pub(super) fn begin_attachments(&mut self, ops: u32, now_ms: u64) {
        let is_due = self.attachments_through >= ops && self.attachments_since_ms.abs_diff(now_ms) >= ATTACHMENTS_MS;
        if is_due || self.attachments_since_ms == 0 {
            (self.attachments_through, self.attachments_since_ms) = (0, now_ms);
            self.lacking_through = 0;
        }
    }

    /// It was asked for all that is lacking here and gave these. One that it was asked for too often is let go. Answers after how long to ask
    /// again, in milliseconds.
    pub(super) fn note_asked(&mut self, given: &BTreeSet<u32>) -> u64 {
        self.lacking.retain(|place, asked| {
            *asked = asked.saturating_add(1);
            !given.contains(place) && *asked < LACKING_ASKED_MAX
        });
        let least = self.lacking.values().min().copied().unwrap_or(1);
        (LACKING_WAIT_MS << u32::from(least - 1).min(7)).min(LACKING_WAIT_MS_MAX)
    }

    /// The ends of each log that it holds.
    pub(super) fn held(&self) -> BTreeMap<LogId, Vec<Head>> {
        self.held.iter().cloned().collect()
    }

    /// Logs of which it may hold more, below the cursor, than is remembered: they were forked so often that not all ends may be.
    pub(super) fn half_remembered(&self) -> BTreeSet<LogId> {
        self.held.iter().filter(|(_, heads)| heads.len() >= HEADS_ONCE_MAX).map(|(log, _)| *log).collect()
    }

    /// It holds these logs up to there.
    ///
    /// # Errors
    /// When the store fails; what is remembered has not changed then.
    pub(super) fn note_held<S: Store>(&mut self, replica: &Replica<S>, reached: &[(LogId, Head)]) -> Result<(), StoreError> {
        let mut fresh: BTreeMap<LogId, Vec<Head>> = BTreeMap::new();
        for (log, head) in reached {
            fresh.entry(*log).or_default().push(*head);
        }
        let mut held = self.held();
        for (log, heads) in fresh {
            let known = held.entry(log).or_default();
            known.extend(heads);
            *known = ends(replica, log, known)?;
        }
        self.held = held.into_iter().collect();
        Ok(())
    }

    /// Whether it is remembered to hold what was here and is not any more: the end of the journal was cut off after a crash, and what is
    /// remembered, in a file of its own, is from after that. What stands there below the cursor would not be shown again.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn is_ahead_of<S: Store>(&self, replica: &Replica<S>) -> Result<bool, StoreError> {
        if self.stored_through > replica.durable_ops() {
            return Ok(true);
        }
        for (log, heads) in &self.held {
            if !replica.lacking(*log, heads)?.1.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Of positions in a log those that say it all: one on the way to each of its leaves, and what is not here yet. Whatever lies before one of
/// them is left out.
fn ends<S: Store>(replica: &Replica<S>, log: LogId, heads: &[Head]) -> Result<Vec<Head>, StoreError> {
    let Some(entry) = replica.logs().get(&log) else { return Ok(heads.to_vec()) };
    let (mut furthest, mut elsewhere) = (BTreeMap::new(), BTreeSet::new());
    for head in heads {
        match entry.find(head.seq, &head.hash, |index| replica.store().op(index).map(|op| op.hash))? {
            Some(branch) => {
                let known = furthest.entry(branch).or_insert(*head);
                *known = (*known).max(*head);
            }
            None => {
                elsewhere.insert(*head);
            }
        }
    }
    let before: BTreeSet<usize> =
        furthest.keys().flat_map(|branch| entry.path(*branch).into_iter().filter(move |at| at != branch)).collect();
    furthest.retain(|branch, _| !before.contains(branch));
    Ok(furthest.into_values().chain(elsewhere).collect())
}

/// What is remembered, as it is kept.
fn write(memory: &RelayMemory) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    ciborium::into_writer(memory, &mut bytes).unwrap_or_default();
    bytes
}

fn read(bytes: &[u8]) -> Result<RelayMemory, ciborium::de::Error<std::io::Error>> {
    ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX)
}

fn key(url: &RelayUrl) -> String {
    let name = blake3::hash(url.as_str().as_bytes());
    format!("relay/of/{}", hex(&name.as_bytes()[..16]))
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::conflict::Policy;
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::{DeviceId, NodeId, OpHash, WorkspaceId};
    use nodespace_protocol::membership::Certificate;
    use nodespace_protocol::op::Segment;
    use nodespace_protocol::replica::{Author, Founding, NewNode, PendingBuffer};
    use nodespace_protocol::store::MemoryStore;

    use super::super::follower::AlarmKind;
    use super::super::plan::{Picking, Plan};
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(1_700_000_000_000 + ms)
    }

    fn author() -> Author {
        Author { key: KeyPair::from_seed(&[2; 32]), epoch: 1 }
    }

    fn founder() -> Replica<MemoryStore> {
        let founding = Founding { name: "notes".into(), policy: Policy::default(), secret: [3; 32] };
        let certificate = Certificate::issue(&KeyPair::from_seed(&[1; 32]), author().key.device());
        let mut replica = Replica::found(MemoryStore::new(), author(), certificate, founding, at(0)).unwrap();
        replica.commit().unwrap();
        replica
    }

    /// The same device, over a copy of its store, when it has written something.
    fn copy(of: &Replica<MemoryStore>, id: &str) -> Replica<MemoryStore> {
        let mut copy = Replica::open(of.workspace(), of.store().clone(), Some(author()), at(1)).unwrap();
        copy.create(at(2), NewNode::text(NodeId::parse(id).unwrap(), None, id.to_owned())).unwrap();
        copy.commit().unwrap();
        copy
    }

    /// Gives somebody who holds so much the rest, which is one packet.
    fn hand_over(from: &Replica<MemoryStore>, to: &mut Replica<MemoryStore>, held: &BTreeMap<LogId, Vec<Head>>) {
        for packed in Plan::next(from, held, &Picking::default()).unwrap().segments {
            let segment = Segment::decode(&packed.bytes).unwrap();
            let received = PendingBuffer::default().receive(to, segment.log.device, segment, at(3)).unwrap();
            assert!(received.refused.is_empty() && received.missing.is_none(), "{received:?}");
        }
        to.commit().unwrap();
    }

    /// What a relay that takes everything is remembered to hold in the end, and how many packets that took.
    fn given(replica: &Replica<MemoryStore>) -> (RelayMemory, usize) {
        let mut memory = RelayMemory::default();
        for packets in 0..100 {
            let plan = Plan::next(replica, &memory.held(), &Picking::default()).unwrap();
            if plan.is_empty() {
                return (memory, packets);
            }
            memory.note_held(replica, &plan.reached).unwrap();
        }
        panic!("it does not end");
    }

    fn known() -> RelayMemory {
        let relay = KeyPair::from_seed(&[1; 32]);
        let cursor = Cursor { epoch: u64::MAX, version: 3 };
        let running = RunningHash([7; 32]);
        let checkpoint = Checkpoint::sign(&relay, WorkspaceId([4; 32]), cursor, running);
        let alarm = Alarm { kind: AlarmKind::Forked, before: Some(checkpoint.clone()), now: None, followed: 3 };
        let log = LogId { device: DeviceId([5; 32]), epoch: 9 };
        RelayMemory {
            relay: Some(relay.relay()),
            cursor,
            running: running.0.to_vec(),
            checkpoint: Some(checkpoint),
            held: vec![(log, vec![Head { seq: 8, hash: OpHash([6; 32]) }])],
            stored_through: 12,
            alarm: Some(alarm),
            confirmed_ms: Some(1),
            refused: vec![RefusedLog { log, code: "malicious_content".into(), message: "no embedding".into(), at_ms: 5_000_000 }],
            attachments_through: 11,
            attachments_since_ms: 4,
            lacking_through: 10,
            lacking: [(3, 1), (9, 2)].into(),
            earlier_epoch_ms: Some(8),
        }
    }

    #[test]
    fn what_is_kept_is_read_again_and_half_of_it_is_not() {
        let bytes = write(&known());
        assert_eq!(read(&bytes).unwrap(), known());
        assert_eq!(read(&write(&RelayMemory::default())).unwrap(), RelayMemory::default());
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn another_epoch_or_a_rebuild_forgets_what_the_relay_holds_and_not_what_it_signed() {
        let mut memory = known();
        let mut followed = memory.followed();
        followed.cursor.version = 4;
        memory.follow(followed);
        assert_eq!((memory.held().len(), memory.stored_through), (1, 12));
        let mut restored = memory.clone();
        let mut followed = restored.followed();
        followed.begin(1);
        restored.follow(followed);
        memory.rebuild();
        for memory in [memory, restored] {
            assert_eq!((memory.held().len(), memory.stored_through, memory.cursor.version), (0, 0, 0));
            assert_eq!((memory.attachments_through, memory.refused.len()), (0, 0), "all of it is offered again");
            assert_eq!((memory.lacking_through, memory.lacking.len()), (0, 0), "and looked for again");
            assert!(!memory.is_of_a_log() && known().is_of_a_log());
            assert_eq!(memory.checkpoint, known().checkpoint);
        }
    }

    #[test]
    fn what_a_program_before_this_one_kept_is_read() {
        let kept: ciborium::Value = ciborium::de::from_reader(write(&known()).as_slice()).unwrap();
        let ciborium::Value::Map(mut fields) = kept else { panic!("{kept:?}") };
        let new = ["refused", "attachments_through", "attachments_since_ms", "lacking_through", "lacking", "earlier_epoch_ms"];
        let new = new.map(ciborium::Value::from);
        fields.retain(|(name, _)| !new.contains(name));
        let mut bytes = Vec::new();
        ciborium::into_writer(&ciborium::Value::Map(fields), &mut bytes).unwrap();
        let mut expected = RelayMemory { refused: Vec::new(), attachments_through: 0, attachments_since_ms: 0, ..known() };
        (expected.lacking_through, expected.lacking, expected.earlier_epoch_ms) = (0, BTreeMap::new(), None);
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn a_refused_log_rests_for_an_hour_and_is_then_offered_by_itself() {
        let (mut memory, log) = (known(), known().held[0].0);
        let (aside, alone) = memory.refused_logs(5_000_000 + REFUSED_MS - 1);
        assert_eq!((aside, alone), ([log].into(), BTreeSet::new()));
        let (aside, alone) = memory.refused_logs(5_000_000 + REFUSED_MS);
        assert_eq!((aside, alone), (BTreeSet::new(), [log].into()));
        let said = memory.refusal_of(&[log].into()).unwrap().to_string();
        assert!(said.contains("malicious_content") && said.contains("no embedding"), "{said}");
        assert!(memory.refusal_of(&BTreeSet::new()).is_none());
        let refusal = RelayRefusal { status: 422, code: "bad_signature".into(), message: "x".repeat(9_000), retry_after_ms: None };
        for epoch in 0..REFUSED_MAX as u32 + 5 {
            memory.note_refused(LogId { epoch, ..log }, &refusal, 6_000_000);
        }
        memory.note_refused(LogId { epoch: 68, ..log }, &refusal, 7_000_000);
        assert_eq!((memory.refused.len(), memory.refused[0].message.len()), (REFUSED_MAX, REASON_CHARACTERS_MAX));
        memory.forget_refused();
        assert_eq!(memory.refused_logs(7_000_000), (BTreeSet::new(), BTreeSet::new()));
    }

    #[test]
    fn an_earlier_epoch_is_borne_for_a_minute_that_begins_anew_when_the_relay_is_followed() {
        let mut memory = RelayMemory { earlier_epoch_ms: None, ..known() };
        assert!(!memory.note_earlier_epoch(7_000_000), "an instance may not have heard of the new one");
        assert!(!memory.note_earlier_epoch(7_000_000 + EARLIER_EPOCH_MS - 1));
        assert!(memory.note_earlier_epoch(7_000_000 + EARLIER_EPOCH_MS));
        memory.follow(memory.followed());
        assert!(!memory.note_earlier_epoch(7_000_000 + 2 * EARLIER_EPOCH_MS), "another one answered meanwhile");
        assert!(!memory.note_earlier_epoch(1_000), "the clock was set back");
        assert!(memory.note_earlier_epoch(1_000 + EARLIER_EPOCH_MS));
    }

    #[test]
    fn of_a_log_with_very_many_ends_more_may_be_held_than_is_remembered() {
        let (mut memory, log) = (known(), known().held[0].0);
        assert!(memory.half_remembered().is_empty());
        memory.held[0].1 = (0..HEADS_ONCE_MAX as u64).map(|seq| Head { seq, hash: OpHash([6; 32]) }).collect();
        assert_eq!(memory.half_remembered(), [log].into());
    }

    #[test]
    fn of_a_log_that_was_forked_very_often_one_end_of_each_branch_is_remembered() {
        const BRANCHES: usize = HEADS_ONCE_MAX + 6;
        let founder = founder();
        let mut reader = Replica::open(founder.workspace(), MemoryStore::new(), None, at(0)).unwrap();
        hand_over(&founder, &mut reader, &BTreeMap::new());
        let before = given(&founder).0.held();
        for number in 0..BRANCHES {
            hand_over(&copy(&founder, &format!("node-{number}")), &mut reader, &before);
        }
        let log = founder.own_log().unwrap();
        let entry = reader.logs().get(&log).unwrap();
        assert_eq!(entry.leaves().count(), BRANCHES);
        let (mut memory, packets) = given(&reader);
        assert!(packets < 10, "{packets} packets");
        assert_eq!(memory.held()[&log].len(), BRANCHES, "and nothing that lies before one");
        // What is met once more, before the fork, says nothing new.
        let before = memory.clone();
        let first = Head { seq: 1, hash: reader.store().op(entry.on_path(0, 1).unwrap()).unwrap().hash };
        memory.note_held(&reader, &[(log, first)]).unwrap();
        assert_eq!(memory, before);
    }

    #[test]
    fn what_is_remembered_from_after_the_store_was_cut_is_found_until_it_is_made_anew() {
        let cut = founder();
        let whole = copy(&cut, "lost");
        let (mut memory, _) = given(&whole);
        assert!(!memory.is_ahead_of(&whole).unwrap());
        assert!(memory.is_ahead_of(&cut).unwrap());
        // Nor does writing something else at the same place hide it.
        assert!(memory.is_ahead_of(&copy(&cut, "another")).unwrap());
        memory.rebuild();
        assert!(!memory.is_ahead_of(&cut).unwrap());
        memory.stored_through = cut.durable_ops() + 1;
        assert!(memory.is_ahead_of(&cut).unwrap());
    }

    #[test]
    fn attachments_are_asked_about_from_the_beginning_once_a_day() {
        let mut memory = RelayMemory::default();
        memory.begin_attachments(8, 1_000);
        memory.attachments_through = 8;
        memory.begin_attachments(8, 1_000 + ATTACHMENTS_MS - 1);
        assert_eq!(memory.attachments_through, 8);
        memory.begin_attachments(9, 1_000 + ATTACHMENTS_MS);
        assert_eq!(memory.attachments_through, 8, "what was begun is ended first");
        memory.begin_attachments(8, 1_000 + ATTACHMENTS_MS);
        assert_eq!((memory.attachments_through, memory.attachments_since_ms), (0, 1_000 + ATTACHMENTS_MS));
    }

    #[test]
    fn what_is_lacking_is_asked_for_ever_more_rarely_and_then_let_go() {
        let mut memory = RelayMemory { lacking: [(3, 0), (4, 0)].into(), ..RelayMemory::default() };
        assert_eq!(memory.note_asked(&[4].into()), LACKING_WAIT_MS);
        assert_eq!(memory.lacking, [(3, 1)].into(), "what was given is not asked for any more");
        assert_eq!(memory.note_asked(&BTreeSet::new()), 2 * LACKING_WAIT_MS);
        memory.lacking.insert(9, 0);
        assert_eq!(memory.note_asked(&BTreeSet::new()), LACKING_WAIT_MS, "what is new is asked for soon again");
        let mut waits = Vec::new();
        while !memory.lacking.is_empty() {
            waits.push(memory.note_asked(&BTreeSet::new()));
        }
        assert_eq!(waits.len(), usize::from(LACKING_ASKED_MAX) - 1);
        waits.pop();
        assert_eq!(waits.iter().max(), Some(&LACKING_WAIT_MS_MAX));
        assert!(waits.iter().sum::<u64>() > 8 * LACKING_WAIT_MS_MAX, "a relay may be without its storage for a night");
    }
}
