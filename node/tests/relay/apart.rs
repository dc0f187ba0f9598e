//! Two devices that are never online at the same time.

use crate::stage::{Home, Relay};

#[test]
fn devices_that_are_never_online_together_sync_and_join_by_the_relay_alone() {
    let Some(relay) = Relay::start() else { return };
    let (founder, joiner) = (Home::new(), Home::new());
    founder.run(&["init", "--name", "Notes"]);
    founder.run(&["node", "create", "--id", "first", "written before anybody came"]);
    let list = founder.json(&["relay", "add", &relay.url]);
    assert_eq!(list["relays"][0]["url"], relay.url.as_str());
    let ticket = founder.invite();
    founder.sync();

    // The founder's process is gone. All the joiner has is the ticket.
    let joined = joiner.json(&["join", &ticket]);
    assert_eq!(joined["result"]["joined"].as_array().or_else(|| joined["joined"].as_array()).unwrap().len(), 1, "{joined}");
    assert_eq!(joiner.text("first"), "written before anybody came");
    joiner.run(&["node", "create", "--id", "reply", "hello from elsewhere"]);
    joiner.sync();

    founder.sync();
    assert_eq!(founder.text("reply"), "hello from elsewhere");
    let relays = founder.json(&["relay", "status"]);
    assert_eq!(relays["relays"][0]["missing_there_max"], 0, "{relays}");
    let checks = founder.json(&["relay", "check"]);
    assert_eq!(checks["checks"][0]["usable"], true, "{checks}");
    let digest = |home: &Home| home.json(&["status"])["state_digest"].clone();
    assert_eq!(digest(&founder), digest(&joiner));
}

#[test]
fn a_ticket_that_the_relay_knows_to_be_used_up_is_refused_with_the_reason() {
    let Some(relay) = Relay::start() else { return };
    let (founder, first, second) = (Home::new(), Home::new(), Home::new());
    founder.run(&["init", "--name", "Notes"]);
    founder.run(&["relay", "add", &relay.url]);
    let ticket = founder.invite();
    founder.sync();
    first.run(&["join", &ticket]);
    let (code, _, err) = second.ran(&["join", &ticket]);
    assert_ne!(code, Some(0));
    assert!(err.contains("used up"), "{err}");
}
