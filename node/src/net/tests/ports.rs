//! Dials leave by the port that is listened on: what hole punching lives on, since a router keeps one way open for one port.

use nodespace_protocol::crypto::KeyPair;

use super::network::Network;
use super::wire::port;

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_leaves_by_the_port_that_is_listened_on() {
    let mut listens = Network::start(11);
    let address = listens.address().await;
    listens.befriend(KeyPair::from_seed(&[12; 32]).device()).await;
    // Told whom to dial as soon as it starts, which is before it has heard that it listens.
    let dials = Network::start(12);
    dials.befriend(listens.device).await;
    dials.knows(listens.device, address).await;
    listens.meets(dials.device).await;
    let seen = listens.shown(dials.device).await.and_then(|peer| peer.address);
    assert_eq!(seen.as_ref().map(port), Some(port(&dials.address().await)), "{seen:?}");
}
