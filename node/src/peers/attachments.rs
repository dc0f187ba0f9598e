//! Attachments that came to one device and not to another: a peer is asked for those of operations that are held here without.
//!
//! One question a stream: a frame of CBOR `[workspace (32 bytes), [operation hash (32 bytes) ..]]`, at most [`ASKED_MAX`] operations; the answer
//! `[[[place in the question, bytes] ..], more]`, where `more` says that there was no room for others that are held. A question for nothing is
//! an announcement: attachments came late where it comes from, and whoever asked there in vain may ask again. Only members of the workspace
//! are answered; everybody else gets an empty stream.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use nodespace_protocol::ids::{DeviceId, OpHash, WorkspaceId};
use nodespace_protocol::store::StoreError;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::time::timeout;

use super::cbor::{decode, encode};
use super::workspace::{Inbox, Input, LateNote};
use crate::engine::{Device, DeviceReplica, Workspace, attachment_of};
use crate::net::Stream;
use crate::net::frames::{read_frame, write_frame};

/// Operations of one question.
pub(super) const ASKED_MAX: usize = 256;
/// Those that are looked up in one read, which holds up writers: they may be anywhere in the journal.
const LOOKED_UP_MAX: usize = 64;
/// The largest question: so many hashes, and what is around them.
const QUESTION_BYTES_MAX: usize = 16 * 1024;
/// Bytes of attachments in one answer, about; those beyond it are asked for again.
const GIVEN_BYTES_AIM: usize = 1 << 20;
/// The largest answer: the last attachment goes over the aim, and each has a few bytes around it.
const ANSWER_BYTES_MAX: usize = 2 << 20;
const _: () = assert!(GIVEN_BYTES_AIM + nodespace_protocol::op::ATTACHMENT_BYTES_MAX + 16 * ASKED_MAX <= ANSWER_BYTES_MAX);
/// How long a question may take to come, to be answered, and its answer to leave. Whoever asks waits as long.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Question(ByteBuf, Vec<ByteBuf>);

#[derive(Debug, Serialize, Deserialize)]
struct Answer(Vec<(usize, ByteBuf)>, bool);

/// What a peer gave.
#[derive(Debug)]
pub(super) struct Given {
    /// Attachments, by the operation's place in the question. Nobody has checked them.
    pub(super) attachments: BTreeMap<usize, Vec<u8>>,
    /// There was no room for others that it holds.
    pub(super) more: bool,
}

/// Asks a peer. `None` when it does not answer.
pub(super) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, workspace: WorkspaceId, ops: &[OpHash]) -> Option<Given> {
    let ops = ops.iter().map(|hash| ByteBuf::from(hash.0)).collect();
    write_frame(&mut stream, &encode(&Question(ByteBuf::from(workspace.0), ops))).await.ok()?;
    let Answer(attachments, more) = decode(&read_frame(&mut stream, ANSWER_BYTES_MAX).await.ok()?)?;
    Some(Given { attachments: attachments.into_iter().map(|(at, bytes)| (at, bytes.into_vec())).collect(), more })
}

/// Answers a peer's question. `inboxes` are those of the workspaces that are synced.
pub(super) async fn answer(device: Device, peer: DeviceId, stream: Stream, inboxes: BTreeMap<WorkspaceId, Inbox>) {
    answer_within((device, inboxes), peer, stream, ANSWER_TIME).await;
}

async fn answer_within(
    (device, inboxes): (Device, BTreeMap<WorkspaceId, Inbox>),
    peer: DeviceId,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    patience: Duration,
) {
    let answer = async {
        let Question(workspace, ops) = decode(&read_frame(&mut stream, QUESTION_BYTES_MAX).await.ok()?)?;
        let workspace = device.open_workspace(WorkspaceId(workspace.into_vec().try_into().ok()?))?;
        let ops: Vec<OpHash> =
            ops.into_iter().take(ASKED_MAX).map(|hash| <[u8; 32]>::try_from(hash.into_vec()).map(OpHash)).collect::<Result<_, _>>().ok()?;
        // Kept once: whoever does not read has it lie here for some time.
        let answer = encode(&gather(&workspace, peer, &ops).await?);
        if ops.is_empty()
            && let Some(inbox) = inboxes.get(&workspace.id())
        {
            // Where there is no room it is asked again when the time comes.
            inbox.try_send(Input::Late(LateNote::Announced(peer)));
        }
        write_frame(&mut stream, &answer).await.ok()
    };
    if !matches!(timeout(patience, answer).await, Ok(Some(()))) {
        tracing::debug!(device = %peer.short(), "a question for attachments was not answered");
    }
}

