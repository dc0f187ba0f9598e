//! Members that ask for too much are not answered; nobody else is disturbed.

use std::time::Duration;

use tokio::time::timeout;

use super::company::{Somebody, agree, company};
use crate::net::frames::write_frame;
use crate::net::{ADDRESSES_PROTOCOL, ATTACHMENTS_PROTOCOL, NODE_PROTOCOL, StreamProtocol};

/// How long that may take before a test fails. Far more than it needs: two thousand streams are some seconds' work, and the budget refills
/// meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);
/// Streams that are opened before the victim is looked at again.
const STREAMS: usize = 64;

/// Opens stream after stream, until one is not answered because they are too many. What comes of each does not matter.
async fn overdraw(member: &Somebody, victim: &Somebody, protocol: StreamProtocol) {
    let asking = async {
        while !victim.has_refused("overdrawn").await {
            for _ in 0..STREAMS {
                match member.peers.net().open(victim.id(), protocol.clone()).await {
                    // An array of nothing: an exchange that brings no address, and no question.
                    Ok(mut stream) => drop(write_frame(&mut stream, &[0x80]).await),
                    // They connect anew just now.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        }
    };
    assert!(timeout(PATIENCE, asking).await.is_ok(), "whatever is asked is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_of_addresses_have_a_budget() {
    let all = company(1).await;
    agree(&all).await;
    overdraw(&all[1], &all[0], ADDRESSES_PROTOCOL).await;
    all[1].write("x", "written all the same").await;
    all[0].sees("x", "written all the same").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_nodes_have_a_budget() {
    let all = company(1).await;
    agree(&all).await;
    overdraw(&all[1], &all[0], NODE_PROTOCOL).await;
    all[1].write("x", "written all the same").await;
    all[0].sees("x", "written all the same").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_attachments_have_a_budget() {
    let all = company(1).await;
    agree(&all).await;
    overdraw(&all[1], &all[0], ATTACHMENTS_PROTOCOL).await;
    all[1].write("x", "written all the same").await;
    all[0].sees("x", "written all the same").await;
}
