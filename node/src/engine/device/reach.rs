//! How others reach a device: its network, and what tickets say.

use std::sync::{Arc, PoisonError};

use nodespace_protocol::ids::WorkspaceId;

use super::super::network::{Network, TicketAddresses};
use super::{Device, lock};
use crate::model::{ErrorCode, ServiceError};

impl Device {
    /// Gives the device its network; the joins that a restart had interrupted go on. Needs a tokio runtime. Once: a second network is not
    /// taken, and answered with `false`.
    pub fn attach_network(&self, network: Arc<dyn Network>) -> bool {
        let attached = self.inner.network.set(network).is_ok();
        if attached {
            self.resume_joins();
        }
        attached
    }

    /// The network, if there is one.
    pub fn attached_network(&self) -> Option<Arc<dyn Network>> {
        self.inner.network.get().cloned()
    }

    /// The right to work on the join of a workspace, for as long as it is held.
    ///
    /// # Errors
    /// When somebody works on it already.
    pub(crate) fn join_turn(&self, id: WorkspaceId) -> Result<JoinTurn, ServiceError> {
        if lock(&self.inner.joins).insert(id) {
            return Ok(JoinTurn { device: self.clone(), id });
        }
        let message = format!("a join of workspace {} is under way; `nodespace workspace list` shows how it stands", id.short());
        Err(ServiceError::new(ErrorCode::Unavailable, message))
    }

    /// Says what tickets are to tell about where this device is reached, instead of what was said before.
    pub fn set_ticket_addresses(&self, addresses: TicketAddresses) {
        *self.inner.ticket_addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// What tickets tell about where this device is reached.
    pub fn ticket_addresses(&self) -> TicketAddresses {
        self.inner.ticket_addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The right to work on a join.
#[derive(Debug)]
pub(crate) struct JoinTurn {
    device: Device,
    id: WorkspaceId,
}

impl Drop for JoinTurn {
    fn drop(&mut self) {
        lock(&self.device.inner.joins).remove(&self.id);
    }
}
