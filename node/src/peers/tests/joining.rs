//! Joining, leaving, and what both see.

use super::company::{Somebody, agree, company, reconnected};
use crate::engine::Network as _;
use crate::model::ErrorCode;
use crate::sync::status::{Summary, TargetState};

#[tokio::test(flavor = "multi_thread")]
async fn devices_join_and_hold_the_same() {
    let founder = Somebody::new("Notes").await;
    founder.write("before", "written before anybody came").await;
    let ticket = founder.invite(1).await;
    let joiner = Somebody::empty().await;
    let joined = joiner.join(&ticket).await.unwrap();
    assert_eq!((joined.name.as_str(), joined.role.as_str(), joined.confirmed), ("Notes", "editor", true));
    joiner.sees("before", "written before anybody came").await;
    joiner.write("reply", "hello").await;
    founder.sees("reply", "hello").await;
    founder.write("answer", "welcome").await;
    joiner.sees("answer", "welcome").await;
    let all = [founder, joiner];
    agree(&all).await;
    // Waited for, as the connection is made anew some seconds after the join, which may be now.
    all[0].status("all to be synced", |status| status.summary == Summary::Synced { confirmed: 1, known: 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_devices_find_each_other_by_one_of_them() {
    let all = company(2).await;
    // Both joined at the founder; the third hears of the second from it, or the other way round.
    all[1].is_synced_with(&[&all[2]]).await;
    all[2].write("x", "from the third").await;
    all[1].sees("x", "from the third").await;
    agree(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_used_up_is_refused_with_the_reason() {
    let all = company(1).await;
    let ticket = all[0].invite(1).await;
    let second = Somebody::empty().await;
    second.join(&ticket).await.unwrap();
    all[0].is_synced_with(&[&second]).await;
    let late = Somebody::empty().await;
    let error = late.join(&ticket).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InviteRefused, "{error}");
    assert!(error.to_string().contains("used up"), "{error}");
    assert!(late.device.workspaces().is_empty(), "nothing stays of it");
    all[0].refused("not_member").await;
    all[1].write("meanwhile", "others are not disturbed").await;
    all[0].sees("meanwhile", "others are not disturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_is_told_so_and_gets_nothing_more() {
    let all = company(2).await;
    agree(&all).await;
    let removed = all[2].id();
    let user = all[0].workspace().read(move |replica| replica.membership().user(&removed)).await.unwrap().unwrap();
    all[0].workspace().write(None, move |replica, now| Ok(replica.remove_member(now, user)?)).await.unwrap();
    all[0].write("secret", "not for the one who left").await;
    all[1].sees("secret", "not for the one who left").await;
    let status = all[2]
        .status("help", |status| {
            status.targets.iter().any(|target| target.failure.as_ref().is_some_and(|failure| failure.code == "turned_away"))
        })
        .await;
    assert!(!status.is_synced(), "{status}");
    let id = nodespace_protocol::ids::NodeId::parse("secret").unwrap();
    assert!(all[2].workspace().read(move |replica| replica.view(&id).is_err()).await.unwrap());
    all[0].refused("removed").await;
    all[0].is_synced_with(&[&all[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_apart_arrives_after_a_restart() {
    let mut all = company(1).await;
    agree(&all).await;
    let away = all.pop().unwrap();
    let home = away.restart_offline().await;
    let founder = &all[0];
    founder.status("its peer to be away", |status| status.targets.iter().all(|target| target.state == TargetState::Away)).await;
    founder.write("here", "while the other is away").await;
    let status = founder.workspace().watch_sync_status();
    assert!(!status.borrow().is_synced());
    let back = home.come_back().await;
    back.sees("here", "while the other is away").await;
    founder.sees("offline", "written offline").await;
    agree(&[all.pop().unwrap(), back]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workspaces_of_the_same_two_devices_stay_apart() {
    let all = company(1).await;
    let second = all[1].device.found_workspace("Second", nodespace_protocol::conflict::Policy::default()).await.unwrap();
    let ticket = {
        let mut ticket = second
            .write(None, |replica, now| {
                let key = nodespace_protocol::crypto::KeyPair::from_seed(&[9; 32]);
                Ok(replica.invite(now, &key, nodespace_protocol::membership::Role::Editor, now.plus_ms(3_600_000), 1)?)
            })
            .await
            .unwrap();
        ticket.addresses = all[1].device.ticket_addresses().addresses;
        ticket
    };
    all[0].join(&ticket).await.unwrap();
    let there = all[0].device.open_workspace(second.id()).unwrap();
    all[0].write_to(&there, "x", "in the second").await;
    all[1].sees_in(&second, "x", "in the second").await;
    all[0].write("x", "in the first").await;
    all[1].sees("x", "in the first").await;
    all[1].sees_in(&second, "x", "in the second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_a_sync_is_answered_when_it_is_done() {
    let all = reconnected(company(1).await).await;
    all[0].write("x", "y").await;
    let status = all[0].peers.sync_now(all[0].workspace(), None).await.unwrap();
    assert!(status.is_synced(), "{status}");
    let alone = Somebody::new("Alone").await;
    let status = alone.peers.sync_now(alone.workspace(), None).await.unwrap();
    assert_eq!(status.summary, Summary::LocalOnly);
}
