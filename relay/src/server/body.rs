//! Bodies, read within their size and their time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use nodespace_protocol::compress::Limits;
use nodespace_protocol::view::encoding;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The most bytes of a small request: a login, addresses.
const SMALL_BYTES_MAX: usize = 64 << 10;
const SMALL_LIMITS: Limits = Limits { encoded_max: SMALL_BYTES_MAX, decoded_max: 4 * SMALL_BYTES_MAX, ratio_max: 16 };

/// Reads a body of at most so many bytes. Whatever it announces, nothing is allocated before it arrives.
pub(super) async fn read(body: Body, max: usize, wait: Duration) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::too_large("body_too_large", format!("the body is greater than {max} bytes; send several"));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let late = |_| {
        let message = format!("the body did not arrive within {} s", wait.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
    };
    match tokio::time::timeout(wait, Limited::new(body, max).collect()).await.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::bad_request("body_broken", "the body broke off before its end")),
    }
}

/// Reads a small body, JSON or CBOR.
pub(super) async fn small<T: DeserializeOwned>(body: Body, wait: Duration) -> Result<T, Refusal> {
    let bytes = read(body, SMALL_BYTES_MAX, wait).await?;
    let (value, _) = encoding::decode_any(&bytes, SMALL_LIMITS).map_err(|error| Refusal::from(&error))?;
    Ok(value)
}
