//! Connections: their number, their times, an orderly end.
//!
//! Whoever opens a connection and says nothing (slowloris) holds a place for as long as a head may take, and no memory to speak of. Whoever
//! asks and does not read holds his answer for as long as it may lie ([`Paced`]), and a large one counts where what is sent does
//! ([`Memory`](crate::memory::Memory)).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::caller::PeerAddress;
use super::paced::Paced;
use super::places::{Place, Places};
use crate::config::ServerConfig;
use crate::metrics::Metrics;

/// How long a request's head may be; a longer one is answered with 431 by the HTTP library itself.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What the system takes of an answer beyond what is on its way, for each connection. Left to itself it takes up to 4 MiB, and says only after
/// a third of that has gone that it takes more: one who reads slowly would look like one who does not read.
const SEND_BUFFER_BYTES: u32 = 256 << 10;
/// Connections that wait in the system's queue; the next are refused by it.
const QUEUE_MAX: u32 = 1_024;
/// How long to wait when the system has no room for another connection (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the service cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; is another program using the port?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A listening socket with what its connections are held to.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Where it listens: with the port that was taken when 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens; port 0 takes any free one.
///
/// # Errors
/// When the port is taken, or the address is not this machine's.
pub fn bind(address: SocketAddr) -> Result<Listening, ServeError> {
    let failed = |source| ServeError::Bind { address, source };
    let listener = listen(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening { listener, address })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A relay that is started again finds connections of the one before still waiting for their end.
    socket.set_reuseaddr(true)?;
    // Each connection has it from the listening socket.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(QUEUE_MAX)
}

/// Serves until it is stopped, then lets requests under way finish, and WebSockets say goodbye, for so long at most.
pub async fn serve(
    listening: Listening,
    router: Router,
    tls: Option<TlsAcceptor>,
    config: &ServerConfig,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let (head_wait, write_wait) = (Duration::from_secs(config.head_seconds), Duration::from_secs(config.write_seconds));
    let door = Door { router, tls, head_wait, write_wait, metrics: metrics.clone(), stop: stop.clone() };
    let places = Places::new(config, metrics.clone());
    let mut running = JoinSet::new();
    tokio::select! {
        () = accept(&listening.listener, &door, &places, &mut running) => {}
        () = stop.cancelled() => {}
    }
    drop(listening);
    let all = async {
        while running.join_next().await.is_some() {}
        places.emptied().await;
    };
    if timeout(Duration::from_secs(config.stop_seconds), all).await.is_err() {
        tracing::warn!(left = places.taken(), "connections did not end in time and are cut off");
    }
}

#[derive(Clone)]
struct Door {
    router: Router,
    tls: Option<TlsAcceptor>,
    head_wait: Duration,
    write_wait: Duration,
    metrics: Metrics,
    stop: CancellationToken,
}

async fn accept(listener: &TcpListener, door: &Door, places: &Places, running: &mut JoinSet<()>) {
    loop {
        let Some(free) = places.free().await else { return };
        while running.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without a place it is closed here, before anything of it is read.
                let Some(place) = places.take(free, peer.ip()) else { continue };
                let door = door.clone();
                running.spawn(async move { door.connection(stream, peer, Arc::new(place)).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, place: Arc<Place>) {
        // Answers are small and wanted at once.
        stream.set_nodelay(true).ok();
        let stream = Paced::new(stream, self.write_wait, self.metrics.clone());
        match &self.tls {
            None => self.requests(stream, peer, place).await,
            Some(tls) => match timeout(self.head_wait, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.requests(stream, peer, place).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr, place: Arc<Place>) {
        let router = self.router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(PeerAddress(peer.ip().to_canonical()));
            // The HTTP library is done with a connection when that becomes a WebSocket.
            request.extensions_mut().insert(Arc::clone(&place));
            router.clone().oneshot(request)
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.head_wait).max_buf_size(HEAD_BYTES_MAX);
        let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut served = std::pin::pin!(served);
        let outcome = tokio::select! {
            outcome = served.as_mut() => outcome,
            () = self.stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
