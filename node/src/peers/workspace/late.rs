//! Embeddings whose bytes did not come with their operations: gossip leaves them behind, and so does whoever had not got them itself. While a
//! peer is synced with, it is asked for what is missing here ([`rounds`] says when); and whenever something came late here, from wherever, all
//! who are synced with are told, so that they ask in turn. A relay is asked besides, by its exchanges.

mod rounds;

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::store::StoreError;

use self::rounds::{Asked, Noted, Rounds};
use super::super::attachments::{self, ANSWER_TIME};
use super::super::cbor;
use super::{Input, WorkspaceSync};
use crate::engine::{DeviceReplica, Lacking, Stretch, Workspace};
use crate::model::ServiceError;
use crate::net::{ATTACHMENTS_PROTOCOL, NetHandle};

/// The local setting that holds what was found to be missing.
const KEY: &str = "peers/lacking";
/// How long what came late is gathered before others are told, in milliseconds.
const ANNOUNCE_MS: u64 = 1_000;
/// How long after it was kept what is missing is not kept again, in milliseconds: writers wait for that. What was not kept is found again.
const KEEP_MS: u64 = 5_000;
/// Embeddings that are looked for in one read, which holds up writers: they may be anywhere in the journal.
const LOOKED_UP_MAX: usize = 64;

/// What tasks and peers tell of it.
#[derive(Debug)]
pub(in super::super) enum LateNote {
    /// Operations were looked through.
    Searched(Result<Stretch, StoreError>),
    /// A peer was asked; `None` when it did not answer.
    Asked(DeviceId, Option<Asked>),
    /// Attachments came late at a peer.
    Announced(DeviceId),
}

/// What is missing here, and what is being done about it.
#[derive(Debug, Default)]
pub(super) struct Late {
    rounds: Rounds,
    /// A search or a question is under way: one at a time.
    busy: bool,
    /// When others are told that something came late here.
    announce: Option<u64>,
    /// Before this nothing is kept of what is missing.
    keep_due: u64,
}

impl WorkspaceSync {
    /// Goes on with what an earlier run has found.
    pub(super) async fn resume_late(&mut self) -> Result<(), ServiceError> {
        let kept = self.setup.workspace.read(|replica| replica.store().value(KEY)).await?;
        let kept = kept.inspect_err(|error| tracing::error!(workspace = %self.id().short(), %error, "what is missing is found again"));
        // What cannot be read is found again.
        let noted = kept.ok().flatten().and_then(|bytes| cbor::decode::<Noted>(&bytes)).unwrap_or_default();
        self.late.rounds = Rounds::resume(noted);
        Ok(())
    }

    /// Attachments came late here.
    pub(super) fn on_late_news(&mut self) {
        let at = self.now() + ANNOUNCE_MS;
        self.late.announce.get_or_insert(at);
    }

    /// Looks for what is missing, asks for it, and tells of what came.
    pub(super) fn act_on_late(&mut self) {
        let (now, peers) = (self.now(), self.who_may_be_asked());
        if self.late.announce.take_if(|at| *at <= now).is_some() {
            peers.iter().for_each(|device| self.announce(*device));
        }
        if self.late.busy || peers.is_empty() {
            return;
        }
        if let Some((within, room)) = self.late.rounds.search(self.facts.ops, now) {
            self.late.busy = true;
            let (workspace, inbox) = (self.setup.workspace.clone(), self.inbox.clone());
            tokio::spawn(async move {
                // A writer that has stopped ends this workspace's sync as well.
                let Ok(searched) = workspace.read(move |replica| Lacking::search(replica, within, room)).await else { return };
                inbox.send(Input::Late(LateNote::Searched(searched))).await;
            });
        } else if let Some(device) = self.late.rounds.whom(&peers, now) {
            self.late.busy = true;
            let (workspace, net, inbox, places) =
                (self.setup.workspace.clone(), self.setup.net.clone(), self.inbox.clone(), self.late.rounds.places());
            tokio::spawn(async move {
                let asked = tokio::time::timeout(ANSWER_TIME, ask(&workspace, &net, device, places)).await;
                inbox.send(Input::Late(LateNote::Asked(device, asked.ok().flatten()))).await;
            });
        }
    }

