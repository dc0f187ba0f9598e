//! Frames that are no message, and frames that are too large: before a peer has said who it is, and after it has.

use futures::io::AsyncWriteExt as _;
use nodespace_protocol::session::Message;
use nodespace_protocol::session::message::FRAME_BYTES_MAX;
use tokio::time::timeout;

use super::company::{PATIENCE, Somebody, agree, company};
use super::hostile::{Stranger, hello, undisturbed};
use crate::net::frames::{read_frame, write_frame};
use crate::net::{SYNC_PROTOCOL, Stream};

/// Who was refused for breaking the protocol.
const BROKEN: &str = "nodespace_net_refused_total{reason=\"protocol_broken\"}";
/// Members that were not synced with for that.
const FAILED: &str = "nodespace_sync_failures_total{target=\"peer\",code=\"protocol_broken\"}";

/// Announces a frame of so many bytes, and says no more.
async fn announce(stream: &mut Stream, bytes: usize) {
    let length = u32::try_from(bytes).unwrap().to_be_bytes();
    // A stream that is gone says so when it is read.
    stream.write_all(&length).await.ok();
    stream.flush().await.ok();
}

/// Waits until the other end has closed a stream.
async fn is_closed(stream: &mut Stream) {
    let closing = async { while read_frame(stream, FRAME_BYTES_MAX).await.is_ok() {} };
    timeout(PATIENCE, closing).await.unwrap();
}

/// A stream on which a member has said hello and was admitted: it is shown what is held there.
async fn admitted(member: &Somebody, victim: &Somebody) -> Option<Stream> {
    let mut stream = member.peers.net().open(victim.id(), SYNC_PROTOCOL).await.ok()?;
    write_frame(&mut stream, &hello(member, victim).await).await.ok()?;
    loop {
        let frame = read_frame(&mut stream, FRAME_BYTES_MAX).await.ok()?;
        if matches!(Message::decode(&frame).unwrap(), Message::Summary { .. }) {
            return Some(stream);
        }
    }
}

/// A member is admitted and then says something, until it was refused for that. Its honest half opens streams as well, and of two the newer
/// one counts.
async fn break_protocol(member: &Somebody, victim: &Somebody, say: impl AsyncFn(&mut Stream)) {
    let before = victim.metric(BROKEN);
    let breaking = async {
        while victim.metric(BROKEN) == before {
            match admitted(member, victim).await {
                Some(mut stream) => {
                    say(&mut stream).await;
                    is_closed(&mut stream).await;
                }
                // They connect anew, or the other stream counts.
                None => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, breaking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_is_too_large_is_refused_with_its_reason() {
    let all = company(1).await;
    let mut stranger = Stranger::at(&all[0], 41).await;
    let mut stream = stranger.stream(&all[0]).await;
    // A message may be as large as that, later.
    announce(&mut stream, FRAME_BYTES_MAX).await;
    all[0].refused("malformed_hello").await;
    is_closed(&mut stream).await;
    undisturbed(&all, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_say_what_is_no_message_or_too_large_are_dropped_and_taken_again() {
    let all = company(2).await;
    agree(&all).await;
    // By one, what is no message; by another, more than any message may have. Neither disturbs the third.
    break_protocol(&all[1], &all[0], async |stream| drop(write_frame(stream, &[0xff; 100]).await)).await;
    all[0].counts(FAILED, |failures| failures > 0).await;
    all[2].write("meanwhile", "undisturbed").await;
    all[0].sees("meanwhile", "undisturbed").await;
    let failed = all[0].metric(FAILED);
    break_protocol(&all[2], &all[0], async |stream| announce(stream, FRAME_BYTES_MAX + 1).await).await;
    all[0].counts(FAILED, |failures| failures > failed).await;
    undisturbed(&all, "b").await;
}
