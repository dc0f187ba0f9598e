//! What the orchestrator asks for, and how attempts end.

use std::collections::BTreeSet;

use nodespace_protocol::ids::{DeviceId, NodeId};
use nodespace_protocol::session::{SessionEvent, SyncState};

use super::super::session::{Note, Order};
use super::WorkspaceSync;
use crate::model::ServiceError;
use crate::sync::orchestrator::SyncResult;
use crate::sync::status::StatusInput;
use crate::sync::{AttemptId, OrchestratorInput, OrchestratorOutput, RecoveryInput, SyncFailure, Target};

impl WorkspaceSync {
    pub(super) fn orchestrate(&mut self, input: OrchestratorInput) {
        let now = self.now();
        self.orchestrator.handle(input, now);
    }

    /// Does what the machines ask for, and what they ask for because of that: a retry is begun now, not when something else happens.
    pub(super) fn act(&mut self) {
        loop {
            self.act_on_orchestrator();
            self.act_on_queue();
            let Some(action) = self.recovery.poll_output() else { return };
            self.recover(action);
        }
    }

    fn act_on_orchestrator(&mut self) {
        while let Some(output) = self.orchestrator.poll_output() {
            match output {
                OrchestratorOutput::Start { target: Target::Peer { device }, attempt, triggers } => {
                    self.attempt(device, attempt, &triggers)
                }
                OrchestratorOutput::Start { target: Target::Relay, attempt, .. } => self.attempt_relay(attempt),
                OrchestratorOutput::Abort { target, attempt, failure } => self.abort(target, attempt, failure),
                OrchestratorOutput::Skipped { reason, .. } => self.setup.monitor.record_skip(reason),
            }
        }
    }

    /// An attempt stalled, or its target is gone: the session with it is of no use.
    fn abort(&mut self, target: Target, attempt: AttemptId, failure: Option<SyncFailure>) {
        let began = self.attempts.remove(&attempt).map(|(_, since)| since);
        match target {
            Target::Peer { device } => {
                if let Some(live) = self.sessions.get_mut(&device) {
                    live.attempt = None;
                    live.handle.order(Order::Close);
                }
            }
            Target::Relay => self.abort_relay(),
        }
        if let Some(failure) = failure {
            self.count_failure(target, began, &failure);
            self.failed(target, failure);
        }
    }

    /// A session tells.
    pub(super) async fn on_note(&mut self, device: DeviceId, serial: u64, note: Note) -> Result<(), ServiceError> {
        let target = Target::peer(device);
        let Some(live) = self.sessions.get_mut(&device).filter(|live| live.serial == serial) else { return Ok(()) };
        let diverged = note.events.contains(&SessionEvent::Diverged);
        live.diverged |= diverged;
        let distrusted = live.diverged;
        live.status = Some(note.status);
        let newly_admitted = !live.admitted && !matches!(note.status.state, SyncState::Greeting | SyncState::Ended);
        live.admitted |= newly_admitted;
        let newly_useful = !live.useful && note.status.sent_ops + note.status.received_ops > 0;
        live.useful |= newly_useful;
        let is_new = |event: &SessionEvent| matches!(event, SessionEvent::Received { ops } if *ops > 0);
        let received = note.events.iter().any(is_new);
        if let Some(attempt) = live.attempt.filter(|_| note.moved) {
            self.orchestrate(if received { OrchestratorInput::Received(attempt) } else { OrchestratorInput::Progress(attempt) });
        }
        if received {
            self.recovery.handle(RecoveryInput::Received(target), self.now());
        }
        if newly_useful {
            self.setup.net.useful(device).await;
        }
        if newly_admitted {
            self.setup.net.vouched(device).await;
            if self.joining().is_some() {
                self.tell_board(StatusInput::Reachable(target));
            }
        }
        let mut confirmed = None;
        for event in note.events {
            confirmed = self.on_event(device, event).await.or(confirmed);
        }
        if diverged {
            // They hold the same and show something else: that is no success, whatever the digest of the operations says.
            self.suspects.insert(device);
            self.fail(target, SyncFailure::DataCorruption { node: None });
        }
        if distrusted {
            // It passes operations on; how it stands is said by the failure, until another session finds out.
            return Ok(());
        }
        if confirmed.is_some() || note.status.state == SyncState::Synced {
            self.refresh().await?;
        }
        let now_ms = self.now();
        self.tell_board(StatusInput::Session { target, status: note.status, now_ms });
        if self.is_doubtful(device, note.agreed, confirmed.is_some()) {
            return Ok(());
        }
        if let Some(digest) = confirmed {
            self.tell_board(StatusInput::Confirmed { target, digest, wall_ms: self.setup.clock.now_ms() });
        }
        // What the peer said last may be what is held here only now. It ends an attempt only when it was said after that began.
        let idle = self.sessions.get(&device).is_some_and(|live| live.attempt.is_none());
        if note.status.state == SyncState::Synced && (note.heard || (confirmed.is_some() && idle)) {
            self.on_synced(device).await?;
        }
        Ok(())
    }

    /// Whether it must be doubted that a peer is synced, though it holds what is held here: it showed another state before, and not ours
    /// since. With each confirmation (`confirmed`) it is asked to show it.
    fn is_doubtful(&mut self, device: DeviceId, agreed: bool, confirmed: bool) -> bool {
        if agreed {
            self.suspects.remove(&device);
        }
        let doubtful = self.suspects.contains(&device);
        if doubtful
            && confirmed
            && let Some(live) = self.sessions.get(&device)
        {
            live.handle.order(Order::Compare);
        }
        doubtful
    }

