//! What goes over one session, counted once.
//!
//! It is counted when the peer has confirmed to hold what is held here ([`Account::take`]); what is left then is counted when nobody has the
//! account any more: when the session is over, and what its line had brought was taken. So a transfer that was cut counts as far as it
//! came, however it ended and whoever noticed first.

use std::sync::{Arc, Mutex, PoisonError};

use super::traffic::Bytes;
use crate::sync::{SyncCounts, SyncMonitor};

/// The account of a session; shared by it and by whoever it is kept for.
#[derive(Debug)]
pub(super) struct Account {
    monitor: SyncMonitor,
    bytes: Arc<Bytes>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Operations sent and received so far.
    operations: (u64, u64),
    /// What of everything was counted.
    counted: SyncCounts,
}

impl Account {
    /// Of a session that begins, over which these bytes go and no others.
    pub(super) fn new(monitor: SyncMonitor, bytes: Arc<Bytes>) -> Self {
        Self { monitor, bytes, tally: Mutex::default() }
    }

    /// Where bytes are noted.
    pub(super) fn bytes(&self) -> Arc<Bytes> {
        Arc::clone(&self.bytes)
    }

    /// So many operations were sent and received so far.
    pub(super) fn note(&self, sent: u64, received: u64) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).operations = (sent, received);
    }

    /// What went over the session since this was asked last: to be counted by whoever asks.
    #[must_use]
    pub(super) fn take(&self) -> SyncCounts {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let ((sent, received), (sent_bytes, received_bytes)) = (tally.operations, self.bytes.both());
        let all = SyncCounts { sent, received, conflicts: 0, sent_bytes, received_bytes };
        let before = std::mem::replace(&mut tally.counted, all);
        SyncCounts {
            sent: sent.saturating_sub(before.sent),
            received: received.saturating_sub(before.received),
            conflicts: 0,
            sent_bytes: sent_bytes.saturating_sub(before.sent_bytes),
            received_bytes: received_bytes.saturating_sub(before.received_bytes),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.monitor.record_live(&self.take());
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::ids::DeviceId;
    use nodespace_protocol::view::SyncTally;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::peers::traffic::Traffic;

    const PEER: DeviceId = DeviceId([1; 32]);

    fn monitor() -> SyncMonitor {
        SyncMonitor::new(&mut Registry::default(), SyncTally::default())
    }

    /// Operations and bytes that were counted.
    fn counted(monitor: &SyncMonitor) -> (u64, u64) {
        let metrics = monitor.metrics();
        (metrics.operations_synced, metrics.bandwidth_used)
    }

    #[test]
    fn what_nobody_took_is_counted_when_the_last_holder_has_gone() {
        let (monitor, traffic) = (monitor(), Traffic::default());
        let account = Arc::new(Account::new(monitor.clone(), traffic.of_session(PEER)));
        account.bytes().received(1_000);
        account.note(2, 30);
        let confirmed = SyncCounts { sent: 2, received: 30, received_bytes: 1_000, ..SyncCounts::default() };
        assert_eq!(account.take(), confirmed);
        monitor.record_live(&confirmed);
        // The next transfer is cut; the session goes on to take what the line had brought.
        let session = Arc::clone(&account);
        account.bytes().received(500);
        account.note(2, 42);
        drop(account);
        assert_eq!(counted(&monitor), (32, 1_000));
        session.bytes().received(50);
        session.note(2, 45);
        drop(session);
        assert_eq!(counted(&monitor), (47, 1_550), "each once");
    }

    #[test]
    fn sessions_with_one_device_are_counted_apart_and_shown_together() {
        let (monitor, traffic) = (monitor(), Traffic::default());
        let [one, other] = [(); 2].map(|()| Account::new(monitor.clone(), traffic.of_session(PEER)));
        one.bytes().sent(10);
        other.bytes().sent(7);
        assert_eq!((one.take().sent_bytes, other.take().sent_bytes), (10, 7));
        assert_eq!(traffic.of(PEER).both(), (17, 0));
    }
}
