//! What the relay has yet to be given: own operations, and those that peers brought.

use nodespace_protocol::store::{OpIndex, Store as _, StoreError};

use super::super::{Input, WorkspaceSync};
use super::RelayNote;
use crate::engine::DeviceReplica;
use crate::model::ServiceError;
use crate::sync::status::StatusInput;
use crate::sync::{BatchOutput, OpRef};

/// References that are read from the store at once.
const READ_MAX: u32 = 1_024;

impl WorkspaceSync {
    /// Does what the queue asks for.
    pub(in super::super) fn act_on_queue(&mut self) {
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

    pub(super) fn tell_pressure(&mut self) {
        let pressure = self.relaying.queue.pressure();
        self.setup.monitor.set_pressure(self.id(), &pressure);
        self.tell_board(StatusInput::RelayQueue(pressure));
    }

    pub(in super::super) fn on_queue_timeout(&mut self, now: u64) {
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
    pub(in super::super) async fn queue_news(&mut self) -> Result<(), ServiceError> {
        let (from, end) = (self.relaying.queued, self.facts.ops);
        self.relaying.queued = end;
        let arrived = self.relaying.arrivals.take_before(end);
        if !self.relaying.is_configured() || from >= end {
            return Ok(());
        }
        let mut at = from;
        // Who belongs is not left waiting for a batch: a ticket is good at the relay once the relay has its invite.
        let mut is_urgent = self.joining().is_some();
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
}

/// Whether an operation is on the workspace itself, as invites, joins and removals are.
fn names_workspace(replica: &DeviceReplica, mut range: std::ops::Range<u32>) -> Result<bool, StoreError> {
    range.try_fold(false, |found, index| Ok(found || replica.store().op(OpIndex(index))?.header.node.is_none()))
}

fn references(replica: &DeviceReplica, range: std::ops::Range<u32>) -> Result<Vec<OpRef>, StoreError> {
    let reference = |index: u32| Ok(OpRef { position: u64::from(index) + 1, hash: replica.store().op(OpIndex(index))?.hash });
    range.map(reference).collect()
}
