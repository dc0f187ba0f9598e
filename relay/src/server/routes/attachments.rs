//! Attachments up and down, in bulk and one by one.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use nodespace_protocol::compress::{CompressionType, Limits};
use nodespace_protocol::ids::OpHash;
use nodespace_protocol::op::ATTACHMENT_BYTES_MAX;
use nodespace_protocol::view::encoding::{self, PACKET_ENCODED_BYTES_MAX};
use nodespace_protocol::view::{Encoding, Framing};
use serde::{Deserialize, Serialize};

use super::super::{App, body, caller};
use crate::attachments::ATTACHMENTS_MAX;
use crate::auth::{Caller, Grant};
use crate::hex::unhex_array;
use crate::memory::{Share, unfold};
use crate::refusal::Refusal;
use crate::store::attachments::AttachmentHash;
use crate::sync::in_thread;

/// Attachments do not shrink well; a body that does is none, and none unfolds to more than what may be sent as it is.
const LIMITS: Limits = Limits { encoded_max: PACKET_ENCODED_BYTES_MAX, decoded_max: PACKET_ENCODED_BYTES_MAX, ratio_max: 16 };

/// Attachments as they travel in bulk, in CBOR: `{"attachments": [{"hash": .., "bytes": ..}]}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AttachmentBatch {
    /// Each with its hash.
    pub attachments: Vec<AttachmentEntry>,
    /// In answers: those that are not here.
    #[serde(default)]
    pub missing: Vec<OpHash>,
    /// In answers: those that did not fit; ask for them again.
    #[serde(default)]
    pub left: Vec<OpHash>,
}

/// One attachment.
#[derive(Debug, Serialize, Deserialize)]
pub struct AttachmentEntry {
    /// Its hash, as the header of its operation names it.
    pub hash: OpHash,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Which attachments are wanted.
#[derive(Debug, Deserialize)]
pub struct AttachmentWish {
    /// By hash.
    pub hashes: Vec<OpHash>,
}

pub(crate) async fn upload(
    State(app): State<App>,
    Path(workspace): caller::Part,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Refusal> {
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let row = caller.row()?.clone();
    check_member(&caller.grant)?;
    let (bytes, share) = body::read(&app, request, PACKET_ENCODED_BYTES_MAX).await?;
    let (batch, _share) = in_thread(move || read(bytes, share)).await??;
    check_count(batch.attachments.len())?;
    if batch.attachments.iter().any(|entry| entry.bytes.len() > ATTACHMENT_BYTES_MAX) {
        return Err(Refusal::too_large("attachment_too_large", format!("an attachment has at most {ATTACHMENT_BYTES_MAX} bytes")));
    }
    let sent: Vec<_> = batch.attachments.into_iter().map(|entry| (entry.hash.0, Bytes::from(entry.bytes))).collect();
    let stored = app.shared.attachments.store(caller.workspace, &row, &sent).await?;
    Ok(axum::Json(serde_json::json!({ "stored": stored, "known": sent.len() - stored })).into_response())
}

/// Reads a batch. The share is what that may take meanwhile, and then what is left of it.
fn read(bytes: Bytes, mut share: Share) -> Result<(AttachmentBatch, Share), Refusal> {
    let (batch, _) = unfold::<AttachmentBatch>(bytes, LIMITS, &mut share)?;
    share.set_to(batch.attachments.iter().map(|entry| (size_of::<AttachmentEntry>() + entry.bytes.len()) as u64).sum())?;
    Ok((batch, share))
}

/// Who asks, and about which attachments.
async fn wished(app: &App, headers: &HeaderMap, workspace: &str, request: Body) -> Result<(Caller, Vec<AttachmentHash>), Refusal> {
    let caller = caller::identify_in(app, headers, workspace).await?;
    caller.row()?;
    let wish: AttachmentWish = body::small(app, request).await?;
    check_count(wish.hashes.len())?;
    Ok((caller, wish.hashes.iter().map(|hash| hash.0).collect()))
}

pub(crate) async fn fetch(
    State(app): State<App>,
    Path(workspace): caller::Part,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Refusal> {
    let (caller, hashes) = wished(&app, &headers, &workspace, request).await?;
    let row = caller.row()?;
    let mut share = app.shared.memory.answer();
    let found = app.shared.attachments.fetch(caller.workspace, row, &hashes, &mut share).await?;
    let batch = AttachmentBatch {
        attachments: found
            .attachments
            .into_iter()
            .map(|(hash, bytes)| AttachmentEntry { hash: OpHash(hash), bytes: bytes.into() })
            .collect(),
        missing: found.missing.into_iter().map(OpHash).collect(),
        left: found.left.into_iter().map(OpHash).collect(),
    };
    let framing = Framing { encoding: Encoding::Cbor, compression: CompressionType::None };
    let bytes = encoding::encode(&batch, framing).map_err(|error| Refusal::from(&error))?;
    share.set_to(bytes.len() as u64)?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], body::held(bytes, share)).into_response())
}

pub(crate) async fn missing(
    State(app): State<App>,
    Path(workspace): caller::Part,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Refusal> {
    let (caller, hashes) = wished(&app, &headers, &workspace, request).await?;
    let row = caller.row()?;
    let missing: Vec<OpHash> = app.shared.attachments.missing(row, &hashes).await?.into_iter().map(OpHash).collect();
    Ok(axum::Json(serde_json::json!({ "missing": missing })).into_response())
}

pub(crate) async fn put_one(
    State(app): State<App>,
    Path((workspace, hash)): Path<(String, String)>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Refusal> {
    let hash = parse_hash(&hash)?;
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let row = caller.row()?.clone();
    check_member(&caller.grant)?;
    let (bytes, _share) = body::read(&app, request, ATTACHMENT_BYTES_MAX).await?;
    let stored = app.shared.attachments.store(caller.workspace, &row, &[(hash, bytes)]).await?;
    Ok(if stored == 1 { StatusCode::CREATED } else { StatusCode::OK }.into_response())
}

pub(crate) async fn get_one(
    State(app): State<App>,
    Path((workspace, hash)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let hash = parse_hash(&hash)?;
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let mut share = app.shared.memory.answer();
    let mut found = app.shared.attachments.fetch(caller.workspace, caller.row()?, &[hash], &mut share).await?;
    let missing = || Refusal::not_found("unknown_attachment", "the attachment is not here");
    let (_, bytes) = found.attachments.pop().ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body::held(bytes, share)).into_response())
}

fn parse_hash(text: &str) -> Result<[u8; 32], Refusal> {
    unhex_array(text).ok_or_else(|| Refusal::bad_request("bad_hash", "an attachment's hash is 64 hexadecimal digits"))
}

/// Newcomers read; what they may bring is the operation that makes them members.
fn check_member(grant: &Grant) -> Result<(), Refusal> {
    match grant {
        Grant::Member(_) => Ok(()),
        Grant::Newcomer | Grant::Founder => Err(Refusal::forbidden("join_first", "attachments are taken from members")),
    }
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if count <= ATTACHMENTS_MAX {
        return Ok(());
    }
    Err(Refusal::too_large("too_many_attachments", format!("{count} attachments in one request, at most {ATTACHMENTS_MAX} are taken")))
}
