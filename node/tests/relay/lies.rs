//! A relay that signs what contradicts what it signed before, with its own key: the device says so, keeps the evidence, and does not use it.

use serde_json::Value;

use crate::liar::{Liar, Lie, fork, retell, set_back};
use crate::stage::{Home, Relay};

fn relay_of(home: &Home) -> Value {
    home.json(&["relay", "status"])["relays"][0].clone()
}

/// Syncs, whatever comes of it.
fn try_to_sync(home: &Home) -> Value {
    let (_, out, err) = home.ran(&["sync", "now", "--wait", "10s", "--json"]);
    let answer = serde_json::from_str(out.lines().last().unwrap_or_default()).or_else(|_| serde_json::from_str(&out));
    answer.unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

/// A device that has synced is lied to. Answers the alarm that it raises, when the lie is over and its relay was honest again.
fn lied_to(lie: Lie) -> Option<Value> {
    let relay = Relay::start()?;
    let liar = Liar::before(&relay);
    let home = Home::new();
    home.run(&["init", "--name", "Notes"]);
    home.run(&["node", "create", "--id", "first", "before the lie"]);
    home.run(&["relay", "add", &liar.url]);
    assert_eq!(try_to_sync(&home)["summary"]["state"], "synced");
    assert_eq!(relay_of(&home)["alarm"], Value::Null);

    liar.tell(Some(lie));
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

#[test]
fn two_signed_logs_of_one_version_raise_an_alarm_that_holds_both() {
    let Some(alarm) = lied_to(fork) else { return };
    let (before, now) = (&alarm["before"], &alarm["now"]);
    assert_eq!((&before["epoch"], &before["version"]), (&now["epoch"], &now["version"]), "{alarm}");
    assert_ne!(before["running_hash"], now["running_hash"]);
    assert_eq!(now["running_hash"], "07".repeat(32));
    assert!(alarm["message"].as_str().unwrap().contains("two different logs"), "{alarm}");
}

#[test]
fn a_signed_log_that_is_shorter_than_one_signed_before_raises_an_alarm_that_holds_both() {
    let Some(alarm) = lied_to(set_back) else { return };
    let (before, now) = (&alarm["before"], &alarm["now"]);
    assert_eq!(before["epoch"], now["epoch"]);
    assert_eq!(before["version"].as_u64().unwrap(), now["version"].as_u64().unwrap() + 1);
    assert!(alarm["message"].as_str().unwrap().contains("set back"), "{alarm}");
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
