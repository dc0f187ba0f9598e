//! The relay as one of those a workspace is synced with.
//!
//! One exchange runs at a time, whatever it was started for: the orchestrator's rhythm, a batch of new operations that is due, a person.
//! An exchange brings everything both ways, so whoever asks while one runs is answered by it, or by the next. With several relays the
//! first that can be reached and is trusted is used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{OpIndex, Store as _, StoreError};
use nodespace_protocol::view::{Cursor, LoginCredential};
use tokio::task::AbortHandle;

use super::super::host::Host;
use super::{Input, WorkspaceSync};
use crate::engine::DeviceReplica;
use crate::model::ServiceError;
use crate::net::Multiaddr;
use crate::net::address::Source;
use crate::relay_client::{
    Arrivals, Exchange, Exchanged, Identity, RelayApi, RelayError, RelayMemory, RelayUrl, listen, own_urls, put_own_urls,
};
use crate::sync::batch::BatchId;
use crate::sync::monitor::BatchResult;
use crate::sync::orchestrator::SyncResult;
use crate::sync::recovery::{Intervention, Subject};
use crate::sync::status::StatusInput;
use crate::sync::target::TargetKind;
use crate::sync::{AttemptId, BatchOutput, BatchSync, OpRef, OrchestratorInput, RecoveryInput, SyncCounts, SyncFailure, Target};

/// How often the directory of addresses is asked and told, in milliseconds.
const DIRECTORY_MS: u64 = 240_000;
/// For how long this device's addresses hold there, in seconds: longer than until they are told again.
const DIRECTORY_S: u32 = 600;
/// Addresses that are told; a relay takes as many.
const ADDRESSES_MAX: usize = 16;
/// References that are read from the store at once.
const READ_MAX: u32 = 1_024;

/// What a relay's tasks tell.
#[derive(Debug)]
pub(in super::super) enum RelayNote {
    /// An exchange got on.
    Progress { serial: u64 },
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

    /// An attempt is to be made.
    pub(super) fn attempt_relay(&mut self, attempt: AttemptId) {
        self.attempts.insert(attempt, (Target::Relay, self.now()));
        self.exchange();
    }

    /// Starts an exchange unless one runs.
    fn exchange(&mut self) {
        if self.relaying.running.is_some() {
            return;
        }
        self.serial += 1;
        let serial = self.serial;
        let apis: Vec<Arc<RelayApi>> = self.relaying.urls.iter().filter_map(|url| self.relaying.apis.get(url)).cloned().collect();
        let (workspace, own, clock) = (self.setup.workspace.clone(), self.setup.own, self.setup.clock);
        let (arrivals, inbox) = (self.relaying.arrivals.clone(), self.inbox.clone());
        let task = tokio::spawn(async move {
            let (mut first, mut distrusted) = (None, false);
            let mut done = None;
            for api in apis {
                let url = api.url().clone();
                let told = inbox.clone();
                let progress = move |_: SyncCounts| {
                    // Where there is no room somebody else keeps the task awake.
                    told.try_send(Input::Relay(RelayNote::Progress { serial }));
                };
                let exchange = Exchange { workspace: workspace.clone(), api, own, clock, arrivals: arrivals.clone(), progress };
                match exchange.run().await {
                    Ok(exchanged) => {
                        done = Some((url, exchanged));
                        break;
                    }
                    Err(error) => {
                        let causes = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                        tracing::info!(relay = %url, %error, causes, "the relay was not synced with");
                        distrusted |= error.failure() == SyncFailure::RelayNotTrusted;
                        let is_last = !error.is_of_this_relay();
                        first.get_or_insert(error);
                        if is_last {
                            break;
                        }
                    }
                }
            }
            let outcome = Box::new(done.ok_or_else(|| first.unwrap_or(RelayError::None)));
            inbox.send(Input::Relay(RelayNote::Ended { serial, outcome, distrusted })).await;
        });
        self.relaying.running = Some(Running { serial, since: self.now(), task: task.abort_handle() });
    }

