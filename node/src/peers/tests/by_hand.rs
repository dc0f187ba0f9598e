//! Peers that somebody set by hand.

use super::company::{PATIENCE, Somebody};
use crate::engine::Network as _;
use crate::model::PeerStatus;

/// How a device shows another one.
async fn shown(here: &Somebody, other: &Somebody) -> Option<PeerStatus> {
    let network = here.peers.snapshot().await.unwrap();
    network.peers.into_iter().find(|peer| peer.device == Some(other.id().to_string()))
}

/// What was done: a peer was added on a device that had no workspace yet. What was seen: nothing, as if it had not been added. What holds
/// now: it is listed, with no workspace in common and no connection; and it is where this device joins, though the ticket names nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_added_before_there_is_a_workspace_is_listed_and_joined_at() {
    let founder = Somebody::new("Notes").await;
    let joiner = Somebody::empty().await;
    joiner.peers.add_peer(founder.listening().await.to_string()).await.unwrap();
    let before = shown(&joiner, &founder).await.expect("it was added");
    assert!(!before.connected);
    assert!(before.workspaces.is_empty() && before.address.is_some());

    let mut ticket = founder.invite(1).await;
    ticket.addresses.clear();
    joiner.join(&ticket).await.unwrap();
    let after = shown(&joiner, &founder).await.unwrap();
    assert_eq!(after.workspaces, [joiner.workspace().id().to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_taken_back_is_listed_no_more() {
    let here = Somebody::new("Notes").await;
    let other = Somebody::empty().await;
    let address = other.listening().await.to_string();
    here.peers.add_peer(address.clone()).await.unwrap();
    assert!(shown(&here, &other).await.is_some(), "with a workspace here, and none there");
    here.peers.remove_peer(address.clone()).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while shown(&here, &other).await.is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it is listed still");
        tokio::task::yield_now().await;
    }
    assert!(here.peers.remove_peer(address).await.is_err(), "it is not there any more");
}
