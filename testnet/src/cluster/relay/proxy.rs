//! What stands before the relay's instances: an HTTP proxy of our own, which gives each request to the next instance that answers.
//!
//! Devices know its address alone, so instances may come back on other ports. It passes WebSockets on, and can lie ([`Lie`]).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::liar::{Liar, Lie};

/// What travels either way.
type Body = BoxBody<Bytes, hyper::Error>;

/// Where packets are sent.
const SYNC_PATH: &str = "/v1/sync";
/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The proxy. It ends when it is dropped, and all its connections with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// By instance: where it listens, if it does.
    backends: Mutex<Vec<Option<SocketAddr>>>,
    /// Whose turn it is.
    next: AtomicUsize,
    liar: Liar,
}

impl Proxy {
    /// Opens one for so many instances, on a free port of the loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn open(instances: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the relay's proxy")?;
        let port = listener.local_addr()?.port();
        let backends = Mutex::new(vec![None; instances]);
        let shared = Arc::new(Shared { backends, next: AtomicUsize::new(0), liar: Liar::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, accepting })
    }

    /// Where devices find it.
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// Says where an instance listens; nothing while it does not.
    pub fn set_backend(&self, instance: usize, address: Option<SocketAddr>) {
        if let Some(backend) = self.shared.backends().get_mut(instance) {
            *backend = address;
        }
    }

    /// Lies from now on, or not any more.
    pub fn lie(&self, lie: Option<Lie>) {
        self.shared.liar.tell(lie);
    }

    /// How many answers were lies.
    pub fn lies(&self) -> u64 {
        self.shared.liar.told()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn backends(&self) -> MutexGuard<'_, Vec<Option<SocketAddr>>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instances that run, the one whose turn it is first.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut running: Vec<SocketAddr> = self.backends().iter().flatten().copied().collect();
        if !running.is_empty() {
            let first = turn % running.len();
            running.rotate_left(first);
        }
        running
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are small and wanted at once.
        stream.set_nodelay(true).ok();
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(answer(&shared, request).await) }
        });
        connections.spawn(async move {
            // What fails here is told to the device by the broken connection.
            server::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok();
        });
    }
}

/// Hands a request on; whatever fails is answered as proxies do, by 502.
async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let handed_on = if request.uri().path() == SYNC_PATH { sync(shared, request).await } else { hand_on(shared, request).await };
    handed_on.unwrap_or_else(|_| {
        let mut gone = Response::new(Full::default().map_err(|never| match never {}).boxed());
        *gone.status_mut() = StatusCode::BAD_GATEWAY;
        gone
    })
}

/// A packet and its answer, which both are read whole: a liar looks at them.
async fn sync(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>> {
    let (mut head, body) = request.into_parts();
    let packet = body.collect().await?.to_bytes();
    let mut brought = packet.clone();
    if let Some(other) = shared.liar.hand_on(&packet) {
        brought = other.into();
        head.headers.remove(CONTENT_LENGTH);
    }
    let whole = Full::new(brought).map_err(|never| match never {}).boxed();
    let answer = send(shared, Request::from_parts(head, whole)).await?;
    let (mut head, body) = answer.into_parts();
    let mut bytes = body.collect().await?.to_bytes();
    if head.status == StatusCode::OK
        && let Some(lie) = shared.liar.consider(&packet, &bytes)
    {
        bytes = lie.into();
        head.headers.remove(CONTENT_ENCODING);
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok(Response::from_parts(head, Full::new(bytes).map_err(|never| match never {}).boxed()))
}

/// Anything else, WebSockets included.
async fn hand_on(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>> {
    let ours = hyper::upgrade::on(&mut request);
    let mut answer = send(shared, request.map(BodyExt::boxed)).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
            // It ends when either end does.
            tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await.ok();
        });
    }
    Ok(answer.map(BodyExt::boxed))
}

/// Sends a request to the next instance that takes connections.
async fn send(shared: &Shared, request: Request<Body>) -> Result<Response<Incoming>> {
    let mut stream = None;
    for address in shared.in_turn() {
        if let Ok(connected) = TcpStream::connect(address).await {
            stream = Some(connected);
            break;
        }
    }
    let stream = stream.context("no instance takes connections")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    // It ends when its sender is dropped; what fails on it is told by the answer.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}
