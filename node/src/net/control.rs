//! The means to open streams, put in place anew whenever the swarm is.

use std::sync::{Arc, Mutex, PoisonError};

use libp2p_stream::Control;

/// The present swarm's control, if there is a swarm. Clones share it.
#[derive(Clone, Default)]
pub(super) struct SharedControl {
    control: Arc<Mutex<Option<Control>>>,
}

impl SharedControl {
    pub(super) fn set(&self, control: Option<Control>) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = control;
    }

    /// A control of its own for whoever asks: one opens one stream at a time.
    pub(super) fn get(&self) -> Option<Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
