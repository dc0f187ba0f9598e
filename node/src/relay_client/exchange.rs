//! One attempt with one relay: what it lacks goes up, what is new comes down, until neither is left.
//!
//! What comes is durable here before the cursor is; what goes counts as there when the relay names it. So a cut at any moment costs
//! repetition and nothing else. "All is there" is said of the digest over what is held here at a moment when each of these operations had
//! been met in the log that the relay signs, which had been followed to its end (invariant I8). That it acknowledges one is not enough: see
//! [`promises`]. Of a log that was forked so often that what is remembered of it may have gaps, acknowledgements are believed; the count of
//! operations must fit all the same.
//!
//! A relay that does not hold the workspace, though this device followed it there, has lost it: it is brought again, from the operation
//! that founds it on. What the relay signed is remembered all the same, so one that begins another log within its epoch is caught.

mod attachments;
mod lacking;
mod pieces;
mod promises;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::ids::{DeviceId, LogId, OpHash, RelayId, UserId};
use nodespace_protocol::log::Head;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::PendingBuffer;
use nodespace_protocol::store::StoreError;
use nodespace_protocol::view::packet::PACKET_OPERATIONS_MAX;
use nodespace_protocol::view::{Cursor, PushedRun, Sender, SyncPacket, SyncResponse};

use super::api::{RelayApi, in_thread};
use super::error::{RelayError, RelayRefusal};
use super::follower::{Alarm, AlarmKind, FollowError};
use super::memory::RelayMemory;
use super::plan::{Picking, Plan};
use crate::engine::{Clock, DeviceReplica, Workspace};
use crate::model::ServiceError;
use crate::sync::SyncCounts;
use pieces::PieceSize;
use promises::Promises;

/// Answers in a row that bring nothing and take nothing, though something is to be sent, before the attempt is given up.
const IDLE_ROUNDS_MAX: u32 = 2;

/// Operations of the store that came from a relay, as ranges in order of arrival: they need not be sent to it. Noted before they are
/// published, so that whoever hears of them knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<Range<u32>>>>);

impl Arrivals {
    fn note(&self, range: Range<u32>) {
        if !range.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(range);
        }
    }

    /// Those before a position; later ones stay noted.
    pub(crate) fn take_before(&self, end: u32) -> Vec<Range<u32>> {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ranges.extract_if(.., |range| range.start < end).collect()
    }
}

/// One attempt.
pub(crate) struct Exchange<P> {
    pub(crate) workspace: Workspace,
    pub(crate) api: Arc<RelayApi>,
    pub(crate) own: DeviceId,
    pub(crate) clock: Clock,
    pub(crate) arrivals: Arrivals,
    /// Told whenever the relay answered: how many operations went and came so far.
    pub(crate) progress: P,
}

/// What an attempt brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchanged {
    pub(crate) counts: SyncCounts,
    /// The digest over what both hold; `None` for a newcomer, who brings nothing yet.
    pub(crate) digest: Option<[u8; 32]>,
    /// Of this store's operations, in order of arrival, so many are there.
    pub(crate) stored_through: u32,
    /// Up to where its log has come.
    pub(crate) cursor: Cursor,
}

/// What is true of the replica at one moment.
struct Look {
    plan: Plan,
    digest: [u8; 32],
    ops: u32,
    /// Whether operations of others may be brought: not by a newcomer.
    is_member: bool,
}

/// The state of an attempt.
struct Attempt<'a, P> {
    exchange: &'a Exchange<P>,
    relay: RelayId,
    user: UserId,
    memory: RelayMemory,
    counts: SyncCounts,
    /// Which logs are sent, and in what company.
    picking: Picking,
    /// Why the relay does not take the first of those that are set aside.
    problem: Option<RelayError>,
    pending: PendingBuffer,
    /// What it acknowledged and has not shown in its log yet.
    promises: Promises,
    /// For how many attachments it is asked at once.
    piece: PieceSize,
    /// Whether operations are taken without their attachments from now on: it does not give them.
    leaves_attachments: bool,
    /// Whether the workspace is being brought to a relay that had lost it: that is done once.
    brought_again: bool,
}

