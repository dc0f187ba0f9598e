//! One relay, for one workspace, over HTTP.
//!
//! Everything is bounded: how long a request takes, how much of an answer is read. Redirects are not followed, since the token would go
//! along. The token lives in memory and is drawn anew when the relay says that it has ended.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, NodeId, OpHash, RelayId, UserId, WorkspaceId, hex, unhex};
use nodespace_protocol::op::attachment_hash;
use nodespace_protocol::view::encoding::{self, PACKET_ENCODED_BYTES_MAX, PACKET_LIMITS};
use nodespace_protocol::view::{
    CanonicalNode, Checkpoint, Encoding, Framing, LoginCredential, PacketError, SyncPacket, SyncResponse, login,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::error::{RelayError, RelayRefusal};
use super::url::RelayUrl;

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a request may take, its answer included: a relay answers within a minute or says no.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// The largest JSON answer that is read; a canonical node with a text of 1 MiB comes near.
const JSON_BYTES_MAX: usize = 4 << 20;
/// The most attachments that are asked for, or brought, at once: what a relay takes.
pub(super) const ATTACHMENTS_MAX: usize = 1_024;
/// A token is drawn anew this long before it ends, so that none ends on the way.
const TOKEN_MARGIN_MS: u64 = 30_000;
/// How long a challenge holds (`docs/RELAY-API.md`, 2): when it ends tells what the relay's clock shows.
const CHALLENGE_LIFE_MS: u64 = 60_000;
/// The longest that a token is believed to hold.
const TOKEN_LIFE_MS_MAX: u64 = 3_600_000;
/// How packets and attachments are written.
const CBOR: Framing = Framing { encoding: Encoding::Cbor, compression: CompressionType::None };

/// Who speaks to a relay.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The device's key.
    pub(crate) key: KeyPair,
    /// The workspace.
    pub(crate) workspace: WorkspaceId,
    /// How the device belongs, where no workspace operation says so.
    pub(crate) credential: LoginCredential,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

/// A relay, for one workspace.
#[derive(Debug)]
pub(crate) struct RelayApi {
    url: RelayUrl,
    http: Client,
    identity: Identity,
    session: Mutex<Option<Session>>,
    /// Who it is, once a login succeeded.
    relay: OnceLock<RelayId>,
    /// Before this time no attachments are brought: it did not take them.
    attachments_due_ms: AtomicU64,
    /// Before this time it is not asked once more for attachments that it had not got.
    asking_due_ms: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

#[derive(Clone)]
struct Session {
    token: String,
    user: UserId,
    relay: RelayId,
    /// By this device's clock.
    ends_at_ms: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("relay", &self.relay).finish_non_exhaustive()
    }
}

/// What a relay says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RelayInfo {
    pub(crate) relay_id: RelayId,
    pub(crate) version: String,
    pub(crate) epoch: u64,
    pub(crate) time_ms: u64,
}

/// What a relay says of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WorkspaceInfo {
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    pub(crate) bytes: u64,
}

/// Where members are.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Directory {
    pub(crate) members: Vec<DirectoryEntry>,
    #[serde(default)]
    pub(crate) circuit: Vec<String>,
}

