//! What can be set about the API.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::token::Token;

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The secret every request must carry, but for `/health` and `/openapi.json`.
    pub token: Token,
    /// The port that `Host` must name; [`super::serve`] sets it to the listener's. `None` inside one process: then `Host` has no port.
    pub port: Option<u16>,
    /// Names besides 127.0.0.1, `[::1]` and localhost that `Host` may have; with a port, or with that of `port` when it has none.
    pub allowed_hosts: Vec<String>,
    /// Origins of pages that may use the API, such as `tauri://localhost`; none by default.
    pub allowed_origins: Vec<String>,
    /// Serve an address other machines can reach. They then need the token and a name in `allowed_hosts`; nothing is encrypted.
    pub allow_remote: bool,
    /// The greatest body of a request; a greater one is refused with `too_large`.
    pub body_bytes_max: usize,
    /// The same for `POST /v1/import`.
    pub import_bytes_max: usize,
    /// How long a body may take to arrive; a slower one is refused.
    pub body_wait: Duration,
    /// How long a connection may take to send a request's head, or stay idle between two; then it is closed.
    pub head_wait: Duration,
    /// How often a silent stream says that it is still there.
    pub heartbeat: Duration,
    /// The least time between two events of the status stream.
    pub status_pause: Duration,
    /// How long requests under way may take once the API stops; what is not done then is cut off.
    pub stop_wait: Duration,
    /// Cancelled when the API stops: streams end, long polls answer.
    pub stop: CancellationToken,
}

/// A setting that must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An origin that would admit any page.
    #[error("`{0}` is not an origin to allow: name one, like `https://notes.example` or `tauri://localhost`")]
    Origin(String),
    /// A host that no `Host` header can equal.
    #[error(
        "`{0}` is not a host to allow: give a name or an address, with a port if it is another than the API's, like `notes.local:7420`"
    )]
    Host(String),
}

impl ApiOptions {
    /// The defaults.
    pub fn new(token: Token) -> Self {
        Self {
            token,
            port: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            allow_remote: false,
            body_bytes_max: 16 << 20,
            import_bytes_max: 64 << 20,
            body_wait: Duration::from_secs(60),
            head_wait: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            status_pause: Duration::from_millis(250),
            stop_wait: Duration::from_secs(10),
            stop: CancellationToken::new(),
        }
    }

    /// Checks hosts and origins.
    ///
    /// # Errors
    /// When an origin is `*`, `null` or no `scheme://host`, or a host is empty or has characters that no `Host` has.
    pub fn check(&self) -> Result<(), OptionsError> {
        for origin in &self.allowed_origins {
            let named =
                origin.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && !host.contains('/'));
            if !named || origin.contains(['*', ' ', ',']) {
                return Err(OptionsError::Origin(origin.clone()));
            }
        }
        let odd = |host: &&String| host.is_empty() || host.contains(|c: char| !(c.is_ascii_alphanumeric() || "-._:[]".contains(c)));
        match self.allowed_hosts.iter().find(odd) {
            Some(host) => Err(OptionsError::Host(host.clone())),
            None => Ok(()),
        }
    }
}