impl<P: Fn(SyncCounts) + Send + Sync> Exchange<P> {
    /// Makes the attempt.
    ///
    /// # Errors
    /// See [`RelayError`]; what was stored here or there by then stays.
    pub(crate) async fn run(&self) -> Result<Exchanged, RelayError> {
        let (url, own) = (self.api.url().clone(), self.own);
        let load = move |replica: &DeviceReplica| -> Result<_, StoreError> {
            let memory = RelayMemory::load(replica, &url)?;
            let is_ahead = memory.is_ahead_of(replica)?;
            Ok((memory, is_ahead, replica.membership().role(&own).is_some()))
        };
        let (mut memory, is_ahead, is_member) = self.workspace.read(load).await?.map_err(ServiceError::from)?;
        if let Some(alarm) = &memory.alarm {
            return Err(RelayError::Alarm(Box::new(alarm.clone())));
        }
        if is_ahead {
            // What it shows below the cursor would not be met any more, and an honest relay be taken for one that drops it.
            let relay = self.api.url();
            tracing::warn!(%relay, "this device has lost operations that the relay holds: its log is read from the beginning");
            memory.rebuild();
        }
        let (relay, user) = self.log_in(memory.relay, is_member).await?;
        memory.relay = Some(relay);
        let before = self.api.traffic();
        let (aside, alone) = memory.refused_logs(self.clock.now_ms());
        let mut attempt = Attempt {
            exchange: self,
            relay,
            user,
            memory,
            counts: SyncCounts::default(),
            picking: Picking { aside, alone, ..Picking::default() },
            problem: None,
            pending: PendingBuffer::default(),
            promises: Promises::default(),
            piece: PieceSize::default(),
            leaves_attachments: false,
            brought_again: false,
        };
        let outcome = attempt.run().await;
        if let Err(RelayError::Alarm(alarm)) = &outcome {
            attempt.raise(alarm).await?;
        }
        let after = self.api.traffic();
        outcome.map(|done| Exchanged {
            counts: SyncCounts { sent_bytes: after.0 - before.0, received_bytes: after.1 - before.1, ..done.counts },
            ..done
        })
    }

    /// Logs in unless that was done. By an invite that is possible only where the workspace is.
    async fn log_in(&self, known: Option<RelayId>, is_member: bool) -> Result<(RelayId, UserId), RelayError> {
        match self.api.log_in(known, self.clock.now_ms()).await {
            Err(error) if is_member && error.is_unknown_workspace() => self.api.log_in_to_bring(known, self.clock.now_ms()).await,
            outcome => outcome,
        }
    }
}

