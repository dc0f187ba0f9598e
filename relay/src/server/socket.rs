//! WebSockets: a device is told that its workspace has grown, so that it need not ask all the time.
//!
//! What is told is a hint with the version that can now be pulled; a device that was away pulls first and listens then. The membership is
//! looked at again with every hint and every ping: a removal grows the workspace, so whoever was removed hears of nothing after it.
//!
//! A socket keeps the place of its connection ([`places`]) and has one of its device's besides.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, State};
use axum::http::header::HeaderMap;
use axum::response::Response;
use nodespace_protocol::ids::DeviceId;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};

use super::{App, caller, places};
use crate::auth::{Caller, TokenClaims};
use crate::refusal::Refusal;

/// How often a ping is sent; a device that has not answered the one before is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a message may take to be sent.
const SEND_WAIT: Duration = Duration::from_secs(10);
/// Devices have nothing to say here: longer messages end the connection.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// What may wait to be sent, hints and the pongs that a device's pings ask for. Beyond it pongs are left out, and a hint ends the connection:
/// the device does not read.
const WAITING_BYTES_MAX: usize = 16 << 10;
/// Close codes of our own (4000 to 4999 are for applications).
const CLOSE_REMOVED: u16 = 4403;
const CLOSE_GOING_AWAY: u16 = 1001;

/// A device's place among its sockets; given back when it is dropped.
struct Place {
    app: App,
    device: DeviceId,
}

impl Place {
    fn take(app: &App, device: DeviceId) -> Result<Self, Refusal> {
        let mut sockets = app.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sockets.entry(device).or_insert(0);
        if *open >= app.shared.limit_config.device_sockets {
            let message = format!("the device has {open} connections for notifications already");
            return Err(Refusal::too_many("too_many_sockets", message, PING_EVERY));
        }
        *open += 1;
        Ok(Self { app: app.clone(), device })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sockets = self.app.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sockets.get_mut(&self.device) {
            *open -= 1;
            if *open == 0 {
                sockets.remove(&self.device);
            }
        }
    }
}

pub(super) async fn events(
    State(app): State<App>,
    Path(workspace): caller::Part,
    headers: HeaderMap,
    Extension(connection): Extension<Arc<places::Place>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    caller.row()?;
    let upgrade = upgrade.map_err(|error| Refusal::bad_request("not_a_websocket", error.body_text()))?;
    let claims = caller::claims(&app, &headers)?;
    let place = Place::take(&app, caller.device)?;
    // Listening begins before the version is read that is told first: nothing falls in between.
    let grown = app.shared.bus.listen(caller.workspace);
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    // Every message goes out at once, so that only what the system does not take waits.
    let upgrade = upgrade.write_buffer_size(0).max_write_buffer_size(WAITING_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let listener = Listener { app: place.app.clone(), claims, socket, epoch: place.app.shared.database.epoch().watch() };
        listener.run(&caller, grown).await;
        drop((place, connection));
    }))
}

struct Listener {
    app: App,
    claims: TokenClaims,
    socket: WebSocket,
    epoch: watch::Receiver<u64>,
}

/// Why a listener ends.
enum End {
    Gone,
    Close(u16, &'static str),
}

impl Listener {
    async fn run(mut self, caller: &Caller, grown: watch::Receiver<u64>) {
        let end = self.listen(caller, grown).await;
        if let Err(End::Close(code, reason)) = end {
            let frame = CloseFrame { code, reason: reason.into() };
            timeout(SEND_WAIT, self.socket.send(Message::Close(Some(frame)))).await.ok();
        }
    }

    async fn listen(&mut self, caller: &Caller, mut grown: watch::Receiver<u64>) -> Result<(), End> {
        let mut told = self.tell_current(caller).await?;
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut answered = true;
        let stop = self.app.shared.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(End::Close(CLOSE_GOING_AWAY, "the relay is stopping")),
                changed = grown.changed() => {
                    changed.map_err(|_| End::Gone)?;
                    if *grown.borrow_and_update() > told {
                        told = self.tell_current(caller).await?;
                    }
                }
                changed = self.epoch.changed() => {
                    changed.map_err(|_| End::Gone)?;
                    told = self.tell_current(caller).await?;
                }
                _ = pings.tick() => {
                    if !std::mem::replace(&mut answered, false) {
                        return Err(End::Gone);
                    }
                    self.check().await?;
                    self.send(Message::Ping(axum::body::Bytes::new())).await?;
                }
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                    // Anything it says shows that it is there.
                    Some(Ok(_)) => answered = true,
                },
            }
        }
    }

    /// Who listens must belong still. Answers the version that can be pulled.
    async fn check(&mut self) -> Result<u64, End> {
        match self.app.shared.access.caller(&self.claims).await {
            Ok(caller) => Ok(caller.row.map_or(0, |row| row.version)),
            Err(refusal) if refusal.status.is_server_error() => Err(End::Close(CLOSE_GOING_AWAY, "the relay cannot serve at present")),
            Err(_) => Err(End::Close(CLOSE_REMOVED, "the device is no member any more")),
        }
    }

    async fn tell_current(&mut self, caller: &Caller) -> Result<u64, End> {
        let version = self.check().await?;
        let epoch = *self.epoch.borrow_and_update();
        let text = json!({ "workspace_id": caller.workspace, "epoch": epoch, "version": version }).to_string();
        self.send(Message::Text(text.into())).await?;
        self.app.shared.metrics.notified();
        Ok(version)
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_WAIT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