    /// Answers the digest that the peer confirmed, if it did.
    async fn on_event(&mut self, device: DeviceId, event: SessionEvent) -> Option<[u8; 32]> {
        let peer = device.short();
        let workspace = self.id().short();
        match event {
            SessionEvent::Admitted { boot_nonce } => self.setup.net.booted(device, boot_nonce).await,
            SessionEvent::Synced { frontier } => return Some(frontier),
            SessionEvent::Diverged => {
                tracing::error!(%peer, %workspace, "both hold the same operations and show another state: a fault in one of the programs");
            }
            SessionEvent::ForkFound(log) => {
                let own = log.device == self.setup.own;
                tracing::error!(%workspace, author = %log.device.short(), own, "a device has signed two operations at one place: its log is forked; its owner should remove it and join again with a new home");
                self.setup.net.metrics().refused("forked_log", &peer);
            }
            SessionEvent::OwnLogBehind => {
                tracing::warn!(%peer, %workspace, "a peer holds more of this device's own log than this device: it is fetched before anything is written");
            }
            SessionEvent::FalseClaim { seq } => {
                tracing::warn!(%peer, %workspace, seq, "a peer claims to hold more of this device's own log, and what it shows for it this device never signed");
                self.setup.net.metrics().refused("false_claim", &peer);
            }
            SessionEvent::Refused(refusal) => {
                tracing::warn!(%peer, %workspace, ?refusal, "operations were refused");
                self.setup.net.metrics().refused("operations", &peer);
            }
            SessionEvent::Ended { code, reason } => tracing::debug!(%peer, %workspace, ?code, reason, "goodbye"),
            SessionEvent::Planned { .. } | SessionEvent::Received { .. } => {}
        }
        None
    }

    /// A peer has confirmed what is held here.
    async fn on_synced(&mut self, device: DeviceId) -> Result<(), ServiceError> {
        let target = Target::peer(device);
        let unsettled = self.unsettled().await?;
        if !unsettled.is_empty() {
            self.fail(target, SyncFailure::ConflictResolutionFailed { nodes: unsettled });
            return Ok(());
        }
        let Some(live) = self.sessions.get_mut(&device) else { return Ok(()) };
        let (finished, counts) = (live.attempt.take(), live.account.take());
        match finished.and_then(|attempt| Some((attempt, self.attempts.remove(&attempt)?))) {
            Some((attempt, (_, since))) => {
                let result = SyncResult::Success(counts);
                self.setup.monitor.record_sync(target.kind(), &result, self.now().saturating_sub(since));
                self.orchestrate(OrchestratorInput::Finished { attempt, result });
            }
            None => {
                self.setup.monitor.record_live(&counts);
                self.orchestrate(OrchestratorInput::Synced(target));
            }
        }
        let now = self.now();
        self.recovery.handle(RecoveryInput::Succeeded(target), now);
        self.finish_waiting(target);
        Ok(())
    }

    /// Nodes whose operations wait for others, though somebody confirmed to hold the same, and that are not set aside already.
    pub(super) async fn unsettled(&mut self) -> Result<BTreeSet<NodeId>, ServiceError> {
        let waiting = self.waiting_nodes().await?;
        let aside = self.recovery.aside();
        for node in aside.difference(&waiting) {
            self.recovery.handle(RecoveryInput::Settled(node.clone()), self.now());
        }
        Ok(waiting.difference(&aside).cloned().collect())
    }

    /// Whatever ran with a target has failed.
    pub(super) fn fail(&mut self, target: Target, failure: SyncFailure) {
        let attempt = self.attempts.iter().find(|(_, (other, _))| *other == target).map(|(attempt, (_, since))| (*attempt, *since));
        if let Some((attempt, since)) = attempt {
            self.attempts.remove(&attempt);
            if let Target::Peer { device } = target
                && let Some(live) = self.sessions.get_mut(&device)
            {
                live.attempt = None;
            }
            self.count_failure(target, Some(since), &failure);
            self.orchestrate(OrchestratorInput::Finished { attempt, result: SyncResult::Failed(failure.clone()) });
        } else if failure == SyncFailure::Unreachable && target != Target::Relay {
            // A session that had nothing to do was lost with its connection: no failure of a sync.
            return;
        } else {
            self.count_failure(target, None, &failure);
        }
        self.failed(target, failure);
    }

    /// Counts a failure, once: with the attempt that it ends, when one had begun (at `began`). Who is not synced with cannot fail at it: that
    /// a stranger was turned away is told among those who were refused.
    pub(super) fn count_failure(&self, target: Target, began: Option<u64>, failure: &SyncFailure) {
        match began {
            Some(began) => {
                let result = SyncResult::Failed(failure.clone());
                self.setup.monitor.record_sync(target.kind(), &result, self.now().saturating_sub(began));
            }
            None if self.orchestrator.report(&target).is_some() => self.setup.monitor.record_failure(target.kind(), failure),
            None => {}
        }
    }

    fn failed(&mut self, target: Target, failure: SyncFailure) {
        let now = self.now();
        self.tell_board(StatusInput::Failed { target, failure: failure.clone() });
        self.recovery.handle(RecoveryInput::Failed { target, failure }, now);
        self.finish_waiting(target);
    }
}
