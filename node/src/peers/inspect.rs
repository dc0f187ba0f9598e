//! A node's version at a peer: what forced reconciliation compares with (the document's `fetchCanonicalVersion`, among peers).
//!
//! One question a stream: a frame of CBOR `[workspace (32 bytes), node id]`; the answer `[known, heads [hash ...], digest (32 bytes)]`, the
//! heads ascending. Only members of the workspace are answered; everybody else gets an empty stream.

use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use nodespace_protocol::ids::{DeviceId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::store::StoreError;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::cbor::{decode, encode};
use crate::engine::{Device, DeviceReplica, Workspace};
use crate::net::Stream;
use crate::net::frames::{FrameError, read_frame, write_frame};
use crate::sync::SyncFailure;

/// The largest frame of a question or an answer.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The most heads of an answer; a node with more differs.
const HEADS_MAX: usize = 1_024;
/// How long a question may take to come, to be answered, and its answer to leave. Whoever asks waits as long.
const ANSWER_TIME: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Question(#[serde(with = "serde_bytes")] Vec<u8>, String);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer(bool, Vec<serde_bytes::ByteBuf>, #[serde(with = "serde_bytes")] Vec<u8>);

/// What is held of a node here.
fn version(replica: &DeviceReplica, node: &NodeId) -> Result<Answer, StoreError> {
    let Some(state) = replica.node(node)? else { return Ok(Answer(false, Vec::new(), Vec::new())) };
    let mut heads: Vec<OpHash> = state.heads().iter().map(|head| head.stamp.hash).collect();
    heads.sort_unstable();
    heads.truncate(HEADS_MAX);
    let digest = replica.node_digest(node)?.unwrap_or_default();
    Ok(Answer(true, heads.into_iter().map(|hash| serde_bytes::ByteBuf::from(hash.0)).collect(), digest.to_vec()))
}

/// Whether all operations on a node that are held have been folded.
fn is_settled(replica: &DeviceReplica, node: &NodeId) -> Result<bool, StoreError> {
    for hash in replica.unfolded() {
        if replica.op(&hash)?.is_some_and(|op| op.header.node.as_ref() == Some(node)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks whether all operations on a node that are held here have been folded.
///
/// # Errors
/// When one waits for another, or the store fails.
pub(super) async fn settled(workspace: &Workspace, node: &NodeId) -> Result<(), SyncFailure> {
    let asked = node.clone();
    let settled = workspace.read(move |replica| is_settled(replica, &asked)).await;
    match settled {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(SyncFailure::ConflictResolutionFailed { nodes: [node.clone()].into() }),
        Ok(Err(_)) | Err(_) => Err(SyncFailure::StoreFailed),
    }
}

/// Asks a peer, and compares. Another history is not settled yet: the comparison of logs brings it. The same history with another outcome
/// is a fault that no exchange can heal. The same version with operations that wait for others is not settled either: neither side has
/// what they wait for.
pub(super) async fn reconcile(workspace: &Workspace, node: &NodeId, mut stream: Stream) -> Result<(), SyncFailure> {
    let broken = |error: FrameError| match error {
        FrameError::Closed | FrameError::Broken(_) => SyncFailure::Unreachable,
        FrameError::TooLarge { .. } | FrameError::TooSlow => SyncFailure::ProtocolBroken,
    };
    let question = encode(&Question(workspace.id().0.to_vec(), node.to_string()));
    write_frame(&mut stream, &question).await.map_err(broken)?;
    let theirs: Answer = decode(&read_frame(&mut stream, FRAME_BYTES_MAX).await.map_err(broken)?).ok_or(SyncFailure::ProtocolBroken)?;
    let asked = node.clone();
    let ours = workspace.read(move |replica| version(replica, &asked)).await.map_err(|_| SyncFailure::StoreFailed)?;
    let ours = ours.map_err(|_| SyncFailure::StoreFailed)?;
    match (ours == theirs, ours.1 == theirs.1) {
        (true, _) => settled(workspace, node).await,
        (false, true) => Err(SyncFailure::DataCorruption { node: Some(node.clone()) }),
        (false, false) => Err(SyncFailure::ConflictResolutionFailed { nodes: [node.clone()].into() }),
    }
}

/// Answers a peer's question.
pub(super) async fn answer(device: Device, peer: DeviceId, stream: Stream) {
    answer_within(device, peer, stream, ANSWER_TIME).await;
}

async fn answer_within(device: Device, peer: DeviceId, mut stream: impl AsyncRead + AsyncWrite + Unpin, patience: Duration) {
    let answer = async {
        let question: Question = decode(&read_frame(&mut stream, FRAME_BYTES_MAX).await.ok()?)?;
        let workspace = device.open_workspace(WorkspaceId(question.0.try_into().ok()?))?;
        let node = NodeId::parse(&question.1).ok()?;
        let look = move |replica: &DeviceReplica| {
            replica.membership().role(&peer)?;
            version(replica, &node).ok()
        };
        let answer = workspace.read(look).await.ok()??;
        write_frame(&mut stream, &encode(&answer)).await.ok()
    };
    if !matches!(timeout(patience, answer).await, Ok(Some(()))) {
        tracing::debug!(device = %peer.short(), "a question about a node was not answered");
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;
    use crate::engine::OpenOptions;

    /// A peer that opened a stream and says nothing.
    struct Silent;

    impl AsyncRead for Silent {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Silent {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_opens_a_stream_and_asks_nothing_is_given_up() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("home");
        Device::create_empty(&path).unwrap();
        let device = Device::open(OpenOptions { projection: false, ..OpenOptions::new(path) }).await.unwrap();
        let answering = answer_within(device.clone(), device.id(), Silent, Duration::from_millis(20));
        assert!(timeout(Duration::from_secs(10), answering).await.is_ok(), "it is waited for");
        device.close().await.unwrap();
    }
}
