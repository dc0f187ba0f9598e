//! Sums that are wrong by themselves: each node is in order, and still two devices would never again agree. The doctor names the sum, and
//! the next start makes it anew from the log.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::NewNode;

use super::company::{Somebody, agree, company};
use super::falsified::{falsify_order, falsify_sum};
use crate::model::{DoctorReport, DoctorRequest, Severity};

const DIFFERED: &str = "nodespace_sync_failures_total{target=\"peer\",code=\"data_corruption\"}";

async fn examined(somebody: &Somebody, repair: bool) -> DoctorReport {
    somebody.workspace().doctor(DoctorRequest { repair }, |_| {}).await.unwrap()
}

/// The doctor finds this and nothing else; its advice is followed, and then there is nothing to find.
async fn mended(somebody: Somebody, what: &str) -> Somebody {
    for repair in [false, true] {
        let report = examined(&somebody, repair).await;
        let wrong: Vec<_> = report.findings.iter().filter(|finding| finding.severity > Severity::Note).collect();
        let [found] = wrong[..] else { panic!("one thing is wrong: {report:#?}") };
        assert!(found.area == "checkpoint" && found.message.contains(what), "{found:?}");
        assert!(found.advice.contains("nodespace doctor --repair") && found.repaired == repair, "{found:?}");
        assert_eq!(report.healthy, repair, "{report:#?}");
    }
    let somebody = somebody.stop().await.come_back().await;
    let report = examined(&somebody, false).await;
    assert!(report.healthy, "{report:#?}");
    somebody
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_sum_that_is_wrong_is_named_and_made_anew() {
    let mut all = company(1).await;
    all[0].write("plan", "we meet on Friday").await;
    all[1].sees("plan", "we meet on Friday").await;
    agree(&all).await;
    let second = falsify_sum(all.pop().unwrap()).await.come_back().await;
    for somebody in [&all[0], &second] {
        somebody.counts(DIFFERED, |failures| failures > 0).await;
    }
    assert!(examined(&all[0], false).await.healthy, "nothing is wrong with the other one");
    all.push(mended(second, "the state sum").await);
    agree(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_of_an_order_is_named_before_it_does_harm() {
    let somebody = Somebody::new("Notes").await;
    somebody.write("plan", "what to do").await;
    let plan = NodeId::parse("plan").unwrap();
    let step = NewNode::text(NodeId::parse("step").unwrap(), Some(plan.clone()), "the first step");
    somebody.workspace().write(None, move |replica, now| Ok(replica.create(now, step)?)).await.unwrap();
    let truth = somebody.digest().await;
    let somebody = falsify_order(somebody, &plan).await.come_back().await;
    assert_eq!(somebody.digest().await, truth, "the sum is as it was, until the order changes");
    let somebody = mended(somebody, "order below node `plan`").await;
    assert_eq!(somebody.digest().await, truth);
}
