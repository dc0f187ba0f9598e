//! A relay that signs what contradicts what it signed before, with its own key: the device says so, keeps the evidence, and does not use it.

use serde_json::Value;

use crate::liar::{Liar, Lie, fork, omit, repeat, retell, set_back};
use crate::stage::{Home, Relay};

fn relay_of(home: &Home) -> Value {
    home.json(&["relay", "status"])["relays"][0].clone()
}

/// Syncs, whatever comes of it.
fn try_to_sync(home: &Home) -> Value {
    let (_, out, err) = home.ran(&["sync", "now", "--wait", "60s", "--json"]);
    let answer = serde_json::from_str(out.lines().last().unwrap_or_default()).or_else(|_| serde_json::from_str(&out));
    answer.unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

/// A device that has synced is lied to, when it has written something if that is what the lie is about. Answers the alarm that it raises, when
/// the lie is over and its relay was honest again.
fn lied_to(lie: Lie, is_about_what_is_written: bool) -> Option<Value> {
    let relay = Relay::start()?;
    let liar = Liar::before(&relay);
    let home = Home::new();
    home.run(&["init", "--name", "Notes"]);
    home.run(&["node", "create", "--id", "first", "before the lie"]);
    home.run(&["relay", "add", &liar.url]);
    assert_eq!(try_to_sync(&home)["summary"]["state"], "synced");
    assert_eq!(relay_of(&home)["alarm"], Value::Null);

    liar.tell(Some(lie));
    if is_about_what_is_written {
        home.run(&["node", "create", "--id", "meanwhile", "during the lie"]);
    }
    assert_ne!(try_to_sync(&home)["summary"]["state"], "synced");
    let alarm = relay_of(&home)["alarm"].clone();
    assert!(alarm.is_object(), "no alarm was raised");
    // Not even when it is honest again: nobody has looked.
    liar.tell(None);
    home.run(&["node", "create", "--id", "second", "after the lie"]);
    assert_ne!(try_to_sync(&home)["summary"]["state"], "synced");
    let now = relay_of(&home);
    assert_eq!((&now["alarm"], now["missing_there_max"].as_u64() > Some(0)), (&alarm, true), "it was used");

    let check = home.json(&["relay", "check"]);
    assert_eq!(check["checks"][0]["usable"], true, "it stands by what it signed first: {check}");
    assert_eq!(try_to_sync(&home)["summary"]["state"], "synced");
    assert_eq!(relay_of(&home)["alarm"], Value::Null);
    Some(alarm)
}

/// A device that has synced, and after that another member has written a node and brought it to the relay, which was honest so far. Answers
/// the first one.
fn two_by_way_of(liar: &Liar, id: &str) -> Home {
    let (first, other) = (Home::new(), Home::new());
    first.run(&["init", "--name", "Notes"]);
    first.run(&["relay", "add", &liar.url]);
    let ticket = first.invite();
    assert_eq!(try_to_sync(&first)["summary"]["state"], "synced");
    other.run(&["join", &ticket]);
    assert_eq!(try_to_sync(&first)["summary"]["state"], "synced");
    other.run(&["node", "create", "--id", id, "written by the other one"]);
    assert_eq!(try_to_sync(&other)["summary"]["state"], "synced");
    first
}

#[test]
fn two_signed_logs_of_one_version_raise_an_alarm_that_holds_both() {
    let Some(alarm) = lied_to(fork, false) else { return };
    let (before, now) = (&alarm["before"], &alarm["now"]);
    assert_eq!((&before["epoch"], &before["version"]), (&now["epoch"], &now["version"]), "{alarm}");
    assert_ne!(before["running_hash"], now["running_hash"]);
    assert_eq!(now["running_hash"], "07".repeat(32));
    assert!(alarm["message"].as_str().unwrap().contains("two different logs"), "{alarm}");
}

#[test]
fn a_signed_log_that_is_shorter_than_one_signed_before_raises_an_alarm_that_holds_both() {
    let Some(alarm) = lied_to(set_back, false) else { return };
    let (before, now) = (&alarm["before"], &alarm["now"]);
    assert_eq!(before["epoch"], now["epoch"]);
    assert_eq!(before["version"].as_u64().unwrap(), now["version"].as_u64().unwrap() + 1);
    assert!(alarm["message"].as_str().unwrap().contains("set back"), "{alarm}");
}

#[test]
fn an_acknowledgement_of_what_the_signed_log_does_not_hold_raises_an_alarm() {
    let Some(alarm) = lied_to(omit, true) else { return };
    assert!(alarm["message"].as_str().unwrap().contains("acknowledged operation"), "{alarm}");
    assert!(alarm["now"]["signature"].is_string(), "the log without it is signed: {alarm}");
}

#[test]
fn what_is_withheld_from_one_device_is_missed_when_it_comes_by_another_way() {
    let Some(relay) = Relay::start() else { return };
    let liar = Liar::before(&relay);
    let victim = two_by_way_of(&liar, "withheld");

    // What nobody else tells of cannot be missed.
    liar.tell(Some(omit));
    assert_eq!(try_to_sync(&victim)["summary"]["state"], "synced");
    assert_ne!(victim.ran(&["node", "get", "withheld"]).0, Some(0));
    assert_eq!(relay_of(&victim)["alarm"], Value::Null);
    // It comes by another way, here by another relay; the one that withheld it is brought it, as every relay is that lacks something.
    victim.run(&["relay", "add", &relay.url]);
    liar.be_away(true);
    try_to_sync(&victim);
    assert_eq!(victim.text("withheld"), "written by the other one");
    assert_eq!(relay_of(&victim)["alarm"], Value::Null);
    liar.be_away(false);
    try_to_sync(&victim);
    let alarm = relay_of(&victim)["alarm"].clone();
    assert!(alarm["message"].as_str().is_some_and(|message| message.contains("acknowledged operation")), "{alarm}");
}

#[test]
fn a_log_that_is_long_enough_by_telling_something_twice_is_not_one_that_holds_everything() {
    let Some(relay) = Relay::start() else { return };
    let liar = Liar::before(&relay);
    let victim = two_by_way_of(&liar, "twice");
    liar.tell(Some(repeat));
    let status = try_to_sync(&victim);
    let codes: Vec<&Value> = status["targets"].as_array().unwrap().iter().map(|target| &target["failure"]["code"]).collect();
    assert!(codes.contains(&&Value::from("version_mismatch")), "both are counted: {status}");
    assert_eq!(victim.text("twice"), "written by the other one", "what came is kept");
}

#[test]
fn a_log_that_was_told_in_another_order_is_caught_by_the_word_that_was_kept_of_it() {
    let Some(relay) = Relay::start() else { return };
    let liar = Liar::before(&relay);
    let (victim, others) = (Home::new(), [Home::new(), Home::new()]);
    victim.run(&["init", "--name", "Notes"]);
    victim.run(&["relay", "add", &liar.url]);
    for other in &others {
        let ticket = victim.invite();
        assert_eq!(try_to_sync(&victim)["summary"]["state"], "synced");
        other.run(&["join", &ticket]);
        assert_eq!(try_to_sync(other)["summary"]["state"], "synced");
    }
    assert_eq!(try_to_sync(&victim)["summary"]["state"], "synced");
    for (other, id) in others.iter().zip(["one", "two"]) {
        other.run(&["node", "create", "--id", id, "written by one of two"]);
        assert_eq!(try_to_sync(other)["summary"]["state"], "synced");
    }
    // The story is whole, and the device takes it.
    liar.tell(Some(retell));
    assert_eq!(try_to_sync(&victim)["summary"]["state"], "synced");
    assert_eq!(relay_of(&victim)["alarm"], Value::Null);
    // The relay cannot go back to what it tells the others.
    liar.tell(None);
    assert_ne!(try_to_sync(&victim)["summary"]["state"], "synced");
    let alarm = relay_of(&victim)["alarm"].clone();
    let (before, now) = (&alarm["before"], &alarm["now"]);
    assert_eq!((&before["epoch"], &before["version"]), (&now["epoch"], &now["version"]), "{alarm}");
    assert_ne!(before["running_hash"], now["running_hash"]);
    // Nor does it help to look: it does not stand by its word.
    let (code, out, _) = victim.ran(&["relay", "check"]);
    assert_ne!(code, Some(0), "{out}");
    assert!(relay_of(&victim)["alarm"].is_object());
    // The others were told one story.
    assert_eq!(relay_of(&others[0])["alarm"], Value::Null);
}
