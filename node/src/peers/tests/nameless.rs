//! Peers that somebody adds by an address that does not say who is there.

use nodespace_protocol::ids::DeviceId;
use tokio::net::TcpListener;

use super::company::{Somebody, agree, company};
use crate::engine::Network as _;
use crate::model::ErrorCode;
use crate::net::address::split_peer;

/// Where a device listens, without its name.
async fn address_of(somebody: &Somebody) -> String {
    split_peer(&somebody.listening().await).unwrap().0.to_string()
}

async fn by_hand(somebody: &Somebody) -> Vec<DeviceId> {
    somebody.peers.net().by_hand().await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_known_by_its_answer_and_kept() {
    let all = company(1).await;
    agree(&all).await;
    let address = address_of(&all[1]).await;
    all[0].peers.add_peer(address.clone()).await.unwrap();
    assert_eq!(by_hand(&all[0]).await, [all[1].id()]);
    all[1].write("x", "undisturbed").await;
    all[0].sees("x", "undisturbed").await;
    all[0].peers.remove_peer(address.clone()).await.unwrap();
    assert!(by_hand(&all[0]).await.is_empty());
    let error = all[0].peers.remove_peer(address).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
    agree(&all).await;
}

/// The members-only gate stays as it is: who is no member is neither kept nor connected with, and is told nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_is_named_and_not_kept() {
    let here = Somebody::new("Notes").await;
    let stranger = Somebody::new("Others").await;
    let error = here.peers.add_peer(address_of(&stranger).await).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Forbidden, "{error}");
    let full = stranger.listening().await.to_string();
    assert!(error.to_string().contains(&full), "it says what to write to dial it all the same: {error}");
    assert!(by_hand(&here).await.is_empty());
    for somebody in [&here, &stranger] {
        assert!(somebody.peers.snapshot().await.unwrap().peers.is_empty(), "nobody is connected");
    }
    stranger.refused("handshake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_device_is_said_to_be_none() {
    let here = Somebody::new("Notes").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
    // It takes connections and closes them.
    let closing = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = here.peers.add_peer(address).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    assert!(by_hand(&here).await.is_empty());
    closing.abort();
}