    pub(super) fn late_timeout(&self) -> Option<u64> {
        let has_peers = !self.who_may_be_asked().is_empty();
        let rounds = self.late.rounds.next_timeout(self.facts.ops, has_peers).filter(|_| !self.late.busy);
        rounds.into_iter().chain(self.late.announce).min()
    }

    pub(super) fn on_late(&mut self, note: LateNote) {
        match note {
            LateNote::Searched(Ok(stretch)) => {
                let (unsettled, now) = (self.facts.waiting > 0, self.now());
                self.late.busy = false;
                self.late.rounds.found(stretch, unsettled, now);
            }
            // It stays busy: what cannot be read now is not tried over and over. Whatever else reads it says what is wrong.
            LateNote::Searched(Err(error)) => {
                return tracing::error!(workspace = %self.id().short(), %error, "embeddings that are missing are not looked for");
            }
            LateNote::Asked(device, answer) => {
                self.late.busy = false;
                self.late.rounds.answered(device, answer);
            }
            LateNote::Announced(device) => return self.late.rounds.announced(device),
        }
        self.keep_late_notes();
    }

    /// Who holds the same operations, and so may have what is missing here; once this device is a member, as only members are answered.
    fn who_may_be_asked(&self) -> BTreeSet<DeviceId> {
        let members = &self.facts.members;
        if !members.contains(&self.setup.own) {
            return BTreeSet::new();
        }
        self.sessions.iter().filter(|(device, live)| live.is_synced() && members.contains(*device)).map(|(device, _)| *device).collect()
    }

    fn announce(&self, device: DeviceId) {
        let (workspace, net) = (self.id(), self.setup.net.clone());
        tokio::spawn(async move {
            let told = async {
                let stream = net.open(device, ATTACHMENTS_PROTOCOL).await.ok()?;
                attachments::ask(stream, workspace, &[]).await
            };
            // Who does not hear of it asks when its time comes.
            drop(tokio::time::timeout(ANSWER_TIME, told).await);
        });
    }

    fn keep_late_notes(&mut self) {
        let now = self.now();
        if now < self.late.keep_due {
            return;
        }
        let Some(noted) = self.late.rounds.take_unkept() else { return };
        self.late.keep_due = now + KEEP_MS;
        let workspace = self.setup.workspace.clone();
        tokio::spawn(async move {
            let keep = move |replica: &DeviceReplica| replica.store().put_value(KEY, &cbor::encode(&noted));
            if let Ok(Err(error)) = workspace.read(keep).await {
                tracing::error!(%error, "which embeddings are missing is not kept; it is found again after a restart");
            }
        });
    }
}

/// Asks a peer for all that is noted and still missing, and keeps what it gives.
async fn ask(workspace: &Workspace, net: &NetHandle, device: DeviceId, places: Vec<u32>) -> Option<Asked> {
    let mut wanted = BTreeMap::new();
    for places in places.chunks(LOOKED_UP_MAX) {
        let places = places.to_vec();
        wanted.extend(workspace.read(move |replica| Lacking::still(replica, &places)).await.ok()?.ok()?);
    }
    if wanted.is_empty() {
        return Some(Asked::default());
    }
    let opened = net.open(device, ATTACHMENTS_PROTOCOL).await;
    let stream = opened.inspect_err(|error| tracing::debug!(%error, "nobody is asked for embeddings")).ok()?;
    let ops: Vec<_> = wanted.values().map(|lacking| lacking.op).collect();
    let mut given = attachments::ask(stream, workspace.id(), &ops).await?;
    let (mut came, mut left) = (Vec::new(), Vec::new());
    for (at, (place, lacking)) in wanted.into_iter().enumerate() {
        match given.attachments.remove(&at).filter(|bytes| lacking.is_met_by(bytes)) {
            Some(bytes) => came.push((lacking, bytes)),
            None => left.push(place),
        }
    }
    let asked = Asked { given: came.len(), lacking: left, more: given.more };
    net.metrics().asked_for_late(asked.given, asked.lacking.len());
    if !came.is_empty() {
        tracing::info!(device = %device.short(), count = came.len(), "embeddings came whose operations were here already");
        workspace.keep_late(came).await.ok()?;
    }
    Some(asked)
}
