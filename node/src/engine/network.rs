//! What the engine asks of the network, and what the network tells the engine.
//!
//! The engine knows no sockets. Whoever connects devices implements [`Network`] and hands it to [`Device::attach_network`], once, before
//! the API serves; until then everything that needs a peer is refused as `unavailable`, with words that say how to switch it on. The other
//! way round the network is given:
//!
//! - [`Device::watch_workspaces`]: tells when a workspace was founded, adopted or let go; [`Device::workspaces`] then says which there are;
//! - [`Device::set_ticket_addresses`]: to be told what tickets say about where this device is reached;
//! - [`Workspace::publish_sync_status`]: to be told how sync stands, whenever that changes;
//!
//! A workspace without a genesis ([`Workspace::has_genesis`]) is being joined. It is left alone but for [`Network::fetch_membership`].
//!
//! A join, as the engine drives it:
//!
//! ```text
//!   ticket ─▶ adopt an empty workspace, keep the ticket ─▶ Network::fetch_membership ─▶ write the Join ─▶ forget the ticket
//!                                                              (again after a crash)     ─▶ Network::confirm
//! ```

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::membership::{Certificate, DeviceTicket, DeviceWorkspace, Membership, Ticket};
use nodespace_protocol::session::{Credential, SessionConfig};

use super::{Device, Workspace};
use crate::model::{ErrorCode, NetworkStatus, Progress, ServiceError};
use crate::sync::{DeviceStatus, Target};

/// Tells somebody how far a join is. May be called as often as is convenient.
pub type JoinProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Everything that leads into a workspace this device is no member of yet.
#[derive(Clone)]
pub struct Joining {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its secret, by which members know each other on the first stream.
    pub secret: [u8; 32],
    /// What shows a member that this device is invited.
    pub credential: Credential,
    /// Where members were when the ticket was made; multiaddresses, to be parsed and dialled in any order. One that is a peer id alone says
    /// whom to look for in the local network.
    pub addresses: Vec<String>,
    /// Relays' URLs.
    pub relays: Vec<String>,
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").field("workspace", &self.workspace).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Joining {
    /// By a member's invite.
    pub fn by_invite(ticket: &Ticket, certificate: Certificate) -> Self {
        let SessionConfig { credential, .. } = SessionConfig::joiner(0, [0; 16], ticket, certificate);
        Self {
            workspace: ticket.workspace,
            secret: ticket.secret,
            // A joiner's session always has one.
            credential: credential.unwrap_or(Credential::Device(certificate)),
            addresses: ticket.addresses.clone(),
            relays: ticket.relay.iter().cloned().collect(),
        }
    }

    /// By the user's other device: one for each workspace of its ticket.
    pub fn by_device(ticket: &DeviceTicket) -> Vec<Self> {
        let of = |entry: &DeviceWorkspace| Self {
            workspace: entry.workspace,
            secret: entry.secret,
            credential: Credential::Device(ticket.certificate),
            addresses: ticket.addresses.clone(),
            relays: ticket.relay.iter().cloned().collect(),
        };
        ticket.workspaces.iter().map(of).collect()
    }

    /// Whether membership has arrived as far as it is needed for this device to take its part in it.
    pub fn has_arrived(&self, membership: &Membership) -> bool {
        match &self.credential {
            Credential::Join { invite, .. } => membership.invite_key(invite).is_some(),
            Credential::Device(certificate) => membership.is_member(&certificate.user),
        }
    }

    /// How a session with a member is begun.
    pub fn session_config(&self, boot_nonce: u64, salt: [u8; 16]) -> SessionConfig {
        let member = SessionConfig::member(boot_nonce, salt);
        SessionConfig { credential: Some(self.credential.clone()), secret: Some(self.secret), ..member }
    }
}

/// What tickets say about where this device is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketAddresses {
    /// Multiaddresses, the most useful first; a ticket takes the first sixteen.
    pub addresses: Vec<String>,
    /// Relays' URLs; a ticket takes the first.
    pub relays: Vec<String>,
}

/// Connects this device with others. Implementations are cheap to call from many tasks at once; none of the futures needs the device's
/// state to be locked, and dropping one gives up what it asked for.
pub trait Network: fmt::Debug + Send + Sync {
    /// Finds a member of `joining.workspace` (the addresses of the ticket, the local network, a relay), begins a session by
    /// [`Joining::session_config`], syncs into `workspace`, and answers as soon as [`Joining::has_arrived`]; the session stays and the rest
    /// may still be on its way. Gives up, with `unavailable` and the reasons of all attempts, after a time of its own
    /// (a minute is fine); with `forbidden` and the member's reason when a member turned this device away, for then waiting is in vain.
    fn fetch_membership<'a>(
        &'a self,
        workspace: Workspace,
        joining: Joining,
        progress: JoinProgress,
    ) -> BoxFuture<'a, Result<(), ServiceError>>;

    /// Waits until a member has confirmed that it holds exactly what is held here; answers `false` after a time of its own, during which
    /// progress goes on counting: as long as operations come in it is worth waiting.
    fn confirm<'a>(&'a self, workspace: Workspace, progress: JoinProgress) -> BoxFuture<'a, Result<bool, ServiceError>>;

    /// Syncs now, with one target or with all of a workspace, and answers how it stands when all attempts have ended.
    fn sync_now<'a>(&'a self, workspace: Workspace, target: Option<Target>) -> BoxFuture<'a, Result<DeviceStatus, ServiceError>>;

    /// The relays of a workspace were added, removed or looked after: they are looked up anew, and synced with.
    fn relays_changed(&self, workspace: WorkspaceId) -> BoxFuture<'_, ()>;

    /// How the network is.
    fn snapshot(&self) -> BoxFuture<'_, Result<NetworkStatus, ServiceError>>;

    /// Dials an address now, and again whenever it is not connected, until it is removed or the program ends. The address was parsed; one
    /// without a peer id is asked once who answers, and kept with that peer id if it is a member's.
    fn add_peer(&self, address: String) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Does not dial an address any more and closes a connection over it. `not_found` when it was never added.
    fn remove_peer(&self, address: String) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Says goodbye to all peers, lets go of the device and its workspaces, and ends. Called by [`Device::close`] before the workspaces are
    /// closed.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

impl Device {
    /// The network.
    ///
    /// # Errors
    /// When there is none.
    pub fn network(&self) -> Result<Arc<dyn Network>, ServiceError> {
        self.attached_network().ok_or_else(|| {
            let message = "the network is off: run the device with `nodespace run` and `network.enabled = true` in its configuration";
            ServiceError::new(ErrorCode::Unavailable, message)
        })
    }
}
