//! Peers that somebody set by hand: shown at once, dialled once there is something to talk about.

use super::network::Network;
use crate::net::admission::Roll;

/// With a workspace, and nobody in it.
fn alone() -> Roll {
    Roll { has_workspace: true, ..Roll::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_set_by_hand_is_shown_before_there_is_a_workspace_and_dialled_when_there_is() {
    let mut there = Network::start(21);
    there.net.set_roll(alone()).await;
    let address = there.named_address().await;
    // One by the configuration, one while it runs.
    let by_configuration = Network::with_peers(22, vec![address.clone()]);
    let by_command = Network::start(23);
    by_command.knows(there.device, address).await;
    for here in [by_configuration, by_command] {
        assert_eq!(here.net.by_hand().await, [there.device].into());
        let shown = here.shown(there.device).await.unwrap();
        assert!(!shown.connected);
        assert_eq!(shown.address, Some(there.address().await));
        here.net.set_roll(alone()).await;
        there.meets(here.device).await;
    }
}

/// What was done: two devices had each other in their configuration before they shared a workspace, so each was a host to the other and
/// neither a guest. What was seen: the connection they had stayed when they became members, and it is one without gossip. What holds now:
/// it is made anew.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_set_by_hand_and_becomes_a_member_gossips() {
    let mut one = Network::start(27);
    let mut other = Network::start(28);
    one.net.set_roll(alone()).await;
    other.net.set_roll(alone()).await;
    // Nobody listens there: the other dials, and this one knows it.
    one.knows(other.device, "/ip4/127.0.0.1/tcp/9".parse().unwrap()).await;
    other.knows(one.device, one.address().await).await;
    one.meets(other.device).await;
    other.meets(one.device).await;
    one.befriend(other.device).await;
    other.befriend(one.device).await;
    one.hears(&other.net, "as a member", 0).await;
    other.hears(&one.net, "as a member too", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_taken_back_is_neither_shown_nor_kept() {
    let there = Network::start(24);
    there.net.set_roll(alone()).await;
    let mut here = Network::start(25);
    here.net.set_roll(alone()).await;
    here.knows(there.device, there.address().await).await;
    here.meets(there.device).await;
    assert!(here.net.forget(there.device, there.address().await).await);
    here.loses(there.device).await;
    assert!(here.net.by_hand().await.is_empty());
    assert_eq!(here.shown(there.device).await, None);
    assert!(!here.net.forget(there.device, there.address().await).await, "it is not there any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_set_as_its_own_peer_has_none() {
    let here = Network::start(26);
    here.net.set_roll(alone()).await;
    here.knows(here.device, here.address().await).await;
    assert!(here.net.by_hand().await.is_empty());
    assert_eq!(here.shown(here.device).await, None);
}
