//! The socket: connections, their bounds, and an orderly end.
//!
//! Each connection may take [`ApiOptions::head_wait`] for a request's head (hyper's `header_read_timeout`, also between two requests),
//! a body its own time, and an answer its own; there are at most 256. Whoever opens connections and says nothing
//! (slowloris) holds a place for half a minute and no memory to speak of.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::address::{ADDRESS_FILE, Announcement};
use super::options::{ApiOptions, OptionsError};
use crate::engine::Device;

/// How many connections there are at once; the next waits in the system's queue until one ends.
pub(super) const CONNECTIONS_MAX: usize = 256;

/// How long a request's head may be; a longer one is answered with 431 by the HTTP library itself.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long to wait when the system has no room for another connection (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is one other machines can reach.
    #[error(
        "{0} can be reached from other machines, and the API is not encrypted: use 127.0.0.1, or set `api.allow_remote = true` if you must"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another program using the port? Set `api.port = 0` to take any free one")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting that must not be.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The file that tells where the API listens cannot be written.
    #[error("cannot write {ADDRESS_FILE} in the home folder: {0}")]
    Announce(#[source] io::Error),
    /// The listener says no address.
    #[error("the listening socket failed: {0}")]
    Listener(#[source] io::Error),
}

/// Listens on an address; port 0 takes any free one.
///
/// # Errors
/// When others could reach it and that is not allowed, or the port is taken.
pub async fn bind(address: SocketAddr, options: &ApiOptions) -> Result<TcpListener, ServeError> {
    check_reach(address, options)?;
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Serves the API until `shutdown` is there, then lets requests under way finish, for [`ApiOptions::stop_wait`] at most. The device stays
/// open: closing it is the caller's.
///
/// # Errors
/// When the listener's address may not be served, a setting must not be, or the home folder cannot be written.
pub async fn serve(
    device: Device,
    mut options: ApiOptions,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    options.check()?;
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    check_reach(address, &options)?;
    options.port = Some(address.port());
    options.allowed_hosts.extend(own_name(address));
    let announcement = Announcement::write(device.home(), address).map_err(ServeError::Announce)?;
    tracing::info!(%address, "the API listens");
    let mut connections = Connections::new(super::router(device, options.clone()), options);
    tokio::select! {
        () = connections.accept(&listener) => {}
        () = shutdown => {}
    }
    // From here on nobody new comes in, and the command line looks no more for us.
    drop(listener);
    drop(announcement);
    connections.finish().await;
    Ok(())
}

/// The address itself as `Host` says it. One that means every address of the machine is no name of anything.
fn own_name(address: SocketAddr) -> Option<String> {
    (!address.ip().is_unspecified()).then(|| address.to_string())
}

fn check_reach(address: SocketAddr, options: &ApiOptions) -> Result<(), ServeError> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    if !options.allow_remote {
        return Err(ServeError::NotLoopback(address));
    }
    tracing::warn!(%address, "the API can be reached from other machines, unencrypted: whoever sees the traffic can read the token");
    Ok(())
}

type Served = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

#[derive(Debug)]
struct Connections {
    router: Router,
    options: ApiOptions,
    places: Arc<Semaphore>,
    running: JoinSet<()>,
}

impl Connections {
    fn new(router: Router, options: ApiOptions) -> Self {
        Self { router, options, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), running: JoinSet::new() }
    }

    /// Takes connections for ever.
    async fn accept(&mut self, listener: &TcpListener) {
        loop {
            // The semaphore is never closed; if it were, nobody could be let in any more.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            while let Some(ended) = self.running.try_join_next() {
                note(ended);
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = connection(stream, self.router.clone(), self.options.clone());
                    self.running.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Tells all connections to end after the request they are at, and waits for them.
    async fn finish(mut self) {
        self.options.stop.cancel();
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                note(ended);
            }
        };
        if timeout(self.options.stop_wait, all).await.is_err() {
            tracing::warn!(left = self.running.len(), "connections did not end in time and are cut off");
            self.running.shutdown().await;
        }
    }
}

/// Handlers' panics are caught where they are counted; one in the body of an answer ends its connection.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection ended in a panic; this is a fault of NodeSpace");
    }
}

async fn connection(stream: TcpStream, router: Router, options: ApiOptions) {
    // Answers are small and wanted at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays without TCP_NODELAY");
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(options.head_wait).max_buf_size(HEAD_BYTES_MAX);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = until_stopped(served, &options.stop).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn until_stopped(served: Served, stop: &CancellationToken) -> Result<(), hyper::Error> {
    let mut served = std::pin::pin!(served);
    tokio::select! {
        outcome = served.as_mut() => return outcome,
        () = stop.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    served.await
}