impl<P: Fn(SyncCounts) + Send + Sync> Attempt<'_, P> {
    async fn run(&mut self) -> Result<Exchanged, RelayError> {
        let mut look = self.look().await?;
        let mut idle = 0;
        loop {
            let before = (self.counts.changes(), self.memory.cursor, self.picking.clone());
            let sends = !look.plan.is_empty() && look.is_member && self.promises.has_room();
            let answer = self.ask(&look, sends).await?;
            // A push that was refused as a whole is followed by another.
            let more = answer.as_ref().is_none_or(|answer| answer.more);
            if let Some(answer) = answer {
                self.take(&look.plan, answer).await?;
            }
            (self.exchange.progress)(self.counts);
            look = self.look().await?;
            let has_more_to_send = !look.plan.is_empty() && look.is_member;
            if !more && !has_more_to_send {
                return self.finish(look).await;
            }
            let is_idle = (self.counts.changes(), self.memory.cursor, &self.picking) == (before.0, before.1, &before.2);
            idle = if is_idle { idle + 1 } else { 0 };
            if idle >= IDLE_ROUNDS_MAX {
                return Err(self.why_not(&look.plan).unwrap_or(RelayError::Stale));
            }
        }
    }

    /// Looks what the relay lacks now.
    async fn look(&self) -> Result<Look, RelayError> {
        let (mut held, picking, own) = (self.memory.held(), self.picking.clone(), self.exchange.own);
        self.promises.add_to(&mut held);
        let look = move |replica: &DeviceReplica| -> Result<Look, StoreError> {
            Ok(Look {
                plan: Plan::next(replica, &held, &picking)?,
                digest: replica.frontier_digest(),
                ops: replica.durable_ops(),
                is_member: replica.membership().role(&own).is_some(),
            })
        };
        Ok(self.exchange.workspace.read(look).await?.map_err(ServiceError::from)?)
    }

    /// Sends a packet. `None` when nothing of it was taken and another one is to be sent.
    async fn ask(&mut self, look: &Look, sends: bool) -> Result<Option<SyncResponse>, RelayError> {
        let packet = self.packet(look, sends);
        // Long attempts outlive a token.
        self.exchange.log_in(Some(self.relay), look.is_member).await?;
        match self.exchange.api.sync(&packet).await {
            Ok(answer) => Ok(Some(answer)),
            Err(RelayError::Refused(refusal)) if refusal.code == "cursor_ahead" => {
                // Its present word is evidence too, when it gives one.
                let now = self.exchange.api.checkpoint(None).await.ok();
                Err(RelayError::Alarm(Box::new(self.memory.followed().rolled_back(now))))
            }
            Err(RelayError::Refused(refusal)) if refusal.is_unknown_workspace() && look.is_member && !self.brought_again => {
                self.bring_again().await?;
                Ok(None)
            }
            Err(RelayError::Refused(refusal)) if sends && refusal.is_of_the_push() => {
                self.refused(&look.plan, refusal).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn packet(&self, look: &Look, sends: bool) -> SyncPacket {
        let sender = Sender { workspace: self.exchange.workspace.id(), user: self.user, device: self.exchange.own };
        let mut packet = SyncPacket::pull(sender, self.memory.cursor, self.exchange.clock.now());
        if sends {
            packet.segments.clone_from(&look.plan.segments);
            packet.vector_checksums.clone_from(&look.plan.checksums);
            packet.compression = CompressionType::for_operations(look.plan.operations.iter().map(Vec::len).sum());
            if look.plan.unsound > 0 {
                let relay = self.exchange.api.url();
                tracing::warn!(%relay, count = look.plan.unsound, "attachments that are not what their operations announce are not sent");
            }
        }
        packet
    }

    /// The relay has lost the workspace: what it was known to hold is forgotten, and offered from the beginning.
    async fn bring_again(&mut self) -> Result<(), RelayError> {
        let (relay, workspace) = (self.exchange.api.url(), self.exchange.workspace.id().short());
        let had_it = self.memory.is_of_a_log();
        tracing::warn!(%relay, %workspace, had_it, "the relay does not hold the workspace: it is brought to it, from the beginning");
        self.brought_again = true;
        // A token that was drawn by being a member there is of no use now.
        self.exchange.api.log_out().await;
        // What it signed stays: within an epoch it must not sign anything else.
        self.memory.rebuild();
        (self.picking, self.problem, self.pending) = (Picking::default(), None, PendingBuffer::default());
        self.promises.forget();
        self.save(Vec::new()).await
    }

    /// A packet was refused as a whole. Where that may be because of one log it is found out which.
    async fn refused(&mut self, plan: &Plan, refusal: RelayRefusal) -> Result<(), RelayError> {
        let (relay, logs) = (self.exchange.api.url(), plan.logs());
        if !refusal.may_be_of_one_log() {
            tracing::warn!(%relay, %refusal, "the relay does not take some operations");
            self.picking.aside.extend(logs);
            self.problem.get_or_insert(RelayError::Refused(refusal));
            return Ok(());
        }
        let Some(log) = self.picking.part(plan) else {
            tracing::info!(%relay, %refusal, logs = logs.len(), "the relay refuses a packet; its parts are sent by themselves");
            return Ok(());
        };
        tracing::warn!(%relay, %log, %refusal, "the relay does not take this log any further; the others are synced without it");
        self.memory.note_refused(log, &refusal, self.exchange.clock.now_ms());
        self.problem.get_or_insert(RelayError::Refused(refusal));
        self.save(Vec::new()).await
    }

    /// Why not all there is can be sent, if it cannot.
    fn why_not(&mut self, plan: &Plan) -> Option<RelayError> {
        self.problem.take().or_else(|| self.memory.refusal_of(&plan.kept_back))
    }

    /// Takes an answer: checks it, stores what it brings, then where it leads. At the end of the log everything that was acknowledged must
    /// have been met in it.
    async fn take(&mut self, plan: &Plan, answer: SyncResponse) -> Result<(), RelayError> {
        let workspace = self.exchange.workspace.id();
        let (answer, verified) = in_thread(move || {
            let verified = answer.verify_consistency(&workspace, &|_: &_| None)?;
            Ok((answer, verified))
        })
        .await?;
        let pushed = self.pushed(&answer).await?;
        let (mut order, mut reached): (Vec<OpHash>, Vec<(LogId, Head)>) = (Vec::new(), Vec::new());
        let mut runs = pushed.into_iter().peekable();
        for number in 0..=verified.len() {
            while let Some(run) = runs.next_if(|run| run.before_segment as usize <= number) {
                order.extend(run.hashes);
                reached.extend(run.end);
            }
            order.extend(verified.get(number).into_iter().flat_map(|segment| segment.ops.iter().map(|op| op.hash)));
        }
        let followed = match self.memory.followed().follow((&self.relay, &workspace), &answer, &order) {
            Err(FollowError::EarlierEpoch(alarm)) => return Err(self.earlier_epoch(alarm).await?),
            followed => followed?,
        };
        if !answer.more {
            followed.check_end()?;
        }
        if self.memory.cursor.epoch != answer.epoch {
            self.begin_epoch(answer.epoch);
        }
        let ends = verified.iter().filter_map(|segment| segment.ops.last());
        reached.extend(ends.map(|op| (op.header.log, Head { seq: op.header.seq, hash: op.hash })));
        self.counts.received += verified.iter().map(|segment| segment.ops.len() as u64).sum::<u64>();
        let segments = verified.into_iter().map(|verified| verified.segment).collect();
        self.ingest(segments, !answer.more).await?;
        let before = self.memory.checkpoint.clone();
        self.memory.follow(followed);
        reached.extend(self.acknowledged(plan, &answer));
        self.promises.keep(&order);
        self.save(reached).await?;
        match self.promises.first().filter(|_| !answer.more) {
            None => Ok(()),
            Some(dropped) => {
                let (kind, followed) = (AlarmKind::Dropped(dropped), answer.latest_version);
                Err(RelayError::Alarm(Box::new(Alarm { kind, before, now: answer.checkpoint, followed })))
            }
        }
    }

    /// Another incarnation of its log, in which it may lack what it acknowledged in the one before.
    fn begin_epoch(&mut self, epoch: u64) {
        self.promises.forget();
        if self.memory.cursor.epoch != 0 {
            let relay = self.exchange.api.url();
            tracing::warn!(%relay, epoch, "the relay was restored from a backup: everything is offered to it again");
        }
    }

    /// It is back in an epoch from before the one that it had begun. Of several instances one may not have heard of that yet.
    async fn earlier_epoch(&mut self, alarm: Box<Alarm>) -> Result<RelayError, RelayError> {
        let has_lasted = self.memory.note_earlier_epoch(self.exchange.clock.now_ms());
        self.save(Vec::new()).await?;
        Ok(if has_lasted { RelayError::Alarm(alarm) } else { RelayError::NotFollowed(FollowError::EarlierEpoch(alarm)) })
    }

    /// Notes which of the packet's segments the relay acknowledges: they have to be met in its log. Answers those that may have been met
    /// before this attempt.
    fn acknowledged(&mut self, plan: &Plan, answer: &SyncResponse) -> Vec<(LogId, Head)> {
        let applied: BTreeSet<_> = answer.applied_operations.iter().collect();
        let acknowledged = plan.reached.iter().zip(&plan.operations).filter(|((_, head), _)| applied.contains(&head.hash.uuid()));
        let (half_remembered, mut met_before) = (self.memory.half_remembered(), Vec::new());
        for (end, operations) in acknowledged {
            self.counts.sent += operations.len() as u64;
            self.picking.late.clear();
            if half_remembered.contains(&end.0) {
                met_before.push(*end);
            } else {
                self.promises.add(*end, operations);
            }
        }
        for left in &answer.left_out {
            let Some((log, _)) = usize::try_from(left.segment).ok().and_then(|segment| plan.reached.get(segment)) else { continue };
            if left.waits {
                self.picking.late.insert(*log);
                continue;
            }
            tracing::warn!(relay = %self.exchange.api.url(), log = %log, code = left.code, "the relay does not take some operations");
            self.picking.aside.insert(*log);
            self.problem.get_or_insert(RelayError::LeftOut { code: left.code.clone(), message: left.message.clone() });
        }
        met_before
    }

    /// One's own operations that stand among those of the answer.
    async fn pushed(&self, answer: &SyncResponse) -> Result<Vec<OwnRun>, RelayError> {
        if answer.pushed.is_empty() {
            return Ok(Vec::new());
        }
        let runs = answer.pushed.clone();
        let total: u64 = runs.iter().map(|run| u64::from(run.operations)).sum();
        if total > PACKET_OPERATIONS_MAX as u64 {
            return Err(RelayError::NotUnderstood(format!("it says that a packet brought {total} operations")));
        }
        let read = move |replica: &DeviceReplica| runs.iter().map(|run| OwnRun::read(replica, run)).collect();
        self.exchange.workspace.read(read).await?
    }

    /// Stores what came. At the end nothing may be left that waits for something else.
    async fn ingest(&mut self, mut segments: Vec<Segment>, is_end: bool) -> Result<(), RelayError> {
        if segments.is_empty() && self.pending.is_empty() {
            return Ok(());
        }
        self.bring_attachments(&mut segments).await?;
        let arrivals = self.exchange.arrivals.clone();
        let mut pending = std::mem::take(&mut self.pending);
        let job = move |replica: &mut DeviceReplica, now| {
            use nodespace_protocol::store::Store as _;
            let before = replica.store().op_count();
            let mut refused = Vec::new();
            for segment in segments {
                let from = segment.log.device;
                let received = pending.receive(replica, from, segment, now).map_err(ServiceError::from)?;
                refused.extend(received.refused);
            }
            arrivals.note(before..replica.store().op_count());
            Ok((pending, refused))
        };
        let (pending, refused) = self.exchange.workspace.write(None, job).await?;
        self.pending = pending;
        if let Some(first) = refused.first() {
            return Err(RelayError::RefusedHere { count: refused.len(), first: first.why.to_string() });
        }
        if is_end && !self.pending.is_empty() {
            return Err(RelayError::Stale);
        }
        Ok(())
    }

    /// Keeps what is known of the relay now.
    async fn save(&mut self, reached: Vec<(LogId, Head)>) -> Result<(), RelayError> {
        let (mut memory, url) = (self.memory.clone(), self.exchange.api.url().clone());
        let save = move |replica: &DeviceReplica| -> Result<RelayMemory, StoreError> {
            memory.note_held(replica, &reached)?;
            memory.save(replica, &url)?;
            Ok(memory)
        };
        self.memory = self.exchange.workspace.read(save).await?.map_err(ServiceError::from)?;
        Ok(())
    }

    /// Neither side has anything for the other.
    async fn finish(&mut self, look: Look) -> Result<Exchanged, RelayError> {
        if let Some(problem) = self.why_not(&look.plan) {
            return Err(problem);
        }
        if look.is_member {
            self.check_count(&look)?;
            self.memory.forget_refused();
            self.memory.stored_through = look.ops;
            self.memory.confirmed_ms = Some(self.exchange.clock.now_ms());
            self.save(Vec::new()).await?;
            self.bring_attachments_up(look.ops).await?;
            self.fetch_lacking(look.ops).await?;
        }
        let digest = look.is_member.then_some(look.digest);
        Ok(Exchanged { counts: self.counts, digest, stored_through: look.ops, cursor: self.memory.cursor })
    }

    /// Its log was followed to its end, all of that is here, and all that is here is remembered to be there: so both are equally many. Where
    /// they are not, what is remembered does not hold: it may be from a program that took its word for it, or something is in its log twice.
    fn check_count(&self, look: &Look) -> Result<(), RelayError> {
        let (there, here) = (self.memory.cursor.version, u64::from(look.ops));
        if there == here {
            return Ok(());
        }
        tracing::warn!(relay = %self.exchange.api.url(), there, here, "the relay's log and this device do not hold equally many operations");
        Err(RelayError::Stale)
    }

    /// Keeps the evidence; from here on the relay is not asked any more.
    async fn raise(&mut self, alarm: &Alarm) -> Result<(), RelayError> {
        tracing::error!(relay = %self.exchange.api.url(), workspace = %self.exchange.workspace.id().short(), %alarm, "a relay contradicts itself");
        self.memory.alarm = Some(alarm.clone());
        self.save(Vec::new()).await
    }
}

/// Operations of this device's that stand next to each other in the relay's log.
struct OwnRun {
    /// They stand before the segment with this number.
    before_segment: u32,
    hashes: Vec<OpHash>,
    /// Where they lead.
    end: Option<(LogId, Head)>,
}

impl OwnRun {
    /// So many operations of one log, the last of which is named.
    fn read(replica: &DeviceReplica, run: &PushedRun) -> Result<Self, RelayError> {
        let unknown = || RelayError::NotUnderstood("it says that this device brought operations that are not here".to_owned());
        let mut found = Self { before_segment: run.before_segment, hashes: Vec::new(), end: None };
        let mut next = Some(run.last);
        while found.hashes.len() < run.operations as usize {
            let hash = next.ok_or_else(unknown)?;
            let op = replica.op(&hash).map_err(ServiceError::from)?.ok_or_else(unknown)?;
            found.end.get_or_insert((op.header.log, Head { seq: op.header.seq, hash }));
            found.hashes.push(hash);
            next = op.header.previous;
        }
        found.hashes.reverse();
        Ok(found)
    }
}
