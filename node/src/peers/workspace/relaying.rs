//! The relay as one of those a workspace is synced with.
//!
//! One exchange runs at a time, whatever it was started for: the orchestrator's rhythm, a batch of new operations that is due, a person.
//! An exchange brings everything both ways, so whoever asks while one runs is answered by it, or by the next. With several relays the
//! first that can be reached and is trusted is used.

mod directory;
mod exchanging;
mod queue;
mod reconciling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nodespace_protocol::store::StoreError;
use nodespace_protocol::view::{Cursor, LoginCredential};
use tokio::task::AbortHandle;

use super::{Input, WorkspaceSync};
use crate::engine::DeviceReplica;
use crate::model::ServiceError;
use crate::relay_client::{Arrivals, Exchanged, Identity, RelayApi, RelayError, RelayMemory, RelayUrl, own_urls, put_own_urls};
use crate::sync::batch::BatchId;
use crate::sync::status::StatusInput;
use crate::sync::{AttemptId, BatchSync, OpRef, OrchestratorInput, RecoveryInput, Target};

/// What a relay's tasks tell.
#[derive(Debug)]
pub(in super::super) enum RelayNote {
    /// An exchange got on.
    Progress { serial: u64, received: bool },
    /// It is over: which relay, or why none.
    Ended { serial: u64, outcome: Box<Result<(RelayUrl, Exchanged), RelayError>>, distrusted: bool },
    /// The relay's log reaches that far.
    Hint(Cursor),
    /// References to operations, as the queue asked for them.
    Read { read: Result<(Vec<OpRef>, u64), StoreError> },
    /// Relays were added, removed or looked after.
    Changed,
    /// This device is reached elsewhere now.
    Moved,
}

/// An exchange that runs.
#[derive(Debug)]
struct Running {
    serial: u64,
    since: u64,
    task: AbortHandle,
}

/// What is known of relays.
#[derive(Debug)]
pub(super) struct Relaying {
    /// They have to be looked up anew.
    pub(super) stale: bool,
    urls: Vec<RelayUrl>,
    apis: BTreeMap<RelayUrl, Arc<RelayApi>>,
    queue: BatchSync,
    /// Operations of the store up to which the queue has been told.
    queued: u32,
    arrivals: Arrivals,
    /// The batch that an exchange was started for.
    batch: Option<BatchId>,
    running: Option<Running>,
    hints: Option<(RelayUrl, AbortHandle)>,
    /// How far the log of the relay that is listened to has come here, and how far it reaches by what it said last.
    cursor: Cursor,
    hinted: Option<Cursor>,
    directory_due: u64,
    /// The addresses that the directory was told last.
    announced: Vec<String>,
}

impl Relaying {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            stale: true,
            urls: Vec::new(),
            apis: BTreeMap::new(),
            queue: BatchSync::resume(0, 0, seed, 0),
            queued: 0,
            arrivals: Arrivals::default(),
            batch: None,
            running: None,
            hints: None,
            cursor: Cursor::default(),
            hinted: None,
            directory_due: 0,
            announced: Vec::new(),
        }
    }

    pub(super) fn is_configured(&self) -> bool {
        !self.urls.is_empty()
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        if self.stale { Some(0) } else { self.queue.next_timeout().filter(|_| self.is_configured()) }
    }

    /// The relay that is preferred.
    pub(super) fn preferred(&self) -> Option<Arc<RelayApi>> {
        self.apis.get(self.urls.first()?).cloned()
    }

    /// Ends what runs.
    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
        }
        if let Some((_, hints)) = self.hints.take() {
            hints.abort();
        }
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.stop();
    }
}

