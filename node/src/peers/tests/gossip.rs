//! Gossip: sealed, alive after a restart, and believed no more than a session.

use std::time::Duration;

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::op::Segment;
use tokio::time::timeout;

use super::company::{PATIENCE, Somebody, agree, company};
use super::hostile::{altered, knows, untold};
use crate::engine::DeviceReplica;
use crate::peers::GossipUse;
use crate::peers::gossip::Channel;

/// How many messages of others a device accepted by gossip.
fn accepted(somebody: &Somebody) -> u64 {
    somebody.peers.net().metrics().gossip_received.get_or_create(&[("verdict", "accepted")]).get()
}

/// What was done: a device restarted while its connections stood. What was seen in other systems: it received gossip and could send none, for
/// ever (rust-libp2p#5097). What holds now: what it writes after the restart is gossiped, and accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_started_anew_gossips_again() {
    let mut all = company(1).await;
    agree(&all).await;
    let second = all.pop().unwrap().restart(GossipUse::Always).await;
    let first = all.pop().unwrap();
    first.is_synced_with(&[&second]).await;
    let before = accepted(&first);
    let mut number = 0;
    while accepted(&first) == before {
        number += 1;
        assert!(number < 2_000, "nothing that is gossiped arrives");
        second.write(&format!("g{number}"), "by gossip or by the session").await;
        first.sees(&format!("g{number}"), "by gossip or by the session").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_operation_is_opened_by_who_knows_the_workspace_alone() {
    let all = company(0).await;
    all[0].write("x", "y").await;
    let (channel, segment, other) = all[0]
        .workspace()
        .read(|replica| {
            let channel = Channel::of(replica.membership()).unwrap();
            let id = nodespace_protocol::ids::NodeId::parse("x").unwrap();
            let hash = replica.history(&id).unwrap()[0].op;
            (channel, replica.gossip(&hash).unwrap().unwrap(), DeviceId([0; 32]))
        })
        .await
        .unwrap();
    assert_ne!(all[0].id(), other);
    let sealed = channel.seal(&segment).unwrap();
    assert_eq!(channel.open(&sealed).unwrap().encode(), segment.encode());
    for at in [0, 24, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(channel.open(&changed).is_err(), "byte {at}");
    }
    for cut in [0, 10, 24, sealed.len() - 1] {
        assert!(channel.open(&sealed[..cut]).is_err(), "cut at {cut}");
    }
}

/// A member gossips an operation, until something has come of it: what is said while the two connect anew is lost.
async fn gossips(member: &Somebody, segment: &Segment, came: impl AsyncFn() -> bool) {
    let channel = member.workspace().read(|replica| Channel::of(replica.membership())).await.unwrap().unwrap();
    let mut status = member.workspace().watch_sync_status();
    let gossiping = async {
        while !came().await {
            // Each time it is sealed anew: the same message is not heard twice.
            member.peers.net().publish(channel.topic().to_owned(), channel.seal(segment).unwrap());
            timeout(Duration::from_millis(20), status.changed()).await.ok();
        }
    };
    timeout(PATIENCE, gossiping).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_altered_and_gossips_is_refused_and_counted() {
    let mut all = company(1).await;
    let segment = untold(&mut all, "word", "the truth").await;
    agree(&all).await;
    let held = |replica: &DeviceReplica| replica.frontier_digest();
    let before = all[0].workspace().read(held).await.unwrap();
    let lie = altered(&segment, b"truth", b"lies!");
    gossips(&all[1], &lie, async || all[0].has_refused("operations").await).await;
    all[0].counts("nodespace_net_gossip_received_total{verdict=\"rejected\"}", |rejected| rejected > 0).await;
    assert!(!knows(&all[0], "word").await);
    assert_eq!(all[0].workspace().read(held).await.unwrap(), before, "nothing of it is stored");
    // The same operation by the same way, as its author wrote it: it was the alteration that was refused.
    gossips(&all[1], &segment, async || knows(&all[0], "word").await).await;
    for somebody in &all {
        somebody.sees("word", "the truth").await;
    }
    agree(&all).await;
}
