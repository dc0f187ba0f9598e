//! Sessions: who opens the stream, which one stays, and what their ends mean.
//!
//! One stream a workspace and peer. The device with the lower id opens it; the other one waits a moment and opens it then, in case the
//! first does not know it as a member. When both did, the one of the lower stays.

use std::sync::Arc;

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::session::{ByeCode, Role, Session, SessionConfig, SyncState, SyncStatus};

use super::super::account::Account;
use super::super::budget::SharedBudget;
use super::super::host::Host;
use super::super::session::{self, End, Order, Parts, SessionHandle};
use super::{Ear, Input, WorkspaceSync, close};
use crate::net::{OpenError, SYNC_PROTOCOL, Stream};
use crate::sync::orchestrator::Trigger;
use crate::sync::status::StatusInput;
use crate::sync::{AttemptId, OrchestratorInput, SyncFailure, Target};

/// How long the device with the higher id waits for the other one to open the stream, in milliseconds.
const EXPECT_MS: u64 = 1_500;
/// How long no stream is taken of a peer that broke the protocol, in milliseconds.
const PENALTY_MS: u64 = 10_000;
/// Sessions at one time; further peers are reached by gossip, and when there is room.
const SESSIONS_MAX: usize = 256;

/// A session that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) serial: u64,
    pub(super) handle: SessionHandle,
    pub(super) role: Role,
    pub(super) status: Option<SyncStatus>,
    /// The attempt that waits for it.
    pub(super) attempt: Option<AttemptId>,
    /// What went over it.
    pub(super) account: Arc<Account>,
    /// The peer has shown that it belongs.
    pub(super) admitted: bool,
    /// Operations went over it.
    pub(super) useful: bool,
    /// Both held the same operations and showed another state. Such a session finds out nothing more: an attempt wants another one.
    pub(super) diverged: bool,
}

impl WorkspaceSync {
    /// Whether a device is synced with: a member, or a host while this workspace is being joined.
    fn is_partner(&self, device: &DeviceId) -> bool {
        let host = || self.joining().is_some_and(|join| join.hosts.contains(device));
        *device != self.setup.own && (self.facts.members.contains(device) || host())
    }

    pub(super) fn on_connected(&mut self, device: DeviceId) {
        self.setup.connected.insert(device);
        if self.is_partner(&device) {
            self.reachable(device);
        }
    }

    pub(super) fn reachable(&mut self, device: DeviceId) {
        let target = Target::peer(device);
        self.tell_board(StatusInput::Reachable(target));
        self.orchestrate(OrchestratorInput::Reachable(target));
        self.expect_of_waiters(target);
    }

    pub(super) fn on_disconnected(&mut self, device: &DeviceId) {
        self.setup.connected.remove(device);
        self.expected.remove(device);
        let target = Target::peer(*device);
        self.orchestrate(OrchestratorInput::Unreachable(target));
        self.tell_board(StatusInput::Unreachable(target));
        // A stream of a line that is dead may never say so. What it has brought is still taken; another session need not wait for that.
        let Some(live) = self.sessions.get(device) else {
            // An attempt that waits for the peer to open a stream waits in vain. One for which a stream is being opened hears of it by that.
            if !self.opening.contains(device) {
                self.fail(target, SyncFailure::Unreachable);
            }
            return;
        };
        live.handle.order(Order::Lost);
        self.on_ended(*device, live.serial, End::Lost);
    }

    /// An attempt is to be made.
    pub(super) fn attempt(&mut self, device: DeviceId, attempt: AttemptId, triggers: &std::collections::BTreeSet<Trigger>) {
        let now = self.now();
        self.attempts.insert(attempt, (Target::peer(device), now));
        if let Some(live) = self.sessions.get_mut(&device) {
            live.attempt = Some(attempt);
            if live.diverged {
                // When it has ended the next one is opened for the attempt.
                live.handle.order(Order::Close);
            } else if live.admitted || !triggers.contains(&Trigger::Connect) {
                // A session that has just begun compares by itself.
                live.handle.order(Order::Compare);
            }
            return;
        }
        let join = self.joining().is_some_and(|join| join.hosts.contains(&device));
        if self.setup.own < device || join || !self.facts.has_genesis {
            self.open(device);
        } else {
            self.expected.insert(device, now + EXPECT_MS);
        }
    }

    /// Opens the streams that nobody else has opened.
    pub(super) fn open_expected(&mut self, now: u64) {
        let due: Vec<DeviceId> = self.expected.extract_if(.., |_, at| *at <= now).map(|(device, _)| device).collect();
        due.into_iter().for_each(|device| self.open(device));
    }

