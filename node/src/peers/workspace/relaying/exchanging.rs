//! Exchanges with the relay: how they are begun, and what their ends mean.

use std::sync::Arc;

use super::super::{Input, WorkspaceSync};
use super::{RelayNote, Running};
use crate::model::ServiceError;
use crate::peers::host::Host;
use crate::relay_client::{Exchange, Exchanged, RelayApi, RelayError, RelayUrl};
use crate::sync::monitor::BatchResult;
use crate::sync::orchestrator::SyncResult;
use crate::sync::recovery::{Intervention, Subject};
use crate::sync::status::StatusInput;
use crate::sync::target::TargetKind;
use crate::sync::{AttemptId, OrchestratorInput, RecoveryInput, SyncCounts, SyncFailure, Target};

impl WorkspaceSync {
    /// An attempt is to be made.
    pub(in super::super) fn attempt_relay(&mut self, attempt: AttemptId) {
        self.attempts.insert(attempt, (Target::Relay, self.now()));
        self.exchange();
    }

    /// Starts an exchange unless one runs.
    pub(super) fn exchange(&mut self) {
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
                let progress = move |so_far: SyncCounts| {
                    let received = so_far.received > 0;
                    // Where there is no room somebody else keeps the task awake.
                    told.try_send(Input::Relay(RelayNote::Progress { serial, received }));
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

    pub(super) async fn on_exchanged(
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

    /// A newcomer whom the relay turns away hears why.
    fn tell_newcomer(&self, error: &RelayError) {
        if let Some(join) = self.join.as_ref().filter(|_| error.is_final_for_newcomer()) {
            for url in &join.joining.relays {
                // One who does not listen has gone.
                join.refusals.try_send((Host::Relay(url.clone()), error.to_string())).ok();
            }
        }
    }
}
