//! Gossip: sealed, and alive after a restart.

use nodespace_protocol::ids::DeviceId;

use super::company::{agree, company};
use crate::peers::GossipUse;

/// How many messages of others a device accepted by gossip.
fn accepted(somebody: &super::company::Somebody) -> u64 {
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
            let channel = crate::peers::gossip::Channel::of(replica.membership()).unwrap();
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
