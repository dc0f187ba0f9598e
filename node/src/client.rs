//! Talking to a device: the local API's client.
//!
//! One client has two ways to the same API. While a daemon runs, requests go to it over the loopback; otherwise whoever opened the store
//! itself hands them to the router in its own process. So the command line has one code path, and what it prints as JSON is byte for byte
//! what the API answers.

mod discovery;
mod error;
mod events;
mod lines;
mod request;
mod transport;

pub use discovery::{API_FILE, ApiFile, Daemon, TOKEN_FILE, find, read_token};
pub use error::ClientError;
pub use events::{Event, Events};
pub use lines::{LINE_BYTES_MAX, Lines};
pub use request::Request;

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Response, header};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use crate::model::{ErrorBody, Progress, TaskLine};
use transport::Transport;

/// The largest answer that is taken whole, in bytes; more is refused. The API pages what can grow, so only a page of huge texts comes near.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A device's API.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    token: String,
    /// What this client calls itself in the change stream.
    name: String,
    workspace: Option<String>,
}

/// An answer: as it came, and as it is understood.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The JSON text.
    pub raw: Bytes,
    /// What it says.
    pub value: T,
}

impl Client {
    /// A client of the daemon at this address.
    pub fn tcp(address: SocketAddr, token: String) -> Self {
        Self { transport: Transport::Tcp(address), token, name: "cli".into(), workspace: None }
    }

    /// A client of a router in this process.
    pub fn in_process(router: Router, token: String) -> Self {
        Self { transport: Transport::InProcess(router), token, name: "cli".into(), workspace: None }
    }

    /// The same client under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same client for another workspace than the home's default one.
    #[must_use]
    pub fn of_workspace(mut self, workspace: Option<String>) -> Self {
        self.workspace = workspace;
        self
    }

    /// Whether no workspace was named.
    pub const fn is_of_default_workspace(&self) -> bool {
        self.workspace.is_none()
    }

    /// Whether a daemon answers, not this process.
    pub const fn is_remote(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_))
    }

    /// Asks, and reads the answer whole.
    ///
    /// # Errors
    /// When the device refuses, cannot be reached, or answers something else.
    pub async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<Answer<T>, ClientError> {
        let raw = whole(self.send(request).await?.into_body()).await?;
        let value = serde_json::from_slice(&raw).map_err(ClientError::not_understood)?;
        Ok(Answer { raw, value })
    }

    /// Asks for lines of JSON.
    ///
    /// # Errors
    /// When the device refuses or cannot be reached.
    pub async fn lines(&self, request: Request) -> Result<Lines, ClientError> {
        Ok(Lines::new(self.send(request).await?.into_body()))
    }

    /// Asks for a stream of events.
    ///
    /// # Errors
    /// When the device refuses or cannot be reached.
    pub async fn events(&self, request: Request) -> Result<Events, ClientError> {
        Ok(Events::new(self.lines(request.accepting("text/event-stream")).await?))
    }

    /// Asks for long work, tells its progress, and answers with its result.
    ///
    /// # Errors
    /// When the device refuses, the work fails, or the connection ends before either is known.
    pub async fn task<T: DeserializeOwned>(&self, request: Request, mut progress: impl FnMut(Progress)) -> Result<Answer<T>, ClientError> {
        let mut lines = self.lines(request).await?;
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice(&line).map_err(ClientError::not_understood)? {
                TaskLine::Progress(step) => progress(step),
                TaskLine::Result(value) => return Ok(Answer { raw: inner(&line)?, value }),
                TaskLine::Error(body) => return Err(ClientError::Refused { status: 200, body }),
            }
        }
        Err(ClientError::Cut("the connection ended before the work's result came".into()))
    }

    /// Sends a request; an answer that is no success becomes an error with the device's own words.
    async fn send(&self, mut request: Request) -> Result<Response<Body>, ClientError> {
        if let Some(workspace) = &self.workspace {
            request = request.query("workspace", workspace);
        }
        let response = self.transport.send(request.build(&self.token, &self.name, self.transport.host())?).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let body = whole(response.into_body()).await?;
        let refusal = is_json.then(|| serde_json::from_slice::<ErrorBody>(&body).ok()).flatten();
        Err(match refusal {
            Some(body) => ClientError::Refused { status: status.as_u16(), body },
            None => ClientError::NotUnderstood(format!("the answer is {status} without a reason; is another program at this address?")),
        })
    }
}

/// The result inside a task's last line, as the device wrote it.
fn inner(line: &[u8]) -> Result<Bytes, ClientError> {
    if let Some(result) = line.strip_prefix(b"{\"result\":").and_then(|rest| rest.strip_suffix(b"}")) {
        return Ok(Bytes::copy_from_slice(result));
    }
    let value: serde_json::Value = serde_json::from_slice(line).map_err(ClientError::not_understood)?;
    serde_json::to_vec(&value["result"]).map(Bytes::from).map_err(ClientError::not_understood)
}

async fn whole(body: Body) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| ClientError::Cut(error.to_string()))
}

#[cfg(test)]
mod tests;