    fn open(&mut self, device: DeviceId) {
        self.expected.remove(&device);
        if self.sessions.contains_key(&device) || !self.opening.insert(device) {
            return;
        }
        let (net, inbox) = (self.setup.net.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let opened = net.open(device, SYNC_PROTOCOL).await;
            inbox.send(Input::Opened { device, opened }).await;
        });
    }

    pub(super) fn on_opened(&mut self, device: DeviceId, opened: Result<Stream, OpenError>) {
        self.opening.remove(&device);
        let failure = match opened {
            Ok(stream) => {
                let taken = self.sessions.contains_key(&device);
                if !taken || self.setup.own < device {
                    self.begin(device, Role::Initiator, stream, None);
                }
                return;
            }
            Err(OpenError::Unsupported { .. }) => SyncFailure::ProtocolBroken,
            Err(error) => {
                tracing::debug!(device = %device.short(), %error, "no stream");
                SyncFailure::Unreachable
            }
        };
        if !self.sessions.contains_key(&device) {
            self.fail(Target::peer(device), failure);
        }
    }

    pub(super) fn on_incoming(&mut self, device: DeviceId, stream: Stream, hello: Vec<u8>) {
        let now = self.now();
        if self.penalties.get(&device).is_some_and(|until| now < *until) {
            return self.setup.net.metrics().refused("penalty", &device.short());
        }
        let known = self.sessions.get(&device).map(|live| (live.role, live.admitted));
        match judge(self.setup.own < device, known, self.sessions.len()) {
            Judged::Taken => {}
            Judged::OursStays => return tracing::debug!(device = %device.short(), "both opened a stream at once: this device's stays"),
            Judged::TooMany => return self.setup.net.metrics().refused("too_many_sessions", &device.short()),
        }
        self.expected.remove(&device);
        self.begin(device, Role::Responder, stream, Some(hello));
    }

    fn begin(&mut self, device: DeviceId, role: Role, stream: Stream, first: Option<Vec<u8>>) {
        let mut salt = [0; 16];
        if let Err(error) = getrandom::fill(&mut salt) {
            tracing::error!(%error, "the system has no random numbers: no session");
            return;
        }
        self.serial += 1;
        let config = match self.joining().filter(|join| join.hosts.contains(&device)) {
            Some(join) => join.joining.session_config(self.setup.boot_nonce, salt),
            None => SessionConfig::member(self.setup.boot_nonce, salt),
        };
        let session = Session::new(role, device, config, self.setup.clock.now()).holding(true);
        let account = Arc::new(Account::new(self.setup.monitor.clone(), self.setup.traffic.of_session(device)));
        let parts = Parts {
            workspace: self.setup.workspace.clone(),
            clock: self.setup.clock,
            session,
            first,
            pending: Arc::clone(&self.pending),
            bytes: account.bytes(),
            budget: self.budget_of(device),
            seed: u64::from_le_bytes([salt[0], salt[1], salt[2], salt[3], salt[4], salt[5], salt[6], salt[7]]),
        };
        let ear = Ear { inbox: self.inbox.clone(), device, serial: self.serial, account: Arc::clone(&account) };
        let handle = session::start(parts, stream, ear);
        let mut live = Live {
            serial: self.serial,
            handle,
            role,
            status: None,
            attempt: None,
            account,
            admitted: false,
            useful: false,
            diverged: false,
        };
        let waiting = self.attempts.iter().find(|(_, (target, _))| *target == Target::peer(device)).map(|(attempt, _)| *attempt);
        if let Some(attempt) = waiting {
            live.attempt = Some(attempt);
        }
        if let Some(replaced) = self.sessions.insert(device, live) {
            close(&replaced.handle);
        }
    }

    /// What a peer may say that brings nothing. Remembered from session to session; of those who have none, so many as are likely to come back.
    fn budget_of(&mut self, device: DeviceId) -> SharedBudget {
        if self.budgets.len() > 2 * SESSIONS_MAX {
            self.budgets.retain(|_, budget| !budget.is_unused());
        }
        self.budgets.entry(device).or_insert_with(SharedBudget::new).clone()
    }

    pub(super) fn on_ended(&mut self, device: DeviceId, serial: u64, end: End) {
        let Some(live) = self.sessions.get(&device).filter(|live| live.serial == serial) else {
            // What the line had brought was taken meanwhile; some of that may wait for what never comes.
            if !self.sessions.contains_key(&device) {
                self.forget_pending(&device);
            }
            return;
        };
        let (admitted, diverged, reason) = (live.admitted, live.diverged, end.name());
        self.sessions.remove(&device);
        self.forget_pending(&device);
        tracing::debug!(device = %device.short(), workspace = %self.id().short(), ?end, "a session ended");
        let target = Target::peer(device);
        match &end {
            End::TurnedAway(_) | End::TooSlow => {
                tracing::debug!(device = %device.short(), workspace = %self.id().short(), reason, "turned away");
                self.drop_peer(device, reason, true);
            }
            End::Broke(what) => {
                tracing::warn!(device = %device.short(), workspace = %self.id().short(), what, "the peer broke the protocol");
                self.penalties.insert(device, self.now() + PENALTY_MS);
                if admitted {
                    self.setup.net.metrics().refused(reason, &device.short());
                } else {
                    self.drop_peer(device, reason, true);
                }
            }
            _ => {}
        }
        if let (Some(join), End::Bye(code, words)) = (self.joining(), &end)
            && join.hosts.contains(&device)
            && matches!(code, ByeCode::NotMember | ByeCode::Removed | ByeCode::Stranger | ByeCode::Version)
        {
            // One who does not listen has gone.
            join.refusals.try_send((Host::Device(device), refusal(*code, words))).ok();
        }
        self.follow_up(device, &end, diverged);
        self.tell_board(StatusInput::SessionEnded(target));
    }

    /// What comes after a session that is over.
    fn follow_up(&mut self, device: DeviceId, end: &End, diverged: bool) {
        let target = Target::peer(device);
        let connected = self.setup.connected.contains(&device);
        let awaited = self.attempts.values().any(|(other, _)| *other == target);
        match end {
            // It was closed here, for an attempt: the peer knows of no reason to open another.
            End::Closed if connected && awaited => self.open(device),
            // It was closed there, as the two differ and are to be compared anew: whoever closed it opens the next.
            End::Bye(ByeCode::Closing, _) if connected && diverged => {
                self.expected.insert(device, self.now() + EXPECT_MS);
            }
            _ => {
                self.fail(target, failure_of(end));
                // While the connection stands the session is begun anew, not at once and ever more slowly.
                self.orchestrate(OrchestratorInput::GapSeen(target));
            }
        }
    }

    /// Drops what a peer left that waits for something else.
    fn forget_pending(&self, device: &DeviceId) {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).forget(device);
    }

    fn drop_peer(&self, device: DeviceId, reason: &'static str, turn_away: bool) {
        let net = self.setup.net.clone();
        tokio::spawn(async move { net.disconnect(device, reason, turn_away).await });
    }
}