/// Where a member is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DirectoryEntry {
    pub(crate) device_id: DeviceId,
    pub(crate) addresses: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Challenge {
    challenge: String,
    relay_id: RelayId,
    expires_at_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Granted {
    token: String,
    expires_at_ms: u64,
    user_id: UserId,
}

#[derive(Debug, Deserialize)]
struct Canonical {
    node: CanonicalNode,
}

#[derive(Debug, Deserialize)]
struct Refused {
    error: RefusedBody,
}

#[derive(Debug, Deserialize)]
struct RefusedBody {
    code: String,
    message: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct AttachmentWish<'a> {
    hashes: &'a [OpHash],
}

#[derive(Debug, Deserialize)]
struct MissingAttachments {
    missing: Vec<OpHash>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AttachmentBatch {
    attachments: Vec<AttachmentEntry>,
    #[serde(default)]
    left: Vec<OpHash>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AttachmentEntry {
    hash: OpHash,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// What a relay gave of the attachments it was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Those that are in the answer.
    pub(super) attachments: BTreeMap<OpHash, Vec<u8>>,
    /// Those that did not fit into it: to be asked for again. The others it does not hold.
    pub(super) left: Vec<OpHash>,
}

impl Given {
    /// What was asked for of an answer; what is not what its hash says is dropped. `None` when it brings nothing further.
    fn of(wanted: &[OpHash], batch: AttachmentBatch) -> Option<Self> {
        let wanted: BTreeSet<&OpHash> = wanted.iter().collect();
        let is_sound = |entry: &AttachmentEntry| wanted.contains(&entry.hash) && attachment_hash(&entry.bytes) == entry.hash.0;
        let attachments = batch.attachments.into_iter().filter(is_sound).map(|entry| (entry.hash, entry.bytes)).collect();
        let left: BTreeSet<OpHash> = batch.left.into_iter().filter(|hash| wanted.contains(hash)).collect();
        (left.len() < wanted.len()).then(|| Self { attachments, left: left.into_iter().collect() })
    }
}

/// The client of all relays: connections are kept and shared.
fn client() -> Result<Client, RelayError> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    // Whoever was first has chosen the same one.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = Client::builder()
        .user_agent(concat!("nodespace/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIME)
        .timeout(REQUEST_TIME)
        .build()
        .map_err(|error| RelayError::NotUnderstood(format!("no HTTP client can be made here: {error}")))?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

impl RelayApi {
    /// A relay at a URL. Nothing is said to it yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(url: RelayUrl, identity: Identity) -> Result<Arc<Self>, RelayError> {
        Ok(Arc::new(Self {
            url,
            http: client()?,
            identity,
            session: Mutex::new(None),
            relay: OnceLock::new(),
            attachments_due_ms: AtomicU64::new(0),
            asking_due_ms: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }))
    }

    /// Where it is.
    pub(crate) const fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Bytes of bodies sent and received since the start.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.sent_bytes.load(Ordering::Relaxed), self.received_bytes.load(Ordering::Relaxed))
    }

    /// What it says of itself, to anybody.
    pub(super) async fn info(&self) -> Result<RelayInfo, RelayError> {
        let response = self.send(self.http.get(self.url.join(&["v1", "relay"]))).await?;
        self.json(response).await
    }

    /// Logs in unless that was done. Answers who it is and whose this device is to it. `known` is whom this device takes it for; the login
    /// is signed for that one, so that nobody else can use it.
    pub(super) async fn log_in(&self, known: Option<RelayId>, now_ms: u64) -> Result<(RelayId, UserId), RelayError> {
        self.log_in_by(&self.identity.credential, known, now_ms).await
    }

    /// The same, by whose the device is: a relay without the workspace knows of no invites, and takes it from whoever shows that.
    pub(super) async fn log_in_to_bring(&self, known: Option<RelayId>, now_ms: u64) -> Result<(RelayId, UserId), RelayError> {
        let (LoginCredential::Join { certificate, .. } | LoginCredential::Device { certificate }) = &self.identity.credential;
        let credential = LoginCredential::Device { certificate: certificate.clone() };
        self.log_in_by(&credential, known, now_ms).await
    }

    async fn log_in_by(&self, credential: &LoginCredential, known: Option<RelayId>, now_ms: u64) -> Result<(RelayId, UserId), RelayError> {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref().filter(|session| session.ends_at_ms > now_ms + TOKEN_MARGIN_MS) {
            return Ok((session.relay, session.user));
        }
        let fresh = self.draw(credential, known, now_ms).await?;
        let (relay, user) = (fresh.relay, fresh.user);
        *session = Some(fresh);
        self.relay.get_or_init(|| relay);
        Ok((relay, user))
    }

    /// Logs in unless that was done, at whom it was done at before; for whoever only listens.
    pub(super) async fn log_in_again(&self, now_ms: u64) -> Result<(), RelayError> {
        let known = self.relay.get().copied().ok_or(RelayError::None)?;
        self.log_in(Some(known), now_ms).await.map(drop)
    }

    async fn draw(&self, credential: &LoginCredential, known: Option<RelayId>, now_ms: u64) -> Result<Session, RelayError> {
        let Identity { key, workspace, .. } = &self.identity;
        let request = json!({ "device_id": key.device(), "workspace_id": workspace });
        let drawn: Challenge = self.post_json(&["v1", "challenge"], &request).await?;
        let relay = known.unwrap_or(drawn.relay_id);
        if relay != drawn.relay_id {
            return Err(RelayError::AnotherRelay { url: self.url.clone(), known: relay, now: drawn.relay_id });
        }
        let challenge = unhex(&drawn.challenge).ok_or_else(|| RelayError::NotUnderstood("its challenge is not hexadecimal".to_owned()))?;
        let signature = login::answer(key, &relay, workspace, &challenge);
        let request = json!({ "challenge": drawn.challenge, "signature": hex(&signature.0), "credential": credential });
        let granted: Granted = self.post_json(&["v1", "token"], &request).await?;
        // Counted from before it was asked for, by the clock that it will be compared with.
        let ends_at_ms = now_ms.saturating_add(token_life_ms(drawn.expires_at_ms, granted.expires_at_ms));
        Ok(Session { token: granted.token, user: granted.user_id, relay, ends_at_ms })
    }

    /// The token of the login, for a WebSocket.
    pub(super) async fn token(&self) -> Option<String> {
        self.session.lock().await.as_ref().map(|session| session.token.clone())
    }

    /// Forgets the login: the next one is made anew.
    pub(super) async fn log_out(&self) {
        *self.session.lock().await = None;
    }

    /// Sends a packet.
    pub(super) async fn sync(&self, packet: &SyncPacket) -> Result<SyncResponse, RelayError> {
        let bytes = written(packet)?;
        let mut url = self.url.join(&["v1", "sync"]);
        url.set_query(Some("views=false"));
        let request = self.http.post(url).header(header::ACCEPT_ENCODING, "zstd").header(header::CONTENT_TYPE, "application/cbor");
        let response = self.send_as_member(self.counted(request, bytes)).await?;
        let body = self.body(response, PACKET_ENCODED_BYTES_MAX).await?;
        in_thread(move || Ok(SyncResponse::from_bytes(&body, PACKET_LIMITS)?.0)).await
    }

    /// How far it holds the workspace.
    pub(super) async fn workspace(&self) -> Result<WorkspaceInfo, RelayError> {
        self.get(&[]).await
    }

    /// Its signed word on its log, now or as of a version.
    pub(super) async fn checkpoint(&self, version: Option<u64>) -> Result<Checkpoint, RelayError> {
        let mut url = self.of_workspace(&["checkpoint"]);
        url.set_query(version.map(|version| format!("version={version}")).as_deref());
        let response = self.send_as_member(self.http.get(url)).await?;
        self.json(response).await
    }

    /// The canonical version of a node; `None` when it has none. The document's `fetchCanonicalVersion`.
    pub(crate) async fn fetch_canonical_version(&self, node: &NodeId) -> Result<Option<CanonicalNode>, RelayError> {
        match self.get::<Canonical>(&["nodes", &node.to_string()]).await {
            Ok(found) => Ok(Some(found.node)),
            Err(RelayError::Refused(refusal)) if refusal.code == "unknown_node" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells where this device is, for so many seconds.
    pub(crate) async fn announce(&self, addresses: &[String], seconds: u32) -> Result<(), RelayError> {
        let body = json!({ "addresses": addresses, "seconds": seconds }).to_string().into_bytes();
        let request = self.http.request(Method::PUT, self.of_workspace(&["addresses"]));
        self.send_as_member(self.counted(request, body)).await.map(drop)
    }

    /// Where members are.
    pub(crate) async fn directory(&self) -> Result<Directory, RelayError> {
        self.get(&["addresses"]).await
    }

    /// Attachments by hash, at most [`ATTACHMENTS_MAX`]: as many as it puts into one answer.
    pub(super) async fn attachments(&self, wanted: &[OpHash]) -> Result<Given, RelayError> {
        // As JSON so many hashes would be more than a relay takes of a question.
        let body = encoding::encode(&AttachmentWish { hashes: wanted }, CBOR)?;
        let request = self.http.post(self.of_workspace(&["attachments", "fetch"]));
        let response = self.send_as_member(self.counted(request, body)).await?;
        let bytes = self.body(response, PACKET_ENCODED_BYTES_MAX).await?;
        let (batch, _) = encoding::decode_any::<AttachmentBatch>(&bytes, PACKET_LIMITS)?;
        Given::of(wanted, batch).ok_or_else(|| RelayError::NotUnderstood("it leaves out the attachments it was asked for".to_owned()))
    }

    /// Which of these attachments, at most [`ATTACHMENTS_MAX`], are named by operations that it holds and are not there. `None` when it is
    /// too old to be asked.
    pub(super) async fn missing_attachments(&self, asked: &[OpHash]) -> Result<Option<Vec<OpHash>>, RelayError> {
        let body = encoding::encode(&AttachmentWish { hashes: asked }, CBOR)?;
        let request = self.http.post(self.of_workspace(&["attachments", "missing"]));
        match self.send_as_member(self.counted(request, body)).await {
            Ok(response) => Ok(Some(self.json::<MissingAttachments>(response).await?.missing)),
            Err(RelayError::Refused(refusal)) if matches!(refusal.code.as_str(), "no_such_path" | "no_such_method") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brings attachments, at most [`ATTACHMENTS_MAX`] and what fits into a body.
    pub(super) async fn upload_attachments(&self, attachments: Vec<(OpHash, Vec<u8>)>) -> Result<(), RelayError> {
        let attachments = attachments.into_iter().map(|(hash, bytes)| AttachmentEntry { hash, bytes }).collect();
        let body = encoding::encode(&AttachmentBatch { attachments, left: Vec::new() }, CBOR)?;
        let request = self.http.post(self.of_workspace(&["attachments"])).header(header::CONTENT_TYPE, "application/cbor");
        self.send_as_member(self.counted(request, body)).await.map(drop)
    }

    /// Whether attachments may be brought now: not when it refused them a moment ago.
    pub(super) fn takes_attachments(&self, now_ms: u64) -> bool {
        self.attachments_due_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// Brings none before then.
    pub(super) fn put_attachments_off(&self, until_ms: u64) {
        self.attachments_due_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Whether it may be asked now for attachments that it had not got.
    pub(super) fn may_be_asked_for_attachments(&self, now_ms: u64) -> bool {
        self.asking_due_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// Asks for none before then.
    pub(super) fn ask_for_attachments_after(&self, due_ms: u64) {
        self.asking_due_ms.store(due_ms, Ordering::Relaxed);
    }

    /// Asks for them not later than then.
    pub(super) fn ask_for_attachments_by(&self, due_ms: u64) {
        self.asking_due_ms.fetch_min(due_ms, Ordering::Relaxed);
    }

    fn of_workspace(&self, path: &[&str]) -> reqwest::Url {
        let workspace = self.identity.workspace.to_string();
        let path: Vec<&str> = ["v1", "workspaces", workspace.as_str()].into_iter().chain(path.iter().copied()).collect();
        self.url.join(&path)
    }

    /// The address of its notifications.
    pub(super) fn events_url(&self) -> String {
        let url = self.of_workspace(&["events"]);
        url.as_str().replacen("http", "ws", 1)
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, RelayError> {
        let response = self.send_as_member(self.http.get(self.of_workspace(path))).await?;
        self.json(response).await
    }

    async fn post_json<T: DeserializeOwned>(&self, path: &[&str], request: &serde_json::Value) -> Result<T, RelayError> {
        let request = self.counted(self.http.post(self.url.join(path)), request.to_string().into_bytes());
        let response = self.send(request).await?;
        self.json(response).await
    }

    fn counted(&self, request: RequestBuilder, body: Vec<u8>) -> RequestBuilder {
        self.sent_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        request.body(body)
    }

    /// Sends with the token. One that ended is forgotten, so that the next attempt draws another.
    async fn send_as_member(&self, request: RequestBuilder) -> Result<Response, RelayError> {
        let token = self.token().await.unwrap_or_default();
        let sent = self.send(request.bearer_auth(token)).await;
        if let Err(RelayError::Refused(refusal)) = &sent
            && refusal.status == StatusCode::UNAUTHORIZED.as_u16()
        {
            self.log_out().await;
        }
        sent
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, RelayError> {
        let response = request.send().await.map_err(|error| self.broken(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.body(response, JSON_BYTES_MAX).await?;
        Err(match serde_json::from_slice::<Refused>(&body) {
            Ok(Refused { error: RefusedBody { code, message, retry_after_ms } }) => {
                RelayError::Refused(RelayRefusal { status: status.as_u16(), code, message, retry_after_ms })
            }
            // A proxy in front of it says that it is away.
            Err(_) if status.is_server_error() => {
                let message = "what stands in front of the relay says that it is away".to_owned();
                RelayError::Refused(RelayRefusal { status: status.as_u16(), code: "away".to_owned(), message, retry_after_ms: None })
            }
            Err(_) => RelayError::NotUnderstood(format!("{status} without a reason; is there a relay at {}?", self.url)),
        })
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, RelayError> {
        let body = self.body(response, JSON_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(|error| RelayError::NotUnderstood(format!("{error}; is there a relay at {}?", self.url)))
    }

    async fn body(&self, mut response: Response, max: usize) -> Result<Vec<u8>, RelayError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.len() > max {
                return Err(RelayError::TooLarge { max });
            }
            body.extend_from_slice(&chunk);
        }
        self.received_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(body)
    }

    fn broken(&self, source: reqwest::Error) -> RelayError {
        let url = self.url.clone();
        if source.is_timeout() {
            let waited = if source.is_connect() { CONNECT_TIME } else { REQUEST_TIME };
            return RelayError::TimedOut { url, waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX) };
        }
        // The URL is in our own words already.
        RelayError::Unreachable { url, source: source.without_url() }
    }
}

/// How long a token holds, whatever the relay's clock shows: both times are by that clock.
fn token_life_ms(challenge_ends_ms: u64, token_ends_ms: u64) -> u64 {
    let drawn_ms = challenge_ends_ms.saturating_sub(CHALLENGE_LIFE_MS);
    token_ends_ms.saturating_sub(drawn_ms).min(TOKEN_LIFE_MS_MAX)
}

/// A packet as it travels. One that shrinks so well that a relay would take it for a trap goes as it is.
fn written(packet: &SyncPacket) -> Result<Vec<u8>, PacketError> {
    let plain = encoding::encode(packet, CBOR)?;
    if packet.compression == CompressionType::None {
        return Ok(plain);
    }
    let compressed = compress(&plain, packet.compression)?;
    let is_suspicious = plain.len() > PACKET_LIMITS.decoded_max_of(compressed.len());
    Ok(if is_suspicious && plain.len() <= PACKET_ENCODED_BYTES_MAX { plain } else { compressed })
}

/// Work that would hold up other tasks.
pub(super) async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, RelayError> + Send + 'static) -> Result<T, RelayError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(RelayError::NotUnderstood(format!("reading it failed: {error}"))),
    }
}
