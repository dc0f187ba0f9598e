//! Bodies, read within their size, their time, and the memory for all of them; and those of answers, which count there until they are
//! written.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use nodespace_protocol::compress::Limits;
use nodespace_protocol::view::encoding;
use serde::de::DeserializeOwned;

use super::App;
use crate::memory::{SMALL_BYTES, Share};
use crate::refusal::Refusal;

/// The most bytes of a small request: a login, addresses.
const SMALL_BYTES_MAX: usize = 64 << 10;
const SMALL_LIMITS: Limits = Limits { encoded_max: SMALL_BYTES_MAX, decoded_max: 4 * SMALL_BYTES_MAX, ratio_max: 16 };

/// Reads a body of at most so many bytes. Its share is to be kept for as long as there is anything of it.
pub(super) async fn read(app: &App, body: Body, max: usize) -> Result<(Bytes, Share), Refusal> {
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    let wait = app.body_wait();
    let late = |_| {
        let message = format!("the body did not arrive within {} s", wait.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
    };
    tokio::time::timeout(wait, collect(body, max, app.shared.memory.share())).await.map_err(late)?
}

/// Whatever a body announces, memory is taken for what has arrived of it: at most twice as much, in one piece, however small the chunks.
async fn collect(mut body: Body, max: usize, mut share: Share) -> Result<(Bytes, Share), Refusal> {
    let mut arrived: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad_request("body_broken", "the body broke off before its end"))?;
        // What else a body may have says nothing here.
        let Ok(chunk) = frame.into_data() else { continue };
        let length = arrived.len() + chunk.len();
        if length > max {
            return Err(too_large(max));
        }
        if length > arrived.capacity() {
            let capacity = length.max(2 * arrived.capacity()).min(max);
            share.grow_to(capacity as u64)?;
            arrived.reserve_exact(capacity - arrived.len());
        }
        arrived.extend_from_slice(&chunk);
    }
    Ok((Bytes::from(arrived), share))
}

/// The body of an answer. A large one holds memory until it has been written, or the connection has ended.
///
/// # Errors
/// When it is large and there is no memory for it now.
pub(super) fn answer(app: &App, bytes: Vec<u8>) -> Result<Body, Refusal> {
    if bytes.len() as u64 <= SMALL_BYTES {
        return Ok(Body::from(bytes));
    }
    let mut share = app.shared.memory.answer();
    share.grow_to(bytes.len() as u64)?;
    Ok(held(bytes, share))
}

/// The body of an answer that holds its share until it has been written, or the connection has ended.
pub(super) fn held(bytes: impl AsRef<[u8]> + Send + 'static, share: Share) -> Body {
    Body::from(Bytes::from_owner(Held { bytes, _share: share }))
}

/// Bytes with the memory that is charged for them.
struct Held<B> {
    bytes: B,
    _share: Share,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Reads a small body, JSON or CBOR.
pub(super) async fn small<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Refusal> {
    let (bytes, _share) = read(app, body, SMALL_BYTES_MAX).await?;
    let (value, _) = encoding::decode_any(&bytes, SMALL_LIMITS).map_err(|error| Refusal::from(&error))?;
    Ok(value)
}

fn too_large(max: usize) -> Refusal {
    Refusal::too_large("body_too_large", format!("the body is greater than {max} bytes; send several"))
}