    /// Does what the queue asks for.
    pub(super) fn act_on_queue(&mut self) {
        if !self.relaying.is_configured() {
            return;
        }
        while let Some(output) = self.relaying.queue.poll_output() {
            match output {
                BatchOutput::Send { batch, .. } => {
                    self.relaying.batch = Some(batch);
                    self.exchange();
                }
                // The exchange goes on while it gets on; the batch's operations are sent by it, or again.
                BatchOutput::Abort(batch) => drop(self.relaying.batch.take_if(|running| *running == batch)),
                // How far the relay holds everything is kept with what else is remembered of it.
                BatchOutput::Advance { .. } => {}
                BatchOutput::Read { after, limit } => self.read_references(after, limit),
            }
        }
        self.tell_pressure();
    }

    fn tell_pressure(&mut self) {
        let pressure = self.relaying.queue.pressure();
        self.setup.monitor.set_pressure(&pressure);
        self.tell_board(StatusInput::RelayQueue(pressure));
    }

    pub(super) fn on_queue_timeout(&mut self, now: u64) {
        if self.relaying.is_configured() {
            self.relaying.queue.handle_timeout(now);
        }
    }

    fn read_references(&self, after: u64, limit: usize) {
        let (workspace, inbox, end) = (self.setup.workspace.clone(), self.inbox.clone(), self.facts.ops);
        tokio::spawn(async move {
            let from = u32::try_from(after).unwrap_or(u32::MAX);
            let through = end.min(from.saturating_add(u32::try_from(limit).unwrap_or(u32::MAX)));
            let Ok(read) = workspace.read(move |replica| references(replica, from..through)).await else { return };
            let read = read.map(|references| (references, u64::from(through)));
            inbox.send(Input::Relay(RelayNote::Read { read })).await;
        });
    }

    /// Queues what was committed since the queue was told last and did not come from the relay.
    pub(super) async fn queue_news(&mut self) -> Result<(), ServiceError> {
        let (from, end) = (self.relaying.queued, self.facts.ops);
        self.relaying.queued = end;
        let arrived = self.relaying.arrivals.take_before(end);
        if !self.relaying.is_configured() || from >= end {
            return Ok(());
        }
        let mut at = from;
        // Who belongs is not left waiting for a batch: a ticket is good at the relay once the relay has its invite.
        let mut is_urgent = self.join.is_some();
        while at < end {
            let through = end.min(at.saturating_add(READ_MAX));
            let look = move |replica: &DeviceReplica| -> Result<_, StoreError> {
                Ok((references(replica, at..through)?, names_workspace(replica, at..through)?))
            };
            let (read, names_workspace) = self.setup.workspace.read(look).await??;
            is_urgent |= names_workspace;
            let now = self.now();
            let is_arrived = |reference: &OpRef| arrived.iter().any(|range| range.contains(&(reference.position as u32 - 1)));
            for reference in read.into_iter().filter(|reference| !is_arrived(reference)) {
                // What there is no room for is read from the store later.
                let _queued = self.relaying.queue.queue_operation(reference, now);
            }
            at = through;
        }
        let now = self.now();
        self.relaying.queue.pass(u64::from(end), now);
        if is_urgent {
            self.relaying.queue.flush(now);
        }
        Ok(())
    }

