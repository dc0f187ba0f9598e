//! What a session can honestly say about itself.

use super::Session;
use crate::replica::Replica;
use crate::store::Store;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Membership is being shown.
    Greeting,
    /// Finding out what differs.
    Comparing,
    /// Operations are under way.
    Transferring,
    /// The peer confirmed that it holds exactly what we hold.
    Synced,
    /// All that was planned is there, and something new has come up that the peer has not confirmed.
    Behind,
    /// Over.
    Ended,
}

/// A session in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncStatus {
    /// Where it stands.
    pub state: SyncState,
    /// Operations planned to be sent, so far.
    pub send_ops: u64,
    /// Of these, sent.
    pub sent_ops: u64,
    /// Operations the peer planned to send.
    pub receive_ops: u64,
    /// Of these, received.
    pub received_ops: u64,
    /// Operations stored here that wait for others.
    pub waiting: u64,
    /// Segments refused.
    pub refusals: u32,
}

impl Session {
    /// Where the session stands.
    pub fn status<S: Store>(&self, replica: &Replica<S>) -> SyncStatus {
        let confirmed = self.synced.is_some() && self.synced == Some(replica.frontier_digest());
        let state = match () {
            () if self.ended => SyncState::Ended,
            () if !self.greeting.admitted => SyncState::Greeting,
            () if confirmed => SyncState::Synced,
            () if !self.compared || self.comparing => SyncState::Comparing,
            () if !self.sending.is_empty() || !self.unacknowledged.is_empty() || self.received_ops < self.receive_ops => {
                SyncState::Transferring
            }
            () => SyncState::Behind,
        };
        SyncStatus {
            state,
            send_ops: self.send_ops,
            sent_ops: self.sent_ops,
            receive_ops: self.receive_ops,
            received_ops: self.received_ops,
            waiting: replica.waiting_ops(),
            refusals: self.refusals,
        }
    }
}
