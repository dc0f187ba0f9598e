//! Devices with multicast on. It hides faults of dialling, so all other tests run without it; these show that nothing breaks by it. Where a
//! machine has none they hold as well. That devices find each other by it takes another interface than the loopback: the testnet's `lan`
//! laboratory has that.

use super::company::{Somebody, agree, company_with_multicast};
use crate::engine::Network as _;

/// How many devices it shows as peers.
async fn peers(somebody: &Somebody) -> usize {
    somebody.peers.snapshot().await.unwrap().peers.len()
}

/// How often it has dialled anybody.
fn dials(somebody: &Somebody) -> u64 {
    ["connected", "failed"].iter().map(|result| somebody.metric(&format!("nodespace_net_dials_total{{result=\"{result}\"}}"))).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_meet_and_who_is_none_is_not_dialled() {
    let stranger = Somebody::new_with_multicast("Others").await;
    let all = company_with_multicast(2).await;
    all[1].write("one", "from a joiner").await;
    all[2].write("other", "from another one").await;
    all[2].sees("one", "from a joiner").await;
    all[1].sees("other", "from another one").await;
    agree(&all).await;
    for somebody in &all {
        assert_eq!(peers(somebody).await, all.len() - 1, "members alone");
    }
    assert_eq!((peers(&stranger).await, dials(&stranger)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_the_network_heals_by_itself() {
    let all = company_with_multicast(1).await;
    agree(&all).await;
    all[0].peers.net().panic_on_purpose().await;
    all[0].counts("nodespace_net_restarts_total", |restarts| restarts == 1).await;
    // It listens at another port now, and may not have heard yet where the other one is; on the loopback multicast tells neither.
    all[1].is_told_of(&all[0]).await;
    all[0].write("after", "the network was started anew").await;
    all[1].sees("after", "the network was started anew").await;
    agree(&all).await;
}
