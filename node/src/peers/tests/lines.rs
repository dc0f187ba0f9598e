//! Devices that are not all connected with each other.

use super::company::{Somebody, agree, company, until};
use crate::engine::DeviceReplica;

#[tokio::test(flavor = "multi_thread")]
async fn many_operations_of_others_are_forwarded() {
    let all = company(1).await;
    let workspace = all[0].workspace();
    workspace
        .write(None, |replica, now| {
            for number in 0..3_000 {
                let id = nodespace_protocol::ids::NodeId::parse(&format!("n{number}")).unwrap();
                replica.create(now, nodespace_protocol::replica::NewNode::text(id, None, format!("note {number}")))?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let ticket = all[1].invite_as_member(&all[0]).await;
    let third = Somebody::empty().await;
    third.join(&ticket).await.unwrap();
    until(&third.workspace(), "all notes", |replica: &DeviceReplica| replica.counts().nodes >= 3_000).await;
    let [first, second]: [Somebody; 2] = all.try_into().ok().unwrap();
    agree(&[first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_the_network_heals_by_itself() {
    const RESTARTS: &str = "nodespace_net_restarts_total";
    let mut all = company(1).await;
    agree(&all).await;
    all[0].peers.net().panic_on_purpose().await;
    all[0].counts(RESTARTS, |restarts| restarts == 1).await;
    // It listens at another port now, as no other device does: and may not have heard yet where the other one is.
    all[1].is_told_of(&all[0]).await;
    all[0].write("after", "the network was started anew").await;
    all[1].sees("after", "the network was started anew").await;
    agree(&all).await;
    // One beside the network task, as in that of a connection.
    all[0].peers.net().panic_in_task_on_purpose().await;
    all[0].counts(RESTARTS, |restarts| restarts == 2).await;
    all[1].is_told_of(&all[0]).await;
    all[0].write("again", "and once more").await;
    all[1].sees("again", "and once more").await;
    // Who comes now is let in.
    let newcomer = Somebody::empty().await;
    newcomer.join(&all[0].invite(1).await).await.unwrap();
    all.push(newcomer);
    agree(&all).await;
}
