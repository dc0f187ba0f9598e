//! Gossip goes on working, whatever becomes of connections.

use super::network::{Network, PATIENCE, TOPIC};
use super::wire::Wire;
use crate::net::{GOSSIP_BYTES_MAX, NetEvent, Verdict};

/// What was done: a device lost its power while it was connected, and came back within a second, with the same name, while the other end
/// still thought that the old connection stood. What is seen without care: the second connection is not the first to that peer, gossipsub
/// tells its topics at the first alone, so the one that came back never learns whom to gossip to (rust-libp2p#5097). What holds: what it
/// says arrives again, and what is said to it as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_came_back_over_a_dead_connection_gossips_again() {
    let mut stays = Network::start(1);
    let address = stays.address().await;
    let wire = Wire::to(&address).await;
    let mut goes = Network::start(2);
    stays.befriend(goes.device).await;
    goes.befriend(stays.device).await;
    goes.knows(stays.device, wire.address()).await;
    stays.meets(goes.device).await;
    stays.hears(&goes.net, "before", 0).await;
    goes.hears(&stays.net, "also before", 0).await;
    wire.die();
    goes.net.stop().await;

    let mut back = Network::start(2);
    back.befriend(stays.device).await;
    assert!(stays.shown(back.device).await.is_some_and(|peer| peer.connected), "the old connection stands, as far as it knows");
    back.knows(stays.device, address).await;
    // It first, since nobody it has not heard of is told anything by it.
    stays.hears(&back.net, "after", 0).await;
    back.hears(&stays.net, "also after", 0).await;
}

/// A peer's word about its topics was lost: it is heard by what it says, and would be told nothing. It is connected with anew, once.
#[tokio::test(flavor = "multi_thread")]
async fn who_gossips_on_a_topic_it_is_not_known_to_have_is_connected_with_anew() {
    let mut one = Network::start(3);
    let mut other = Network::start(4);
    one.befriend(other.device).await;
    other.befriend(one.device).await;
    other.net.set_topics([].into()).await;
    other.knows(one.device, one.address().await).await;
    other.meets(one.device).await;
    let repairs = one.net.metrics().closed.get_or_create(&[("reason", "gossip_repair")]).clone();
    one.hears(&other.net, "without a word", 0).await;
    assert_eq!(repairs.get(), 1);
    other.loses(one.device).await;
    other.meets(one.device).await;
    // Not again and again: what still is not known after that is not worth a connection every second.
    one.hears(&other.net, "still without", 0).await;
    one.hears(&other.net, "and once more", 0).await;
    assert_eq!(repairs.get(), 1);
    other.net.set_topics([TOPIC.to_owned()].into()).await;
    other.hears(&one.net, "an answer", 0).await;
}

/// The receiver checks a whole RPC against its bound, the sender only its message: between the largest that is gossiped and the bound there
/// is room for what is added on the way.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_arrives_and_the_stream_lives() {
    /// What sealing adds.
    const SEAL_BYTES: usize = 24 + 16;
    let mut one = Network::start(5);
    let mut other = Network::start(6);
    one.befriend(other.device).await;
    other.befriend(one.device).await;
    other.knows(one.device, one.address().await).await;
    one.hears(&other.net, "large", GOSSIP_BYTES_MAX + SEAL_BYTES).await;
    one.hears(&other.net, "small", 0).await;
    other.hears(&one.net, "large too", GOSSIP_BYTES_MAX + SEAL_BYTES).await;
}

/// Nobody reads what happens: commands are taken all the same, nothing piles up, and in the end the reader has the right picture.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_sleeps_holds_nothing_up() {
    let mut sleeps = Network::start(7);
    let mut other = Network::start(8);
    sleeps.befriend(other.device).await;
    other.befriend(sleeps.device).await;
    other.knows(sleeps.device, sleeps.address().await).await;
    other.meets(sleeps.device).await;
    // More than there is room for, of which the rest is counted as dropped.
    let dropped = sleeps.net.metrics().dropped.get_or_create(&[("kind", "gossip")]).clone();
    let mut number = 0_u32;
    let flood = async {
        while dropped.get() == 0 {
            number += 1;
            other.net.publish(TOPIC.to_owned(), number.to_be_bytes().repeat(64 * 256));
            // It is not told faster than it takes what it is told.
            other.net.snapshot().await.unwrap();
        }
    };
    assert!(tokio::time::timeout(PATIENCE, flood).await.is_ok(), "{number} messages, and none was dropped");
    // It still does what it is told, and has not lost the one event that matters.
    assert!(sleeps.shown(other.device).await.is_some_and(|peer| peer.connected));
    sleeps.meets(other.device).await;
    let event = sleeps.event("gossip", |event| matches!(event, NetEvent::Gossip(_))).await;
    let NetEvent::Gossip(message) = event else { panic!("it was looked at: {event:?}") };
    sleeps.net.judge(message, Verdict::Accept).await;
}
