//! JSON bodies, read with care: their type, their size, their time, then their members.
//!
//! What does not fit is refused with its place (line and column). Nesting stops at 128 levels (serde_json's limit), before the stack
//! does. Unknown members are refused by the model's types.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::header::{self, HeaderMap};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::refusal::invalid;
use super::state::ApiState;
use crate::model::{ErrorCode, ServiceError};

/// How much of a body that is too great is read and thrown away, so that its sender gets to read the refusal instead of a broken
/// connection; one that is greater still is cut off.
const DISCARD_BYTES_MAX: u64 = 256 << 20;

/// A request's body, at most `api.body_limit` bytes.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

/// The same with the greater bound of imports.
#[derive(Debug)]
pub(super) struct ImportBody<T>(pub(super) T);

/// The body of a request that needs none: absent, empty, or `{}`.
#[derive(Debug)]
pub(super) struct NoBody;

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ServiceError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ServiceError> {
        read(request, state.options.body_bytes_max, state.options.body_wait).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<ApiState> for ImportBody<T> {
    type Rejection = ServiceError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ServiceError> {
        read(request, state.options.import_bytes_max, state.options.body_wait).await.map(Self)
    }
}

impl FromRequest<ApiState> for NoBody {
    type Rejection = ServiceError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ServiceError> {
        let bytes = collect(request, 1 << 10, state.options.body_wait).await?;
        match bytes.trim_ascii() {
            b"" | b"{}" => Ok(Self),
            _ => Err(invalid("this request takes no body: send none, or `{}`")),
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request, max: usize, wait: Duration) -> Result<T, ServiceError> {
    if !is_json(request.headers()) {
        let message = "the body must be JSON: send `Content-Type: application/json`";
        return Err(ServiceError::new(ErrorCode::UnsupportedMediaType, message));
    }
    parse(&collect(request, max, wait).await?)
}

/// Reads JSON, with the place of what is wrong.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServiceError> {
    // Serde would take an array as an object's members in their order.
    match bytes.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(_) => return Err(invalid("the body is not a JSON object")),
        None => return Err(invalid("the body is empty: send a JSON object")),
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => invalid(format!("the body ends in the middle of its JSON: {error}")),
        _ => invalid(format!("the body is not understood: {error}")),
    })
}

/// `application/json`, in UTF-8 if it says a charset.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let named = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    named && parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8") || part.eq_ignore_ascii_case("charset=\"utf-8\""))
}

async fn collect(request: Request, max: usize, wait: Duration) -> Result<Bytes, ServiceError> {
    let late = |_| invalid(format!("the body did not arrive within {} s: send it faster, or in parts", wait.as_secs()));
    let expects = request.headers().contains_key(header::EXPECT);
    tokio::time::timeout(wait, receive(request.into_body(), max, expects)).await.map_err(late)?
}

async fn receive(body: Body, max: usize, expects: bool) -> Result<Bytes, ServiceError> {
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        // Who waits for `100 Continue` has sent nothing yet.
        if !expects && announced <= DISCARD_BYTES_MAX {
            discard(body).await;
        }
        return Err(too_large(max));
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Err(_) => Err(invalid("the body broke off before its end: send it again")),
    }
}

async fn discard(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_large(max: usize) -> ServiceError {
    ServiceError::new(ErrorCode::TooLarge, format!("the body is greater than {max} bytes: send it in several requests"))
}
