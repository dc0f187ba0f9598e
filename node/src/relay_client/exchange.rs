//! One attempt with one relay: what it lacks goes up, what is new comes down, until neither is left.
//!
//! What comes is durable here before the cursor is; what goes counts as there when the relay names it. So a cut at any moment costs
//! repetition and nothing else. "All is there" is said of the digest over what is held here at a moment when the relay had acknowledged or
//! given each of these operations, and had given everything it has (invariant I8).
//!
//! A relay that does not hold the workspace, though this device followed it there, has lost it: it is brought again, from the operation
//! that founds it on. What the relay signed is remembered all the same, so one that begins another log within its epoch is caught.

mod attachments;
mod lacking;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::ids::{DeviceId, LogId, OpHash, RelayId, UserId};
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::PendingBuffer;
use nodespace_protocol::store::StoreError;
use nodespace_protocol::view::packet::PACKET_OPERATIONS_MAX;
use nodespace_protocol::view::{Cursor, PushedRun, Sender, SyncPacket, SyncResponse};

use super::api::{ATTACHMENTS_MAX, RelayApi, in_thread};
use super::error::{RelayError, RelayRefusal};
use super::memory::RelayMemory;
use super::plan::{Picking, Plan};
use crate::engine::{Clock, DeviceReplica, Workspace, is_what_was_announced};
use crate::model::ServiceError;
use crate::sync::SyncCounts;

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
            Ok((RelayMemory::load(replica, &url)?, replica.membership().role(&own).is_some()))
        };
        let (mut memory, is_member) = self.workspace.read(load).await?.map_err(ServiceError::from)?;
        if let Some(alarm) = &memory.alarm {
            return Err(RelayError::Alarm(Box::new(alarm.clone())));
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
            let sends = !look.plan.is_empty() && look.is_member;
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
        let (held, picking, own) = (self.memory.held(), self.picking.clone(), self.exchange.own);
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
            packet.compression = nodespace_protocol::compress::CompressionType::for_operations(look.plan.operations.iter().sum());
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

    /// Takes an answer: checks it, stores what it brings, then where it leads.
    async fn take(&mut self, plan: &Plan, answer: SyncResponse) -> Result<(), RelayError> {
        let workspace = self.exchange.workspace.id();
        let (answer, verified) = in_thread(move || {
            let verified = answer.verify_consistency(&workspace, &|_: &_| None)?;
            Ok((answer, verified))
        })
        .await?;
        let pushed = self.pushed(&answer).await?;
        let mut order: Vec<OpHash> = Vec::new();
        let mut runs = pushed.into_iter().peekable();
        for number in 0..=verified.len() {
            while let Some((_, hashes)) = runs.next_if(|(before, _)| *before as usize <= number) {
                order.extend(hashes);
            }
            order.extend(verified.get(number).into_iter().flat_map(|segment| segment.ops.iter().map(|op| op.hash)));
        }
        let followed = self.memory.followed().follow((&self.relay, &workspace), &answer, &order)?;
        if !answer.more {
            followed.check_end()?;
        }
        if self.memory.cursor.epoch != answer.epoch && self.memory.cursor.epoch != 0 {
            tracing::warn!(relay = %self.exchange.api.url(), epoch = answer.epoch, "the relay was restored from a backup: everything is offered to it again");
        }
        let mut reached: Vec<_> = verified
            .iter()
            .filter_map(|segment| segment.ops.last())
            .map(|op| (op.header.log, nodespace_protocol::log::Head { seq: op.header.seq, hash: op.hash }))
            .collect();
        self.counts.received += verified.iter().map(|segment| segment.ops.len() as u64).sum::<u64>();
        let segments = verified.into_iter().map(|verified| verified.segment).collect();
        self.ingest(segments, !answer.more).await?;
        self.memory.follow(followed);
        reached.extend(self.acknowledged(plan, &answer));
        self.save(reached).await
    }

    /// The packet's segments that the relay holds now.
    fn acknowledged(&mut self, plan: &Plan, answer: &SyncResponse) -> Vec<(LogId, nodespace_protocol::log::Head)> {
        let applied: BTreeSet<_> = answer.applied_operations.iter().collect();
        let mut held = Vec::new();
        for ((log, head), operations) in plan.reached.iter().zip(&plan.operations) {
            if applied.contains(&head.hash.uuid()) {
                self.counts.sent += *operations as u64;
                held.push((*log, *head));
            }
        }
        if !held.is_empty() {
            self.picking.late.clear();
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
        held
    }

    /// The hashes of one's own operations that stand among those of the answer.
    async fn pushed(&self, answer: &SyncResponse) -> Result<Vec<(u32, Vec<OpHash>)>, RelayError> {
        if answer.pushed.is_empty() {
            return Ok(Vec::new());
        }
        let runs = answer.pushed.clone();
        let total: u64 = runs.iter().map(|run| u64::from(run.operations)).sum();
        if total > PACKET_OPERATIONS_MAX as u64 {
            return Err(RelayError::NotUnderstood(format!("it says that a packet brought {total} operations")));
        }
        let read = move |replica: &DeviceReplica| runs.iter().map(|run| Ok((run.before_segment, run_of(replica, run)?))).collect();
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
            return Err(RelayError::RefusedHere { count: refused.len(), first: first.to_string() });
        }
        if is_end && !self.pending.is_empty() {
            return Err(RelayError::Stale);
        }
        Ok(())
    }

    /// Puts attachments into segments: answers name them and leave them behind.
    async fn bring_attachments(&self, segments: &mut [Segment]) -> Result<(), RelayError> {
        let named = segments.iter_mut().flat_map(|segment| &mut segment.ops).filter_map(|op| op.attachment.as_mut());
        let mut places: Vec<_> = named.filter(|(_, bytes)| bytes.is_none()).collect();
        let wanted: Vec<OpHash> = places.iter().map(|(blob, _)| OpHash(blob.hash)).collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = std::collections::BTreeMap::new();
        for wanted in wanted.chunks(ATTACHMENTS_MAX) {
            match self.exchange.api.attachments(wanted).await {
                Ok(some) => found.extend(some),
                // Operations do not wait for the relay's object storage; what they come without is asked for later.
                Err(RelayError::Refused(refusal)) if refusal.code == "storage_unavailable" => {
                    tracing::warn!(relay = %self.exchange.api.url(), %refusal, "operations are taken without their attachments");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        for (blob, bytes) in &mut places {
            let found = found.get(&OpHash(blob.hash)).filter(|bytes| is_what_was_announced(blob, bytes));
            *bytes = found.map(|bytes| bytes.as_slice().into());
        }
        Ok(())
    }

    /// Keeps what is known of the relay now.
    async fn save(&mut self, reached: Vec<(LogId, nodespace_protocol::log::Head)>) -> Result<(), RelayError> {
        let (mut memory, url) = (self.memory.clone(), self.exchange.api.url().clone());
        let save = move |replica: &DeviceReplica| -> Result<RelayMemory, StoreError> {
            memory.note_held(replica, &reached);
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

    /// Keeps the evidence; from here on the relay is not asked any more.
    async fn raise(&mut self, alarm: &super::Alarm) -> Result<(), RelayError> {
        tracing::error!(relay = %self.exchange.api.url(), workspace = %self.exchange.workspace.id().short(), %alarm, "a relay contradicts itself");
        self.memory.alarm = Some(alarm.clone());
        self.save(Vec::new()).await
    }
}

/// So many operations of one log, the last of which is this one.
fn run_of(replica: &DeviceReplica, run: &PushedRun) -> Result<Vec<OpHash>, RelayError> {
    let unknown = || RelayError::NotUnderstood("it says that this device brought operations that are not here".to_owned());
    let mut hashes = Vec::new();
    let mut next = Some(run.last);
    while hashes.len() < run.operations as usize {
        let hash = next.ok_or_else(unknown)?;
        let op = replica.op(&hash).map_err(ServiceError::from)?.ok_or_else(unknown)?;
        hashes.push(hash);
        next = op.header.previous;
    }
    hashes.reverse();
    Ok(hashes)
}
