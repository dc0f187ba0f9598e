//! One connection a peer, over real ones: more of them and gossipsub falls silent without a word. (A relayed one beside a direct one takes a
//! router between the two to come about: the pure part's tests have it, and the testnet's `circuit` laboratory.)

use super::network::Network;
use super::wire::Wire;

/// How often we closed a connection for a reason.
fn closed(network: &Network, reason: &'static str) -> u64 {
    network.net.metrics().closed.get_or_create(&[("reason", reason)]).get()
}

/// What was done: two devices dialled each other at the same time, and both connections came about. What is seen without care: both stay, or
/// each side closes another one and none stays, and dialling begins anew. What holds: both keep the same one, and gossip goes both ways.
#[tokio::test(flavor = "multi_thread")]
async fn when_both_dial_at_once_both_keep_one_and_the_same_and_gossip_by_it() {
    // Several pairs: whose id is lower differs, and so does who is quicker.
    for seed in [41, 43, 45, 47] {
        let (mut one, mut other) = (Network::start(seed), Network::start(seed + 1));
        let (to_one, to_other) = (Wire::held_to(&one.address().await).await, Wire::held_to(&other.address().await).await);
        one.befriend(other.device).await;
        other.befriend(one.device).await;
        one.knows(other.device, to_other.address()).await;
        other.knows(one.device, to_one.address()).await;
        to_one.is_dialled().await;
        to_other.is_dialled().await;
        // Neither has heard of the other's dial.
        to_one.release();
        to_other.release();
        one.meets(other.device).await;
        other.meets(one.device).await;
        to_one.stand_together(&to_other, 1).await;
        let both = |reason| closed(&one, reason) + closed(&other, reason);
        assert!(both("duplicate") > 0 && both("superseded") == 0, "one of them went, and not both");
        // Topics that were told over the one that went are told again when its end is noticed; who hears the other gossip before that
        // connects anew. So both speak.
        let (by_one, by_other) = (one.net.clone(), other.net.clone());
        tokio::join!(one.hears(&by_other, "one way", 0), other.hears(&by_one, "the other way", 0));
        to_one.stand_together(&to_other, 1).await;
    }
}