    pub(super) async fn on_relay(&mut self, note: RelayNote) -> Result<(), ServiceError> {
        match note {
            RelayNote::Progress { serial } => {
                if self.relaying.running.as_ref().is_some_and(|running| running.serial == serial) {
                    for attempt in self.relay_attempts().collect::<Vec<_>>() {
                        self.orchestrate(OrchestratorInput::Progress(attempt));
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

    async fn on_exchanged(
        &mut self,
        serial: u64,
        outcome: Result<(RelayUrl, Exchanged), RelayError>,
        distrusted: bool,
    ) -> Result<(), ServiceError> {
        let Some(running) = self.relaying.running.take_if(|running| running.serial == serial) else { return Ok(()) };
        let took_ms = self.now().saturating_sub(running.since);
        let batch = self.relaying.batch.take();
        match outcome {
            Ok((url, exchanged)) => {
                if batch.is_some() {
                    let sent = usize::try_from(exchanged.counts.sent).unwrap_or(usize::MAX);
                    self.setup.monitor.record_batch(sent, took_ms, BatchResult::Stored);
                }
                self.exchanged(&url, exchanged).await?;
                if let Some(batch) = batch.filter(|batch| self.relaying.queue.is_under_way(*batch)) {
                    // It was written while the exchange ended.
                    self.relaying.batch = Some(batch);
                    self.exchange();
                }
            }
            Err(error) => {
                let failure = error.failure();
                let now = self.now();
                if let Some(batch) = batch {
                    self.setup.monitor.record_batch(0, took_ms, BatchResult::Failed);
                    self.relaying.queue.fail(batch, failure.retry_after_ms(), now);
                }
                self.tell_newcomer(&error);
                self.fail(Target::Relay, failure);
            }
        }
        if distrusted {
            let subject = Subject::Target { target: Target::Relay };
            let case = Intervention { subject, attempts: 1, failure: SyncFailure::RelayNotTrusted };
            self.tell_board(StatusInput::HelpWanted(case));
        }
        Ok(())
    }

    /// Both hold the same.
    async fn exchanged(&mut self, url: &RelayUrl, exchanged: Exchanged) -> Result<(), ServiceError> {
        self.refresh().await?;
        self.queue_news().await?;
        let Some(digest) = exchanged.digest else {
            // A newcomer has fetched what there is; it has no part in it yet.
            self.finish_relay(SyncCounts { sent: 0, ..exchanged.counts });
            return Ok(());
        };
        self.relaying.queue.settle(u64::from(exchanged.stored_through), self.now());
        self.tell_board(StatusInput::Confirmed { target: Target::Relay, digest, wall_ms: self.setup.clock.now_ms() });
        let unsettled = self.unsettled().await?;
        if !unsettled.is_empty() {
            self.fail(Target::Relay, SyncFailure::ConflictResolutionFailed { nodes: unsettled });
            return Ok(());
        }
        self.finish_relay(exchanged.counts);
        self.relaying.cursor = exchanged.cursor;
        self.follow_relay(url);
        self.follow_hint();
        Ok(())
    }

    fn finish_relay(&mut self, counts: SyncCounts) {
        let finished: Vec<AttemptId> = self.relay_attempts().collect();
        for attempt in &finished {
            let Some((_, since)) = self.attempts.remove(attempt) else { continue };
            let result = SyncResult::Success(counts);
            self.setup.monitor.record_sync(TargetKind::Relay, &result, self.now().saturating_sub(since));
            self.orchestrate(OrchestratorInput::Finished { attempt: *attempt, result });
        }
        if finished.is_empty() {
            self.setup.monitor.record_live(&counts);
            self.orchestrate(OrchestratorInput::Synced(Target::Relay));
        }
        let now = self.now();
        self.recovery.handle(RecoveryInput::Succeeded(Target::Relay), now);
        self.finish_waiting(Target::Relay);
    }

    /// Listens to the relay, and exchanges addresses by way of it.
    fn follow_relay(&mut self, url: &RelayUrl) {
        let Some(api) = self.relaying.apis.get(url).cloned() else { return };
        if self.relaying.hints.as_ref().is_none_or(|(other, task)| other != url || task.is_finished()) {
            if let Some((_, task)) = self.relaying.hints.take() {
                task.abort();
            }
            let (inbox, clock, seed) = (self.inbox.clone(), self.setup.clock, self.setup.seed.rotate_left(8));
            let listening =
                listen(Arc::clone(&api), clock, seed, async move |cursor| inbox.send(Input::Relay(RelayNote::Hint(cursor))).await);
            self.relaying.hints = Some((url.clone(), tokio::spawn(listening).abort_handle()));
        }
        self.tell_directory();
    }

    /// Exchanges addresses with the relay that is used, when it is time or this device is reached elsewhere than the directory says: others
    /// find it by way of a circuit relay only once they are told.
    fn tell_directory(&mut self) {
        let Some(api) = self.relaying.hints.as_ref().and_then(|(url, _)| self.relaying.apis.get(url)).cloned() else { return };
        let (now, addresses) = (self.now(), self.setup.device.ticket_addresses().addresses);
        let is_due = now >= self.relaying.directory_due || addresses != self.relaying.announced;
        if is_due && !self.setup.explicit_only {
            self.relaying.directory_due = now + DIRECTORY_MS;
            self.relaying.announced.clone_from(&addresses);
            self.exchange_directory(api, addresses);
        }
    }

    /// Tells the relay's directory where this device is, and learns where the others are.
    fn exchange_directory(&self, api: Arc<RelayApi>, addresses: Vec<String>) {
        let (net, carriers, members) = (self.setup.net.clone(), self.setup.carriers.clone(), self.facts.members.clone());
        let (own, workspace) = (self.setup.own, self.id());
        tokio::spawn(async move {
            let addresses: Vec<String> = addresses.into_iter().take(ADDRESSES_MAX).collect();
            let exchanged = async {
                api.announce(&addresses, DIRECTORY_S).await?;
                api.directory().await
            };
            let directory = match exchanged.await {
                Ok(directory) => directory,
                Err(error) => return tracing::debug!(relay = %api.url(), %error, "addresses were not exchanged"),
            };
            let parse = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect::<Vec<Multiaddr>>();
            for entry in directory.members.into_iter().filter(|entry| entry.device_id != own && members.contains(&entry.device_id)) {
                let addresses = parse(entry.addresses.into_iter().take(ADDRESSES_MAX).collect());
                net.learn(entry.device_id, addresses, Source::Member, false).await;
            }
            carriers.set(&net, workspace, parse(directory.circuit)).await;
        });
    }

    /// A newcomer whom the relay turns away hears why.
    fn tell_newcomer(&self, error: &RelayError) {
        if let Some(join) = self.join.as_ref().filter(|_| error.is_final_for_newcomer()) {
            for url in &join.joining.relays {
                // One who does not listen has gone.
                join.refusals.try_send((Host::Relay(url.clone()), error.to_string())).ok();
            }
        }
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

    /// Compares a node with the relay's canonical version.
    pub(super) fn reconcile_with_relay(&self, api: Arc<RelayApi>, node: NodeId) {
        let (workspace, inbox) = (self.setup.workspace.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let outcome = compare(&workspace, &api, &node).await;
            inbox.send(Input::Node { node, outcome }).await;
        });
    }
}

/// Another history is not settled yet; the same history with another outcome is a fault that no exchange can heal.
async fn compare(workspace: &crate::engine::Workspace, api: &RelayApi, node: &NodeId) -> Result<(), SyncFailure> {
    let theirs = api.fetch_canonical_version(node).await.map_err(|error| error.failure())?;
    let asked = node.clone();
    let ours = workspace.read(move |replica| replica.canonical(&asked)).await.map_err(|_| SyncFailure::StoreFailed)?;
    let ours = ours.map_err(|_| SyncFailure::StoreFailed)?;
    // As theirs came: numbers may differ in their last digits before they were written down.
    let ours = ours.map(|ours| serde_json::to_vec(&ours).and_then(|text| serde_json::from_slice(&text))).transpose();
    let ours: Option<nodespace_protocol::view::CanonicalNode> = ours.map_err(|_| SyncFailure::StoreFailed)?;
    let heads = |node: &Option<nodespace_protocol::view::CanonicalNode>| node.as_ref().map(|node| node.heads.clone());
    match (ours == theirs, heads(&ours) == heads(&theirs)) {
        (true, _) => Ok(()),
        (false, true) => Err(SyncFailure::DataCorruption { node: Some(node.clone()) }),
        (false, false) => Err(SyncFailure::ConflictResolutionFailed { nodes: [node.clone()].into() }),
    }
}

/// Whether an operation is on the workspace itself, as invites, joins and removals are.
fn names_workspace(replica: &DeviceReplica, mut range: std::ops::Range<u32>) -> Result<bool, StoreError> {
    range.try_fold(false, |found, index| Ok(found || replica.store().op(OpIndex(index))?.header.node.is_none()))
}

fn references(replica: &DeviceReplica, range: std::ops::Range<u32>) -> Result<Vec<OpRef>, StoreError> {
    let reference = |index: u32| Ok(OpRef { position: u64::from(index) + 1, hash: replica.store().op(OpIndex(index))?.hash });
    range.map(reference).collect()
}
