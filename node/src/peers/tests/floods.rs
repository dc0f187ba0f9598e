//! Floods: whatever it is that a member says over and over, it is dropped for it, and nobody else is disturbed.

use std::time::Duration;

use futures::io::AsyncReadExt as _;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, LogId};
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::replica::Ladder;
use nodespace_protocol::session::message::{Credential, Message, Range, RangeContent};
use tokio::time::timeout;

use super::company::{PATIENCE, Somebody, agree, company};
use super::hostile::{hello, last_written, undisturbed};
use crate::net::SYNC_PROTOCOL;
use crate::net::frames::{FrameError, write_frame};

/// Frames of one flood: more than a peer may send that bring nothing.
const FRAMES: u64 = 10_000;
/// How long one is kept up.
const FLOOD: Duration = Duration::from_secs(3);
/// Streams that are opened before the victim is looked at again.
const STREAMS: usize = 64;

/// Says hello as a member, then what comes first, then one thing after another, until it is not listened to any more. It reads what it is
/// answered: else the line would be full before anything is noticed.
async fn flood(member: &Somebody, victim: &Somebody, first: &[Message], next: impl Fn(u64) -> Message) {
    // They may connect anew just now.
    let Ok(stream) = member.peers.net().open(victim.id(), SYNC_PROTOCOL).await else { return };
    let hello = hello(member, victim).await;
    let (answers, mut stream) = stream.split();
    let listening = tokio::spawn(async move { futures::io::copy(answers, &mut futures::io::sink()).await });
    let said = async {
        write_frame(&mut stream, &hello).await?;
        for message in first {
            write_frame(&mut stream, &message.encode()).await?;
        }
        for number in 0..FRAMES {
            write_frame(&mut stream, &next(number).encode()).await?;
        }
        Ok::<_, FrameError>(())
    };
    // Dropped, or not read any more: either will do.
    timeout(FLOOD, said).await.ok();
    listening.abort();
}

/// Demands that a member is dropped that says these things without end. It floods again and again: its honest half opens streams as well,
/// and the newest stream counts.
async fn is_dropped(all: &[Somebody], first: &[Message], next: impl Fn(u64) -> Message) {
    agree(all).await;
    let flooding = async {
        while !all[0].has_refused("protocol_broken").await {
            flood(&all[1], &all[0], first, &next).await;
        }
    };
    assert!(timeout(PATIENCE, flooding).await.is_ok(), "{:?} and its like are borne without end", next(0));
    all[0].write("after", "written all the same").await;
}

/// A question about all logs.
fn all_logs(content: RangeContent) -> Message {
    let first = LogId { device: DeviceId([0; 32]), epoch: 0 };
    Message::Frontier { reply: false, ranges: vec![Range { from: first, to: None, content }] }
}

/// A digest that is nobody's.
fn digest(number: u64) -> [u8; 32] {
    let mut digest = [0xd1; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_without_end() {
    is_dropped(&company(1).await, &[], |number| Message::Plan { ops: number, bytes: number }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_without_end_of_nothing() {
    // Something is under way to it, which it never acknowledges.
    let lacks_all = all_logs(RangeContent::Entries(Vec::new()));
    is_dropped(&company(1).await, &[lacks_all], |number| Message::Ack { frames: 0, frontier: digest(number) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn summaries_without_end() {
    let summary = |number| Message::Summary { frontier: digest(number), state: [0; 8], unfolded: 0 };
    is_dropped(&company(1).await, &[], summary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_without_end() {
    is_dropped(&company(1).await, &[], |number| Message::Done { frontier: digest(number) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comparisons_without_end() {
    is_dropped(&company(1).await, &[], |_| all_logs(RangeContent::Fingerprint([7; 16], 3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ladders_without_end() {
    let log = LogId { device: DeviceId([1; 32]), epoch: 1 };
    is_dropped(&company(1).await, &[], |_| Message::Ladder { want: true, ladder: Ladder { log, rungs: Vec::new() } }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_without_end_that_are_held() {
    let all = company(1).await;
    let segment = all[1].workspace().read(last_written).await.unwrap();
    is_dropped(&all, &[], |_| Message::Segments(vec![segment.clone()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_without_end() {
    let certificate = Certificate::issue(&KeyPair::from_seed(&[5; 32]), DeviceId([1; 32]));
    is_dropped(&company(1).await, &[], |_| Message::Credential(Credential::Device(certificate))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_without_end_who_it_is() {
    is_dropped(&company(1).await, &[], |_| Message::WhoAreYou).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_without_end_on_one_stream() {
    let hello = |number| Message::Hello { versions: (1, 1), attachments: true, boot_nonce: number, salt: [2; 16], tag: [3; 16] };
    is_dropped(&company(1).await, &[], hello).await;
}

/// Each stream begins a session and says nothing more; goodbyes without end are no other thing.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_without_end_are_not_begun() {
    let all = company(1).await;
    agree(&all).await;
    let hello = hello(&all[1], &all[0]).await;
    let beginning = async {
        while !all[0].has_refused("overdrawn").await {
            for _ in 0..STREAMS {
                match all[1].peers.net().open(all[0].id(), SYNC_PROTOCOL).await {
                    // What becomes of each does not matter.
                    Ok(mut stream) => drop(write_frame(&mut stream, &hello).await),
                    // They connect anew just now.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        }
    };
    assert!(timeout(PATIENCE, beginning).await.is_ok(), "whatever is begun is gone on with");
    undisturbed(&all, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_without_end() {
    is_dropped(&company(1).await, &[], |_| Message::Claims(Vec::new())).await;
}
