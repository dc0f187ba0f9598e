//! The two ways to the API.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::error::ClientError;

/// How long a connection on this machine may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// A way to the API.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    /// To a daemon, one connection a request: on the loopback it costs a tenth of a millisecond, and nothing has to be kept alive.
    Tcp(SocketAddr),
    /// To the router in this process.
    InProcess(Router),
}

impl Transport {
    /// What the `Host` header says.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::InProcess(_) => "localhost".into(),
        }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, ClientError> {
        match self {
            Self::Tcp(address) => send_tcp(*address, request).await,
            Self::InProcess(router) => match router.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
        }
    }
}

async fn send_tcp(address: SocketAddr, request: Request<Body>) -> Result<Response<Body>, ClientError> {
    let unreachable = |source| ClientError::Unreachable { address, source };
    let cut = |error: hyper::Error| ClientError::Cut(error.to_string());
    let connecting = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| unreachable(std::io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
    // It ends when the answer is read or dropped; what fails on it is told by the answer.
    drop(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(cut)?;
    Ok(response.map(Body::new))
}
