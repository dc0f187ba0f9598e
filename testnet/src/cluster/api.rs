//! Talking to a device: its HTTP API on loopback, one kept connection a conversation.
//!
//! The testnet has to tell a write that was refused from one whose fate is unknown, so errors keep that apart: see
//! [`ApiError::is_refusal`].

pub mod answer;
mod events;
mod lines;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use self::events::{Event, Events};
pub use self::lines::Lines;

/// How long a connection on this machine may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take to begin and to arrive, but for streams and long work. A device that is paused or busy beyond that counts as
/// not having answered.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Connections that are kept for the next request; more are closed.
const KEPT_MAX: usize = 16;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The device said no.
    #[error("{code} ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable word for it.
        code: String,
        /// What went wrong and what to do.
        message: String,
    },
    /// Nobody listens there.
    #[error("no connection to {address}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to the device broke")]
    Cut(#[source] hyper::Error),
    /// The answer did not come in time.
    #[error("the device did not answer within {0:?}")]
    Late(Duration),
    /// The answer ended without a result.
    #[error("the answer ended before it was complete")]
    Unfinished,
    /// The answer is not what the documentation says.
    #[error("{what} was answered with something else: {text}")]
    NotUnderstood {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        text: String,
    },
    /// The request itself cannot be made.
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
}

impl ApiError {
    /// Whether the device said that it did nothing. After any other error a write may have happened.
    pub fn is_refusal(&self) -> bool {
        match self {
            // Too busy to say; the write may still come to be.
            Self::Refused { code, .. } => code != "unavailable",
            Self::Unreachable { .. } | Self::Request(_) => true,
            Self::Cut(_) | Self::Late(_) | Self::Unfinished | Self::NotUnderstood { .. } => false,
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        if let Self::Refused { code, .. } = self { Some(code) } else { None }
    }
}

/// What a device says when it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// The file in which a daemon says where it listens.
#[derive(Debug, Deserialize)]
pub(super) struct ApiFile {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
}

impl ApiFile {
    /// What the file of a home says, if it is there and complete.
    pub(super) fn read(home: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(home.join("api.json")).ok()?).ok()
    }
}

/// A device's API. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Api {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    token: String,
    kept: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Api {
    /// The API at an address.
    pub fn new(address: SocketAddr, token: String) -> Self {
        Self { inner: Arc::new(Inner { address, token, kept: Mutex::default() }) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Asks for something.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.ask(Method::GET, path, None::<&Value>).await
    }

    /// Sends something.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiError> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Removes something.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.ask(Method::DELETE, path, None::<&Value>).await
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T, ApiError> {
        let request = self.request(&method, path, body)?;
        let bytes = timeout(ANSWER_TIME_MAX, self.exchange(request)).await.map_err(|_| ApiError::Late(ANSWER_TIME_MAX))??;
        let text = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(text).map_err(|error| not_understood(&method, path, &error))
    }

    /// Long work: the lines of its answer are read until there is a result. `within` bounds each line's arrival.
    ///
    /// # Errors
    /// See [`ApiError`]; what the work itself refuses is a [`ApiError::Refused`] too.
    pub async fn task<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, within: Duration) -> Result<T, ApiError> {
        let mut lines = self.lines(Method::POST, path, Some(body)).await?;
        while let Some(line) = timeout(within, lines.next()).await.map_err(|_| ApiError::Late(within))?? {
            match serde_json::from_slice(&line).map_err(|error| not_understood(&Method::POST, path, &error))? {
                TaskLine::Progress(_) => {}
                TaskLine::Result(result) => return Ok(result),
                TaskLine::Error(Refusal { code, message }) => return Err(ApiError::Refused { status: 200, code, message }),
            }
        }
        Err(ApiError::Unfinished)
    }

    /// An answer that is read line by line, over a connection of its own.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn lines(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Lines, ApiError> {
        let request = self.request(&method, path, body)?;
        let mut sender = self.connect().await?;
        let answer = timeout(ANSWER_TIME_MAX, sender.send_request(request)).await.map_err(|_| ApiError::Late(ANSWER_TIME_MAX))?;
        let answer = answer.map_err(ApiError::Cut)?;
        if answer.status().is_success() {
            return Ok(Lines::new(answer.into_body()));
        }
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(ApiError::Cut)?.to_bytes();
        Err(refusal(status, &bytes))
    }

    /// A stream of server-sent events.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn events(&self, path: &str) -> Result<Events, ApiError> {
        self.lines(Method::GET, path, None::<&Value>).await.map(Events::new)
    }

    fn request(&self, method: &Method, path: &str, body: Option<&impl Serialize>) -> Result<Request<Full<Bytes>>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.inner.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.inner.token))
            .header("X-NodeSpace-Client", "testnet");
        let bytes = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| not_understood(method, path, &error))?
            }
            None => Vec::new(),
        };
        Ok(request.body(Full::new(bytes.into()))?)
    }

    /// Sends a request over a kept connection or a new one. One that was closed meanwhile gives the request back unsent.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ApiError> {
        let mut request = request;
        while let Some(mut sender) = self.kept() {
            match sender.try_send_request(request).await {
                Ok(answer) => return self.read(sender, answer).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(ApiError::Cut(error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let answer = sender.send_request(request).await.map_err(ApiError::Cut)?;
        self.read(sender, answer).await
    }

    async fn read(&self, sender: SendRequest<Full<Bytes>>, answer: Response<Incoming>) -> Result<Bytes, ApiError> {
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(ApiError::Cut)?.to_bytes();
        self.keep(sender);
        if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        let address = self.inner.address;
        let unreachable = |source| ApiError::Unreachable { address, source };
        let stream = timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| unreachable(std::io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ApiError::Cut)?;
        // It ends when its sender is dropped; what fails on it is told by the answer.
        drop(tokio::spawn(connection));
        Ok(sender)
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|sender| !sender.is_closed());
        kept.pop()
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(sender);
        }
    }
}

/// A line of long work.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TaskLine<T> {
    Progress(IgnoredAny),
    Result(T),
    Error(Refusal),
}

/// Percent-encodes a part of a path.
pub fn encode(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn refusal(status: StatusCode, bytes: &[u8]) -> ApiError {
    match serde_json::from_slice(bytes) {
        Ok(Refusal { code, message }) => ApiError::Refused { status: status.as_u16(), code, message },
        Err(_) => {
            ApiError::NotUnderstood { what: format!("a request, with status {status},"), text: String::from_utf8_lossy(bytes).into() }
        }
    }
}

fn not_understood(method: &Method, path: &str, error: &serde_json::Error) -> ApiError {
    ApiError::NotUnderstood { what: format!("{method} {path}"), text: error.to_string() }
}

#[cfg(test)]
mod tests;
