//! Who may ask: the checks that every request passes before anything of it is believed.
//!
//! 1. **Host** must be one of ours, with our port. A page whose own name was rebound to 127.0.0.1 sends that name here (DNS rebinding).
//! 2. **Origin** must be absent or configured. A page of another origin sends its origin with everything that could change something.
//! 3. **Sec-Fetch-Site** must not say that a page of another site asks (images, scripts and forms carry no `Origin` on a GET).
//! 4. **Authorization** must carry the token, but for what tells nothing: `/health` and `/openapi.json`.
//!
//! A header that stands there twice is refused: two readers might believe one each. An allowed origin gets the headers that let its page
//! read the answer (CORS), naming that origin and never `*`.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::options::ApiOptions;
use super::state::ApiState;
use super::token::Token;
use crate::model::{ErrorCode, ServiceError};

/// Paths that need no token: they say nothing about what is stored.
const OPEN_PATHS: [&str; 2] = ["/health", "/openapi.json"];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a page of an allowed origin may do, and which of our headers it may read.
const CORS_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const CORS_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, last-event-id, if-none-match, x-nodespace-client");
const CORS_EXPOSED: HeaderValue = HeaderValue::from_static("etag, location, retry-after, x-request-id");

/// The lists.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
    token: Token,
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// `Host` is missing, doubled, or not ours.
    Host,
    /// `Origin` is not configured.
    Origin,
    /// A page of another site asks.
    Site,
    /// No token, or a wrong one.
    Token,
}

/// A request that may go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// The configured origin it comes from.
    origin: Option<HeaderValue>,
    /// It only asks what it may ask (CORS preflight).
    preflight: bool,
}

impl Guard {
    pub(super) fn new(options: &ApiOptions) -> Self {
        let own = ["127.0.0.1", "[::1]", "localhost"].map(str::to_owned);
        let named = options.allowed_hosts.iter().map(|host| host.to_ascii_lowercase());
        let hosts = own.into_iter().chain(named).flat_map(|host| with_port(host, options.port)).collect();
        // `null` is what a sandboxed page of any site sends.
        let origins = options.allowed_origins.iter().filter(|origin| *origin != "null").cloned().collect();
        Self { hosts, origins, token: options.token.clone() }
    }

    /// Checks a request's head.
    pub(super) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Admission, Denial> {
        self.check_host(uri, headers)?;
        let origin = self.check_origin(headers)?;
        if origin.is_none() && !headers.get_all(FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none") {
            return Err(Denial::Site);
        }
        let preflight = method == Method::OPTIONS && origin.is_some() && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !preflight && !OPEN_PATHS.contains(&uri.path()) {
            self.check_token(headers)?;
        }
        Ok(Admission { origin, preflight })
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
        let known = |host: &str| self.hosts.contains(&host.to_ascii_lowercase());
        let host = only(headers, &header::HOST).map_err(|()| Denial::Host)?;
        let named = host.and_then(|host| host.to_str().ok()).is_some_and(known);
        // A request line with a whole URL names a host there as well (RFC 9112, section 3.2.2).
        let target = uri.authority().is_none_or(|authority| known(authority.as_str()));
        if named && target { Ok(()) } else { Err(Denial::Host) }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Denial> {
        let origin = only(headers, &header::ORIGIN).map_err(|()| Denial::Origin)?;
        let known = |origin: &HeaderValue| origin.to_str().is_ok_and(|text| self.origins.contains(text));
        if origin.is_none_or(known) { Ok(origin.cloned()) } else { Err(Denial::Origin) }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Denial> {
        let value = only(headers, &header::AUTHORIZATION).map_err(|()| Denial::Token)?.ok_or(Denial::Token)?;
        let (scheme, claim) = value.as_bytes().split_at_checked("Bearer ".len()).ok_or(Denial::Token)?;
        if scheme.eq_ignore_ascii_case(b"Bearer ") && self.token.is(claim) { Ok(()) } else { Err(Denial::Token) }
    }
}

impl Denial {
    /// For the counter of requests turned away.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Site => "site",
            Self::Token => "token",
        }
    }

    fn error(self) -> ServiceError {
        let (code, message) = match self {
            Self::Host => (
                ErrorCode::Forbidden,
                "`Host` does not name this API: use the address it listens on, or add the name to `api.allowed_hosts`",
            ),
            Self::Origin => {
                (ErrorCode::Forbidden, "pages of this origin may not use the API: add the origin to `api.allowed_origins` if it is yours")
            }
            Self::Site => (ErrorCode::Forbidden, "pages of another site may not use the API (`Sec-Fetch-Site`)"),
            Self::Token => {
                (ErrorCode::Unauthorised, "send `Authorization: Bearer TOKEN` with the token in the file `api-token` of the home folder")
            }
        };
        ServiceError::new(code, message)
    }
}

/// The only header of a name, if there is one; an error when there are several.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(()),
    }
}

/// What `Host` may say for a name. Port 80 is left out by clients (RFC 9110, section 7.2).
fn with_port(host: String, port: Option<u16>) -> Vec<String> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    match port {
        _ if has_port => vec![host],
        None => vec![host],
        Some(80) => vec![format!("{host}:80"), host],
        Some(port) => vec![format!("{host}:{port}")],
    }
}

/// Lets a request through, or turns it away.
pub(super) async fn keep(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let admission = match state.guard.check(request.method(), request.uri(), request.headers()) {
        Ok(admission) => admission,
        Err(denial) => {
            state.metrics.denied(denial);
            return vary(denial.error().into_response());
        }
    };
    let mut response = if admission.preflight { preflight() } else { next.run(request).await };
    if let Some(origin) = admission.origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
    }
    vary(response)
}

/// Who asks decides what is answered: no cache may give it to another page.
fn vary(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

fn preflight() -> Response {
    let headers = [(header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS), (header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS)];
    (StatusCode::NO_CONTENT, headers, Body::empty()).into_response()
}
