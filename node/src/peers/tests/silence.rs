//! Gossip that reaches nobody: it is a hint, and nothing waits for it or sends it again.

use std::time::Duration;

use tokio::time::timeout;

use super::company::Somebody;
use crate::engine::Network as _;

/// Messages of a device that were handed to gossip, whatever became of them.
fn gossiped(somebody: &Somebody) -> u64 {
    let results = ["published", "nobody", "too_large", "failed", "dropped"];
    let sent = &somebody.peers.net().metrics().gossip_sent;
    results.iter().map(|result| sent.get_or_create(&[("result", *result)]).get()).sum()
}

/// Messages of others that a device took by gossip.
fn accepted(somebody: &Somebody) -> u64 {
    somebody.peers.net().metrics().gossip_received.get_or_create(&[("verdict", "accepted")]).get()
}

/// What was done: of three devices two are connected with the third and not with each other, so they gossip; and nobody listens to gossip. What
/// was seen in other systems: what was gossiped meanwhile was lost, or waited in a queue that had to be drained in the end. What holds: all of
/// it arrives by sessions, by way of the third.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_hears_as_gossip_arrives_all_the_same() {
    let middle = Somebody::new("Notes").await;
    let ticket = middle.invite(2).await;
    let (first, last) = (Somebody::secluded().await, Somebody::secluded().await);
    first.join(&ticket).await.unwrap();
    last.join(&ticket).await.unwrap();
    middle.is_synced_with(&[&first, &last]).await;
    let all = [&first, &middle, &last];
    for somebody in all {
        // What is known of members has been acted upon by the time that this is answered; it sets the topics, and nothing does after it.
        somebody.peers.sync_now(somebody.workspace(), None).await.unwrap();
    }
    for somebody in all {
        somebody.peers.net().set_topics([].into()).await;
    }
    let before = all.map(|somebody| (gossiped(somebody), accepted(somebody)));
    for number in 0..10 {
        first.write(&format!("first-{number}"), "from one end").await;
        last.write(&format!("last-{number}"), "from the other").await;
    }
    for number in 0..10 {
        last.sees(&format!("first-{number}"), "from one end").await;
        first.sees(&format!("last-{number}"), "from the other").await;
    }
    middle.is_synced_with(&[&first, &last]).await;
    assert_eq!(first.digest().await, last.digest().await);
    assert!(is_gossiping(&first, before[0].0).await && is_gossiping(&last, before[2].0).await, "it was not even tried");
    for (somebody, (_, before)) in all.iter().zip(before) {
        assert_eq!(accepted(somebody), before, "something came by gossip");
    }
}

/// Waits until a device has gossiped more than before.
async fn is_gossiping(somebody: &Somebody, before: u64) -> bool {
    let gossips = async {
        while gossiped(somebody) == before {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), gossips).await.is_ok()
}