/// What becomes of a stream that a peer opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Taken,
    OursStays,
    TooMany,
}

/// Judges a stream of a peer, where there are so many sessions; `known` says of one with that peer who opened it and whether the peer was
/// admitted.
const fn judge(ours_is_lower: bool, known: Option<(Role, bool)>, sessions: usize) -> Judged {
    match known {
        // Both were opened at once. One that stands is known to be dead to whoever opens another.
        Some((Role::Initiator, false)) if ours_is_lower => Judged::OursStays,
        None if sessions >= SESSIONS_MAX => Judged::TooMany,
        _ => Judged::Taken,
    }
}

impl Live {
    /// Whether the peer has confirmed to hold what is held here.
    pub(super) fn is_synced(&self) -> bool {
        self.status.is_some_and(|status| status.state == SyncState::Synced)
    }
}

fn refusal(code: ByeCode, words: &str) -> String {
    let what = match code {
        ByeCode::NotMember => "the invite does not hold: it ended, was used up, or was revoked",
        ByeCode::Removed => "this device was removed from the workspace",
        ByeCode::Stranger => "it does not know this workspace",
        ByeCode::Version => "it speaks another version of the protocol: update the older program",
        ByeCode::Closing | ByeCode::Malformed | ByeCode::Overload => "it ended the session",
    };
    if words.is_empty() { what.to_owned() } else { format!("{what} ({words})") }
}

/// What the end of a session means for an attempt that waits for it. Where it was only closed or lost it means nothing to others (see
/// `WorkspaceSync::fail`).
fn failure_of(end: &End) -> SyncFailure {
    match end {
        End::Closed | End::Lost | End::Bye(ByeCode::Closing, _) => SyncFailure::Unreachable,
        End::Bye(ByeCode::Stranger | ByeCode::NotMember | ByeCode::Removed, _) => SyncFailure::TurnedAway,
        End::Bye(ByeCode::Overload, _) => SyncFailure::RateLimited { retry_after_ms: 30_000 },
        End::Bye(ByeCode::Version | ByeCode::Malformed, _) | End::Broke(_) | End::TurnedAway(_) => SyncFailure::ProtocolBroken,
        End::TooSlow => SyncFailure::Timeout { waited_ms: nodespace_protocol::session::GREETING_MS_MAX },
        End::Store => SyncFailure::StoreFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_a_peer_and_no_more_peers_than_there_is_room_for() {
        assert_eq!(judge(true, None, SESSIONS_MAX - 1), Judged::Taken);
        assert_eq!(judge(true, None, SESSIONS_MAX), Judged::TooMany);
        for known in [Some((Role::Responder, false)), Some((Role::Responder, true)), Some((Role::Initiator, true))] {
            assert_eq!(judge(true, known, SESSIONS_MAX), Judged::Taken, "in the place of the one that is there");
        }
        assert_eq!(judge(true, Some((Role::Initiator, false)), 1), Judged::OursStays);
        assert_eq!(judge(false, Some((Role::Initiator, false)), SESSIONS_MAX), Judged::Taken);
    }
}