/// What a member gets of the attachments of some operations. Nothing when it is none.
async fn gather(workspace: &Workspace, peer: DeviceId, ops: &[OpHash]) -> Option<Answer> {
    let is_member = move |replica: &DeviceReplica| replica.membership().role(&peer);
    workspace.read(is_member).await.ok()??;
    let mut answer = Answer(Vec::new(), false);
    for (part, ops) in ops.chunks(LOOKED_UP_MAX).enumerate() {
        let given: usize = answer.0.iter().map(|(_, bytes)| bytes.len()).sum();
        let (ops, room) = (ops.to_vec(), GIVEN_BYTES_AIM.saturating_sub(given));
        let look = move |replica: &DeviceReplica| {
            is_member(replica)?;
            held(replica, &ops, room).ok()
        };
        let Answer(found, more) = workspace.read(look).await.ok()??;
        answer.0.extend(found.into_iter().map(|(at, bytes)| (part * LOOKED_UP_MAX + at, bytes)));
        answer.1 = more;
        if more {
            break;
        }
    }
    Some(answer)
}

/// What is held here of the attachments of some operations, until there is no `room` for more bytes.
fn held(replica: &DeviceReplica, ops: &[OpHash], room: usize) -> Result<Answer, StoreError> {
    let mut answer = Answer(Vec::new(), false);
    let mut bytes = 0;
    for (at, hash) in ops.iter().enumerate() {
        let Some(op) = replica.op(hash)? else { continue };
        let Some(attachment) = attachment_of(replica, &op)? else { continue };
        if bytes >= room {
            answer.1 = true;
            break;
        }
        bytes += attachment.len();
        answer.0.push((at, ByteBuf::from(attachment.to_vec())));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[test]
    fn the_largest_question_and_answer_go_into_their_frames() {
        let question = Question(ByteBuf::from([7_u8; 32]), vec![ByteBuf::from([9_u8; 32]); ASKED_MAX]);
        assert!(encode(&question).len() <= QUESTION_BYTES_MAX);
        let largest = ByteBuf::from(vec![3_u8; nodespace_protocol::op::ATTACHMENT_BYTES_MAX]);
        let count = GIVEN_BYTES_AIM / largest.len() + 1;
        assert!(encode(&Answer(vec![(ASKED_MAX - 1, largest); count], true)).len() <= ANSWER_BYTES_MAX);
        let small = ByteBuf::from(vec![3_u8; GIVEN_BYTES_AIM / ASKED_MAX]);
        assert!(encode(&Answer(vec![(ASKED_MAX - 1, small); ASKED_MAX], true)).len() <= ANSWER_BYTES_MAX);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_none() {
        for garbage in [&b""[..], &[0xff; 40], &[0, 0, 0, 2, 0x82, 0x80], &[0xff, 0xff, 0xff, 0xff]] {
            // What is written goes over what is read, which comes after it.
            let question = encode(&Question(ByteBuf::from([1_u8; 32]), Vec::new())).len() + 4;
            let mut line = vec![0; question];
            line.extend_from_slice(garbage);
            assert!(ask(Cursor::new(line), WorkspaceId([1; 32]), &[]).await.is_none(), "{garbage:?}");
        }
        let mut line = vec![0; encode(&Question(ByteBuf::from([1_u8; 32]), Vec::new())).len() + 4];
        write_frame(&mut line, &encode(&Answer(vec![(2, ByteBuf::from([5_u8]))], true))).await.unwrap();
        let given = ask(Cursor::new(line), WorkspaceId([1; 32]), &[]).await.unwrap();
        assert_eq!((given.attachments, given.more), ([(2, vec![5])].into(), true));
    }
}
