//! A request to be sent.

use axum::body::{Body, Bytes};
use axum::http::{self, Method, header};
use serde::Serialize;

use super::error::ClientError;

/// The header by which a client tells its name.
const CLIENT_HEADER: &str = "x-nodespace-client";

/// A request of the API.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    /// The path, and the query once there is one; percent-encoded.
    target: String,
    has_query: bool,
    accept: &'static str,
    body: Option<Bytes>,
}

impl Request {
    /// A request for what lies at these steps of a path, which are encoded here: ids may hold any character.
    pub fn new(method: Method, steps: &[&str]) -> Self {
        let mut target = String::new();
        for step in steps {
            target.push('/');
            encode(step, &mut target);
        }
        Self { method, target, has_query: false, accept: "application/json", body: None }
    }

    /// A request to read.
    pub fn get(steps: &[&str]) -> Self {
        Self::new(Method::GET, steps)
    }

    /// A request to do something.
    pub fn post(steps: &[&str]) -> Self {
        Self::new(Method::POST, steps)
    }

    /// Adds a member of the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.target.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.target.push_str(name);
        self.target.push('=');
        encode(&value.to_string(), &mut self.target);
        self
    }

    /// Adds a member of the query if there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Gives it a body.
    ///
    /// # Errors
    /// When the value has no JSON form, such as a number that is not finite.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, ClientError> {
        self.body = Some(serde_json::to_vec(value).map_err(|error| ClientError::Request(error.to_string()))?.into());
        Ok(self)
    }

    /// Asks for another kind of answer.
    pub(super) const fn accepting(mut self, kind: &'static str) -> Self {
        self.accept = kind;
        self
    }

    pub(super) fn build(self, token: &str, name: &str, host: String) -> Result<http::Request<Body>, ClientError> {
        let mut builder = http::Request::builder()
            .method(self.method)
            .uri(self.target)
            .header(header::HOST, host)
            .header(header::ACCEPT, self.accept)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(CLIENT_HEADER, name);
        if self.body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        let body = self.body.map_or_else(Body::empty, Body::from);
        builder.body(body).map_err(|error| ClientError::Request(error.to_string()))
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str, target: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push('%');
            target.push(char::from(HEX[usize::from(byte >> 4)]));
            target.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_values_are_encoded() {
        let request = Request::get(&["v1", "nodes", "a/b?c d%é"]).query("after", "x&y").maybe("limit", Some(3)).maybe("none", None::<u8>);
        assert_eq!(request.target, "/v1/nodes/a%2Fb%3Fc%20d%25%C3%A9?after=x%26y&limit=3");
    }

    #[test]
    fn a_name_that_is_no_header_is_refused() {
        let refused = Request::get(&["health"]).build("token", "two\nlines", "localhost".into());
        assert!(matches!(refused, Err(ClientError::Request(_))));
    }
}
