//! How far a session has come.

use nodespace_protocol::session::{SyncState, SyncStatus};

/// The furthest that a session has come: by steps of which each is taken once, and by operations that went over it. Neither grows by what a
/// peer announces or claims, nor by its going back and forth. What is sent grows only as far as it is acknowledged, but for a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    step: u8,
    sent_ops: u64,
    received_ops: u64,
}

impl Reach {
    /// Whether this is further than it ever was.
    pub(super) fn grows(&mut self, status: &SyncStatus) -> bool {
        let step = match status.state {
            SyncState::Greeting => 0,
            SyncState::Comparing => 1,
            SyncState::Transferring | SyncState::Behind => 2,
            SyncState::Synced | SyncState::Ended => 3,
        };
        let before = *self;
        *self = Self {
            step: before.step.max(step),
            sent_ops: before.sent_ops.max(status.sent_ops),
            received_ops: before.received_ops.max(status.received_ops),
        };
        (self.step, self.sent_ops, self.received_ops) != (before.step, before.sent_ops, before.received_ops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: SyncStatus =
        SyncStatus { state: SyncState::Greeting, send_ops: 0, sent_ops: 0, receive_ops: 0, received_ops: 0, waiting: 0, refusals: 0 };

    #[test]
    fn it_grows_by_steps_and_by_operations() {
        let mut reach = Reach::default();
        assert!(!reach.grows(&GREETING), "nothing has happened");
        for state in [SyncState::Comparing, SyncState::Transferring, SyncState::Synced] {
            assert!(reach.grows(&SyncStatus { state, ..GREETING }), "{state:?}");
        }
        assert!(reach.grows(&SyncStatus { received_ops: 5, ..GREETING }));
        assert!(reach.grows(&SyncStatus { received_ops: 5, sent_ops: 1, ..GREETING }));
        assert!(!reach.grows(&SyncStatus { received_ops: 5, sent_ops: 1, ..GREETING }));
    }

    #[test]
    fn it_does_not_grow_by_words() {
        let mut reach = Reach::default();
        reach.grows(&SyncStatus { state: SyncState::Synced, ..GREETING });
        for number in 1..100 {
            let state = if number % 2 == 0 { SyncState::Comparing } else { SyncState::Transferring };
            let announced = SyncStatus { state, send_ops: number, receive_ops: number, waiting: number, ..GREETING };
            assert!(!reach.grows(&announced), "{announced:?}");
        }
    }
}
