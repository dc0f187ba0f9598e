//! Peers of the configuration that do not say who is there.

use tokio::time::Instant;

use super::company::{Somebody, agree};
use crate::engine::Network as _;
use crate::net::Multiaddr;
use crate::net::address::split_peer;

/// Where a device listens, without its name.
async fn address_of(somebody: &Somebody) -> Multiaddr {
    split_peer(&somebody.listening().await).unwrap().0
}

/// Waits until a device keeps another one as set by hand, and no other.
async fn keeps(here: &Somebody, other: &Somebody) {
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    while here.peers.net().by_hand().await != [other.id()].into() {
        assert!(Instant::now() < deadline, "it is not kept");
        tokio::task::yield_now().await;
    }
}

/// What was done: a peer stood in the configuration as the documentation of the configuration showed it, by its address alone. What was seen:
/// it was ignored, with a line in the log. What holds now: whoever answers there is asked, as soon as there is a workspace, and kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_asked_and_kept() {
    let founder = Somebody::new("Notes").await;
    let joiner = Somebody::empty_with_peers(vec![address_of(&founder).await]).await;
    joiner.join(&founder.invite(1).await).await.unwrap();
    keeps(&joiner, &founder).await;
    agree(&[founder, joiner]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_is_asked_again_and_not_kept() {
    let stranger = Somebody::new("Others").await;
    let founder = Somebody::new("Notes").await;
    let here = Somebody::empty_with_peers(vec![address_of(&stranger).await]).await;
    here.join(&founder.invite(1).await).await.unwrap();
    // When it is asked for the second time the first answer has been judged.
    stranger.counts("nodespace_net_refused_total{reason=\"handshake\"}", |asked| asked >= 2).await;
    assert!(here.peers.net().by_hand().await.is_empty());
    assert!(stranger.peers.snapshot().await.unwrap().peers.is_empty());
    // Asking ends with the device.
    here.stop().await;
}
