//! What every request finds.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::guard::Guard;
use super::metrics::ApiMetrics;
use super::options::ApiOptions;
use crate::engine::Device;
use crate::model::{ErrorCode, ServiceError};

/// How many streams and long polls there are at once, so that they cannot use up the connections; one more is refused as `unavailable`.
pub(super) const STREAMS_MAX: usize = 128;

/// The device, the settings, the counters.
#[derive(Clone, Debug)]
pub(super) struct ApiState(Arc<Shared>);

/// What all clones of the state share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) device: Device,
    pub(super) options: ApiOptions,
    pub(super) guard: Guard,
    pub(super) metrics: ApiMetrics,
    pub(super) openapi: String,
    streams: Arc<Semaphore>,
}

impl ApiState {
    pub(super) fn new(device: Device, options: ApiOptions, openapi: String) -> Self {
        let guard = Guard::new(&options);
        let metrics = ApiMetrics::new(device.metrics());
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self(Arc::new(Shared { device, options, guard, metrics, openapi, streams }))
    }

    /// The right to one more stream or long poll, for as long as it is held.
    pub(super) fn stream(&self) -> Result<StreamPermit, ServiceError> {
        let Ok(place) = Arc::clone(&self.0.streams).try_acquire_owned() else {
            let message = format!("{STREAMS_MAX} streams and long polls are open already: close one, or try again later");
            return Err(ServiceError::new(ErrorCode::Unavailable, message));
        };
        self.metrics.stream_opened();
        Ok(StreamPermit { state: self.clone(), _place: place })
    }
}

/// The right to be one of the streams.
#[derive(Debug)]
pub(super) struct StreamPermit {
    state: ApiState,
    _place: OwnedSemaphorePermit,
}

impl StreamPermit {
    /// Cancelled when streams must end.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.state.options.stop
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.state.metrics.stream_closed();
    }
}

impl Deref for ApiState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
