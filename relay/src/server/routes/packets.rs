//! Sync packets.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::view::Encoding;
use nodespace_protocol::view::encoding::PACKET_ENCODED_BYTES_MAX;

use super::super::{App, body, caller};
use crate::refusal::Refusal;
use crate::sync::{Compression, SyncOptions};

pub(crate) async fn sync(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Refusal> {
    let query = SyncQuery::parse(query.as_deref().unwrap_or_default())?;
    let caller = caller::identify(&app, &headers).await?;
    let (packet, share) = body::read(&app, request, PACKET_ENCODED_BYTES_MAX).await?;
    let options = SyncOptions { views: query.views, pull: query.pull.unwrap_or(true), compression: accepted(&headers) };
    // In a box: what it keeps would be moved through every layer of the server.
    let answer = Box::pin(app.shared.sync.process_sync_packet(&caller, packet, share, options)).await?;
    let encoding = match answer.encoding {
        Encoding::Json => "application/json",
        Encoding::Cbor => "application/cbor",
    };
    let mut response = ([(header::CONTENT_TYPE, encoding)], body::answer(&app, answer.bytes)?).into_response();
    let compression = match answer.compression {
        CompressionType::None => None,
        CompressionType::Gzip => Some("gzip"),
        CompressionType::Zstd => Some("zstd"),
    };
    if let Some(compression) = compression {
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static(compression));
    }
    Ok(response)
}

/// What the query of a sync request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncQuery {
    /// `views`: whether the answer brings a view of each operation.
    pub views: Option<bool>,
    /// `pull`: whether the answer brings operations at all.
    pub pull: Option<bool>,
}

impl SyncQuery {
    /// Reads a query: `views=true`, `views=false`, `pull=true`, `pull=false`, joined by `&`.
    ///
    /// # Errors
    /// When it says anything else.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part {
                "views=true" => parsed.views = Some(true),
                "views=false" => parsed.views = Some(false),
                "pull=true" => parsed.pull = Some(true),
                "pull=false" => parsed.pull = Some(false),
                _ => {
                    return Err(Refusal::bad_request(
                        "bad_query",
                        "the query of a sync request is of `views` and `pull`, each `=true` or `=false`",
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

/// What a request's `Accept-Encoding` allows. A quality of zero forbids.
pub(crate) fn accepted(headers: &HeaderMap) -> Compression {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut compression = Compression::default();
    for entry in lines.flat_map(|line| line.split(',')) {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let quality = parameters.trim().strip_prefix("q=").and_then(|quality| quality.trim().parse::<f32>().ok()).unwrap_or(1.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "zstd" => compression.zstd = quality > 0.0,
            "gzip" => compression.gzip = quality > 0.0,
            _ => {}
        }
    }
    compression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_say_what_is_wanted_or_nothing() {
        let parsed = |query: &str| SyncQuery::parse(query).map(|query| (query.views, query.pull));
        assert_eq!(parsed("").unwrap(), (None, None));
        assert_eq!(parsed("views=true&pull=false").unwrap(), (Some(true), Some(false)));
        assert_eq!(parsed("&views=false&").unwrap(), (Some(false), None));
        for bad in ["views", "views=1", "x=1", "views=true&y", "%76iews=true"] {
            assert_eq!(parsed(bad).unwrap_err().code, "bad_query");
        }
    }

    #[test]
    fn a_quality_of_zero_forbids() {
        let accepted = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
            accepted(&headers)
        };
        assert_eq!(accepted("gzip, zstd"), Compression { zstd: true, gzip: true });
        assert_eq!(accepted("zstd;q=0, GZIP;q=0.5, br"), Compression { zstd: false, gzip: true });
        assert_eq!(accepted("identity"), Compression::default());
    }
}
