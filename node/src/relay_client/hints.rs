//! A relay's notifications: a WebSocket on which it says how far its log reaches. Hints only: the cursor decides.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use nodespace_protocol::view::Cursor;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use super::api::RelayApi;
use crate::engine::Clock;
use crate::sync::backoff::Backoff;

/// The longest message that is read; hints are short.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// How long the connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// A relay pings every 20 s: after this long without a word the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(65);
/// How long is waited before a connection is made anew, in milliseconds; doubled with each that brought nothing, up to sixteen times.
const RETRY_MS: u64 = 4_000;

#[derive(Debug, Deserialize)]
struct Hint {
    epoch: u64,
    version: u64,
}

/// Listens until dropped. Says how far the relay's log reaches, whenever it says so.
pub(crate) async fn listen(api: Arc<RelayApi>, clock: Clock, seed: u64, mut told: impl AsyncFnMut(Cursor)) {
    let mut backoff = Backoff::new(seed);
    loop {
        match once(&api, clock, &mut told).await {
            Ok(true) => backoff.reset(),
            Ok(false) => {}
            Err(why) => tracing::debug!(relay = %api.url(), why, "no notifications"),
        }
        tokio::time::sleep(Duration::from_millis(backoff.delay_ms(RETRY_MS))).await;
        backoff.raise();
    }
}

/// One connection. Answers whether it said anything.
async fn once(api: &RelayApi, clock: Clock, told: &mut impl AsyncFnMut(Cursor)) -> Result<bool, String> {
    // Whom to trust is the exchange's business; without a login of its own there is nothing to listen for.
    api.log_in_again(clock.now_ms()).await.map_err(|error| error.to_string())?;
    let token = api.token().await.ok_or_else(|| "not logged in".to_owned())?;
    let mut request = api.events_url().into_client_request().map_err(|error| error.to_string())?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    let connected = tokio::time::timeout(CONNECT_TIME, connecting).await.map_err(|_| "it took too long".to_owned())?;
    let (mut socket, _) = connected.map_err(|error| error.to_string())?;
    let mut heard = false;
    // Pings are answered while the socket is read.
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE_MAX, socket.next()).await {
        match message {
            Ok(Message::Text(text)) => {
                let Ok(Hint { epoch, version }) = serde_json::from_str(&text) else { return Err("a hint is not understood".to_owned()) };
                heard = true;
                told(Cursor { epoch, version }).await;
            }
            Ok(Message::Close(_)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::super::damage::rounds;
    use super::*;

    #[test]
    fn damaged_hints_are_read_or_not_understood() {
        let good = r#"{"workspace_id":"5a5a","epoch":3,"version":18446744073709551615}"#;
        let read = |text: &str| serde_json::from_str(text).ok().map(|Hint { epoch, version }| (epoch, version));
        assert_eq!(read(good), Some((3, u64::MAX)));
        rounds(good.as_bytes(), |bytes| {
            read(&String::from_utf8_lossy(bytes));
        });
        for bad in ["", "null", "[3,7]x", r#"{"epoch":3}"#, r#"{"epoch":-3,"version":7}"#, r#"{"epoch":3,"version":1e30}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