impl WorkspaceSync {
    /// Looks up which relays there are, and begins anew with them.
    pub(super) async fn look_up_relays(&mut self) -> Result<(), ServiceError> {
        self.relaying.stale = false;
        self.forget_relays();
        if !self.facts.has_genesis && self.join.is_none() {
            // There is nothing to sync yet.
            return Ok(());
        }
        let configured: Vec<RelayUrl> = self.setup.options.relays.iter().filter_map(|url| RelayUrl::parse(url).ok()).collect();
        let look = move |replica: &DeviceReplica| -> Result<_, StoreError> {
            let mut urls = own_urls(replica)?;
            for url in configured {
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
            let memory = urls.first().map(|url| RelayMemory::load(replica, url)).transpose()?;
            Ok((urls, memory.map_or(0, |memory| memory.stored_through)))
        };
        let (urls, stored) = self.setup.workspace.read(look).await??;
        let (now, ops) = (self.now(), self.facts.ops);
        self.relaying.queue = BatchSync::resume(u64::from(stored.min(ops)), u64::from(ops), self.setup.seed.rotate_left(16), now);
        self.relaying.queued = ops;
        self.relaying.batch = None;
        for url in &urls {
            match RelayApi::new(url.clone(), self.relay_identity()) {
                Ok(api) => drop(self.relaying.apis.insert(url.clone(), api)),
                Err(error) => tracing::error!(relay = %url, %error, "the relay cannot be used"),
            }
            if url.is_plain() && !url.as_str().starts_with("http://127.") && !url.as_str().starts_with("http://[::1]") {
                tracing::warn!(relay = %url, "others on the way can read what this relay is told: its URL begins with http://");
            }
        }
        self.relaying.urls = urls;
        if self.relaying.is_configured() {
            self.reachable_relay();
        } else {
            self.setup.carriers.set(&self.setup.net, self.id(), Vec::new()).await;
        }
        Ok(())
    }

    fn forget_relays(&mut self) {
        self.relaying.stop();
        self.relaying.apis.clear();
        self.relaying.directory_due = 0;
        if std::mem::take(&mut self.relaying.urls).is_empty() {
            return;
        }
        self.attempts.retain(|_, (target, _)| *target != Target::Relay);
        self.orchestrate(OrchestratorInput::Forget(Target::Relay));
        self.recovery.handle(RecoveryInput::Forget(Target::Relay), self.now());
        self.tell_board(StatusInput::Forget(Target::Relay));
        self.finish_waiting(Target::Relay);
    }

    fn reachable_relay(&mut self) {
        self.tell_board(StatusInput::Reachable(Target::Relay));
        self.tell_pressure();
        self.orchestrate(OrchestratorInput::Reachable(Target::Relay));
        self.expect_of_waiters(Target::Relay);
    }

    fn relay_identity(&self) -> Identity {
        let credential = match &self.join {
            Some(join) => LoginCredential::from(&join.joining.credential),
            None => LoginCredential::Device { certificate: (&self.setup.device.certificate()).into() },
        };
        Identity { key: self.setup.device.key().clone(), workspace: self.id(), credential }
    }

    /// Keeps the relays of a ticket: the workspace is synced by way of them from now on.
    pub(super) async fn keep_relays_of_ticket(&self, relays: &[String]) -> Result<(), ServiceError> {
        let named: Vec<RelayUrl> = relays.iter().filter_map(|url| RelayUrl::parse(url).ok()).collect();
        let keep = move |replica: &DeviceReplica| -> Result<(), StoreError> {
            let mut urls = own_urls(replica)?;
            let before = urls.len();
            urls.extend(named.into_iter().filter(|url| !urls.contains(url)).collect::<BTreeSet<_>>());
            urls.truncate(crate::relay_client::RELAYS_MAX);
            if urls.len() > before { put_own_urls(replica, &urls) } else { Ok(()) }
        };
        Ok(self.setup.workspace.read(keep).await??)
    }

    pub(super) async fn on_relay(&mut self, note: RelayNote) -> Result<(), ServiceError> {
        match note {
            RelayNote::Progress { serial, received } => {
                if self.relaying.running.as_ref().is_some_and(|running| running.serial == serial) {
                    for attempt in self.relay_attempts().collect::<Vec<_>>() {
                        self.orchestrate(if received {
                            OrchestratorInput::Received(attempt)
                        } else {
                            OrchestratorInput::Progress(attempt)
                        });
                    }
                    if received {
                        self.recovery.handle(RecoveryInput::Received(Target::Relay), self.now());
                    }
                }
            }
            RelayNote::Ended { serial, outcome, distrusted } => self.on_exchanged(serial, *outcome, distrusted).await?,
            RelayNote::Hint(cursor) => {
                self.relaying.hinted = Some(cursor);
                self.follow_hint();
            }
            RelayNote::Read { read } => {
                let now = self.now();
                match read {
                    Ok((references, through)) => {
                        // One that no longer fits is asked for again.
                        if let Err(error) = self.relaying.queue.refill(&references, through, now) {
                            tracing::debug!(%error, "references were not taken");
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the log cannot be read");
                        self.relaying.queue.refill_failed(now);
                    }
                }
            }
            RelayNote::Changed => self.relaying.stale = true,
            RelayNote::Moved => self.tell_directory(),
        }
        Ok(())
    }

    /// What the relay said to have is fetched, unless an exchange is at it: then it is looked at again when that has ended.
    fn follow_hint(&mut self) {
        if self.relaying.running.is_some() {
            return;
        }
        let known = self.relaying.cursor;
        let is_news = |hinted: &Cursor| hinted.epoch != known.epoch || hinted.version > known.version;
        if self.relaying.hinted.take().as_ref().is_some_and(is_news) {
            self.orchestrate(OrchestratorInput::GapSeen(Target::Relay));
        }
    }

    fn relay_attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.attempts.iter().filter(|(_, (target, _))| *target == Target::Relay).map(|(attempt, _)| *attempt)
    }

    /// An exchange stalled, or the relay is gone.
    pub(super) fn abort_relay(&mut self) {
        if let Some(running) = self.relaying.running.take() {
            running.task.abort();
        }
        let now = self.now();
        if let Some(batch) = self.relaying.batch.take() {
            self.relaying.queue.fail(batch, None, now);
        }
    }

    /// What is remembered of the relay is made anew.
    pub(super) fn rebuild_relay(&self) {
        let (workspace, inbox, urls) = (self.setup.workspace.clone(), self.inbox.clone(), self.relaying.urls.clone());
        tokio::spawn(async move {
            let rebuild = move |replica: &DeviceReplica| -> Result<(), StoreError> {
                for url in &urls {
                    let mut memory = RelayMemory::load(replica, url)?;
                    memory.rebuild();
                    memory.save(replica, url)?;
                }
                Ok(())
            };
            match workspace.read(rebuild).await {
                Ok(Ok(())) => inbox.send(Input::Relay(RelayNote::Changed)).await,
                Ok(Err(error)) => tracing::error!(%error, "what is remembered of the relay is not made anew"),
                Err(_) => {}
            }
        });
    }
}
