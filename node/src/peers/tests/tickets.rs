//! Tickets over real connections: of a user's other device, and one that has ended.

use std::sync::Arc;

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::membership::Role;

use super::company::{Somebody, agree, company};
use super::hostile::undisturbed;
use crate::engine::Clock;
use crate::model::{AddDevice, ErrorCode};
use crate::net::address::named;
use crate::net::peer_id;

/// Two hours.
const BACK: Clock = Clock::ahead_by_ms(-7_200_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_users_second_device_joins_all_of_the_users_workspaces() {
    let first = Somebody::new("Notes").await;
    let notes = first.workspace();
    first.write("before", "written before it came").await;
    let garden = first.device.found_workspace("Garden", Policy::default()).await.unwrap();
    let second = Somebody::empty().await;
    let request = AddDevice { device: second.id().to_string(), workspaces: None };
    let invitation = first.device.add_device(None, request).await.unwrap();
    assert!(invitation.ticket.starts_with("nsdevice-") && invitation.addresses > 0, "{} addresses", invitation.addresses);

    let report = second.device.join(&invitation.ticket, Arc::new(|_| ())).await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let mut joined: Vec<_> = report.joined.iter().map(|joined| (joined.name.as_str(), joined.role.as_str(), joined.confirmed)).collect();
    joined.sort_unstable();
    assert_eq!(joined, [("Garden", "owner", true), ("Notes", "owner", true)]);
    assert_eq!(second.device.identity().user, first.device.identity().user, "it is the same user's");

    for workspace in [&notes, &garden] {
        let there = second.device.open_workspace(workspace.id()).unwrap();
        second.write_to(&there, "reply", "from the second").await;
        first.sees_in(workspace, "reply", "from the second").await;
        first.write_to(workspace, "answer", "from the first").await;
        second.sees_in(&there, "answer", "from the first").await;
    }
    second.device.set_default_workspace(notes.id()).await.unwrap();
    second.sees("before", "written before it came").await;
    let again = second.device.join(&invitation.ticket, Arc::new(|_| ())).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::AlreadyExists, "{again}");
    agree(&[first, second]).await;
}

/// Who joins by a clock that is behind takes its ticket for good; whoever it comes to knows better.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_has_ended_is_refused_where_it_is_shown() {
    let all = company(1).await;
    let founder = all[0].workspace();
    let invited = founder.write(None, |replica, now| {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Ok(replica.invite(now, &KeyPair::from_seed(&seed), Role::Editor, now.plus_ms(1), 5)?)
    });
    let mut ticket = invited.await.unwrap();
    ticket.addresses = all[0].device.ticket_addresses().addresses;
    while all[0].device.clock().now() <= ticket.expires {
        tokio::task::yield_now().await;
    }
    let late = Somebody::empty().await.restart_by(BACK).await;
    let error = late.join(&ticket).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InviteRefused, "{error}");
    assert!(error.to_string().contains("says: the invite does not hold: it ended"), "by the host, not by itself: {error}");
    assert!(late.device.workspaces().is_empty(), "nothing stays of it");
    all[0].refused("not_member").await;
    undisturbed(&all, "a").await;
}

/// What was done: a ticket that only names its device was used where nobody is looked for by multicast. What was seen: after a minute, that it
/// had been looked for by multicast. What holds now: what is missing is said at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_alone_leads_nowhere_where_nobody_is_looked_for() {
    let founder = Somebody::new("Notes").await;
    let joiner = Somebody::secluded().await;
    let mut ticket = founder.invite(1).await;
    ticket.addresses = vec![named("", &peer_id(&founder.id()).unwrap().to_string())];
    let error = joiner.join(&ticket).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    for part in [founder.id().short().as_str(), "network.explicit_only", "nodespace peers add"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}
