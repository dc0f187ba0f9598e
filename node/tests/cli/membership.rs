//! Workspaces, invites, members and devices by hand, on one device; what needs a peer is refused with words.

use std::time::{Duration, Instant};

use nodespace_node::net::address::split_peer;
use nodespace_node::net::{Multiaddr, device_of};
use nodespace_protocol::membership::{DeviceTicket, Ticket};
use serde_json::{Value, json};

use crate::harness::Home;

/// How long a daemon that is ready may take until it listens, on a machine that is busy with other tests.
const LISTEN_TIME_MAX: Duration = Duration::from_secs(60);

/// A home with keys and nothing else.
fn empty() -> Home {
    let home = Home::empty();
    home.run(&["init", "--empty"]).done();
    home
}

/// A ticket of a home's default workspace.
fn ticket(home: &Home, arguments: &[&str]) -> String {
    let all = [&["--json", "invite"], arguments].concat();
    home.run(&all).json()["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn an_empty_home_says_what_comes_next() {
    let home = Home::empty();
    let said = home.run(&["init", "--empty"]).done();
    assert!(said.contains("nodespace join TICKET") && said.contains("nodespace device add "), "{said}");
    let status = home.run(&["status"]).done();
    assert!(status.contains("none yet") && status.contains("nodespace workspace new NAME"), "{status}");
    assert!(home.run(&["workspace", "list"]).done().contains("no workspace yet"));
    assert_eq!(home.run(&["--json", "workspace", "list"]).json(), json!({ "workspaces": [] }));
    home.run(&["node", "create", "x"]).fails(3, "nodespace join TICKET");
    home.run(&["sync", "status"]).fails(3, "nodespace workspace new NAME");
    home.run(&["init", "--empty"]).fails(4, "already");
    home.run(&["init", "--empty", "--name", "x"]).fails(2, "--name");
    Home::empty().run(&["init", "--name", ""]).fails(2, "needs a name");
}

#[test]
fn workspaces_are_made_chosen_and_renamed() {
    let home = empty();
    let first = home.run(&["--json", "workspace", "new", "first"]).json();
    assert_eq!((&first["default"], &first["role"]), (&json!(true), &json!("owner")));
    let second = home.run(&["--json", "workspace", "new", "second", "--default"]).json();
    assert_eq!(second["default"], true);
    let (first, second) = (first["workspace"].as_str().unwrap(), second["workspace"].as_str().unwrap());
    home.create(&["in the second", "--id", "x"]);
    home.run(&["--workspace", first, "node", "get", "x"]).fails(3, "x");
    home.run(&["--workspace", &second[..8], "node", "get", "x"]).done();
    home.run(&["workspace", "default", &first[..9]]).done();
    home.run(&["node", "get", "x"]).fails(3, "x");
    assert!(home.run(&["workspace", "rename", first, "the first"]).done().contains("the first"));
    let list = home.run(&["workspace", "list"]).done();
    let line = list.lines().find(|line| line.contains("the first")).unwrap();
    assert!(line.starts_with('*') && line.contains(first) && line.contains("owner"), "{list}");
    assert_eq!(list.lines().count(), 3, "{list}");
    home.run(&["workspace", "new", ""]).fails(2, "needs a name");
    home.run(&["workspace", "default", "12"]).fails(2, "at least the first 8");
    home.run(&["workspace", "cancel-join", first]).fails(2, "member remove");
    assert!(home.run(&["status"]).done().contains("the first"));
}

#[test]
fn an_invite_is_a_text_and_a_code() {
    let home = Home::new();
    let plain = home.run(&["invite"]).done();
    let ticket_line = plain.lines().next().unwrap();
    assert!(ticket_line.starts_with("nodespace-") && !plain.contains('█'), "a pipe gets the text only: {plain}");
    assert!(plain.contains("can be used once") && plain.contains("No daemon runs here"), "{plain}");
    let code = home.run(&["invite", "--qr", "--role", "viewer", "--uses", "3", "--expires", "12h"]).done();
    assert!(code.contains('█') && code.contains('▀') && code.contains("makes them viewer, can be used 3 times"), "{code}");
    let widest = code.lines().filter(|line| line.contains('█')).map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80, "{widest}");
    let listed = home.run(&["--json", "invite", "list"]).json();
    let uses: Vec<_> = listed["invites"].as_array().unwrap().iter().map(|invite| invite["uses_left"].clone()).collect();
    assert_eq!(uses, [1, 3]);
    let first = listed["invites"][0]["invite"].as_str().unwrap();
    assert!(home.run(&["invite", "revoke", &first[..8]]).done().starts_with("revoked"));
    home.run(&["invite", "revoke", &first[..8]]).fails(3, "open invite");
    assert_eq!(home.run(&["invite", "list"]).done().lines().count(), 2);
    for (arguments, part) in [
        (["--expires", "7"], "7d"),
        (["--expires", "0s"], "expires_s"),
        (["--expires", "9999d"], "ten years"),
        (["--uses", "0"], "uses"),
        (["--role", "king"], "owner, editor, viewer"),
    ] {
        home.run(&[&["invite"], arguments.as_slice()].concat()).fails(2, part);
    }
}

/// The device that an address names, and what stands before the name.
fn named(address: &str) -> (String, String) {
    let (before, peer) = split_peer(&address.parse::<Multiaddr>().unwrap()).unwrap();
    (device_of(&peer).unwrap().to_string(), before.to_string())
}

#[test]
fn a_ticket_without_an_address_names_its_device() {
    let device = |home: &Home| home.run(&["--json", "device", "request"]).json()["device"].as_str().unwrap().to_owned();
    let home = Home::new();
    let (own, next) = (device(&home), device(&Home::empty()));
    let invited = home.run(&["--json", "invite"]).json();
    assert_eq!(invited["addresses"], 0);
    let addresses = Ticket::parse(invited["ticket"].as_str().unwrap()).unwrap().addresses;
    assert_eq!(addresses.iter().map(|address| named(address)).collect::<Vec<_>>(), [(own.clone(), String::new())]);
    let added = home.run(&["--json", "device", "add", &next]).json();
    assert_eq!(added["addresses"], 0);
    let addresses = DeviceTicket::parse(added["ticket"].as_str().unwrap()).unwrap().addresses;
    assert_eq!(addresses.iter().map(|address| named(address)).collect::<Vec<_>>(), [(own, String::new())]);
    let said = home.run(&["invite"]).done();
    assert!(said.contains("only this device's name") && said.contains("No daemon runs here"), "{said}");
}

#[test]
fn a_ticket_leads_to_a_running_device() {
    let (ana, ben) = (Home::new().on_loopback(), Home::empty().on_loopback());
    ana.create(&["from Ana", "--id", "hello"]);
    let daemon = ana.daemon();
    let deadline = Instant::now() + LISTEN_TIME_MAX;
    // An invite is an operation: none is made before there is an address for it.
    while ana.run(&["--json", "peers"]).json()["listening"].as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < deadline, "it does not listen; its log:\n{}", daemon.log());
    }
    // What is shown and what goes into tickets is told by different tasks.
    let invited = loop {
        let invited = ana.run(&["--json", "invite"]).json();
        if invited["addresses"] != 0 {
            break invited;
        }
        assert!(Instant::now() < deadline, "it does not listen; its log:\n{}", daemon.log());
    };
    let joined = ben.run(&["join", invited["ticket"].as_str().unwrap()]);
    assert!(joined.err.contains("made a home"), "{joined:?}");
    let told = joined.done();
    assert!(told.contains("Test") && told.contains("editor") && told.contains("a member has confirmed it"), "{told}");
    daemon.stop();
    assert_eq!(ben.get("hello")["content"], "from Ana", "it holds everything itself");
    let members = ana.run(&["--json", "members"]).json();
    let roles: Vec<&Value> = members["members"].as_array().unwrap().iter().map(|member| &member["role"]).collect();
    assert_eq!(roles, ["owner", "editor"]);
    assert_eq!(ben.run(&["--json", "members"]).json()["members"].as_array().unwrap().len(), 2);
}

#[test]
fn configured_addresses_go_into_tickets() {
    let home = Home::new();
    let config = "[network]\nannounce = [\"/dns4/home.example.org/tcp/4100\"]\n\n[relay]\nurls = [\"https://relay.example.org\"]\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let invited = home.run(&["--json", "invite"]).json();
    assert_eq!(invited["addresses"], 1);
    let addresses = Ticket::parse(invited["ticket"].as_str().unwrap()).unwrap().addresses;
    assert_eq!(named(&addresses[0]).1, "/dns4/home.example.org/tcp/4100", "and say whose they are");
    let wrong = "[network]\nannounce = [\"home.example.org:4100\"]\nlisten = [\"/ip4/0.0.0.0/tcp/x\"]\n\n[relay]\nurls = [\"relay\"]\n";
    std::fs::write(home.path().join("config.toml"), wrong).unwrap();
    let told = home.run(&["invite"]).fails(2, "3 mistakes");
    assert!(["home.example.org:4100", "/ip4/0.0.0.0/tcp/x", "`relay`"].iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn a_ticket_that_is_none_makes_nothing() {
    let home = Home::new();
    let whole = ticket(&home, &[]);
    let nowhere = Home::empty();
    for (bad, part) in [(&whole[..whole.len() / 2], "incomplete or mistyped"), ("nonsense", "`nodespace-`"), ("", "`nodespace-`")] {
        nowhere.run(&["join", bad]).fails(2, part);
        nowhere.run_with(&["join", "-"], bad.as_bytes()).fails(2, part);
    }
    assert!(!nowhere.path().exists(), "no home is made for what is no ticket");
    let told = nowhere.run_with(&["join", "-"], format!("  {}\n", whole.to_uppercase()).as_bytes()).fails(7, "network.enabled");
    assert!(told.contains("made a home"), "{told}");
    assert!(nowhere.run(&["status"]).done().contains("none yet"));
    let again = nowhere.run(&["join", &whole]).fails(7, "network.enabled");
    assert!(!again.contains("made a home"), "{again}");
    home.run(&["join", &whole]).fails(4, "already");
}

#[test]
fn an_ended_ticket_is_refused_by_its_own_words() {
    let home = Home::new();
    let ended = ticket(&home, &["--expires", "1s"]);
    let other = empty();
    let mut later = other.command(&["join", &ended]);
    let refused = crate::harness::finish(later.env("NODESPACE_SYNC_CLOCK_OFFSET_MS", "3600000"), None);
    let told = refused.fails(5, "the ticket ended at");
    assert!(told.contains("ask for a new one"), "{told}");
}

#[test]
fn members_and_devices_are_named_by_beginnings() {
    let home = Home::new();
    let members = home.run(&["--json", "members"]).json();
    let own = members["members"][0]["user"].as_str().unwrap();
    let stranger = "5a".repeat(32);
    home.run(&["member", "add", &stranger, "--role", "viewer"]).done();
    home.run(&["member", "add", &stranger]).fails(4, "already");
    home.run(&["member", "add", "5a5a5a5a"]).fails(2, "64 hex digits");
    assert!(home.run(&["member", "role", "5A5A5A5A", "owner"]).done().contains("is now owner, and was viewer"));
    home.run(&["member", "role", "5a5a", "editor"]).fails(2, "at least the first 8");
    let list = home.run(&["members"]).done();
    assert!(list.lines().nth(1).unwrap().contains("you") && list.contains(own), "{list}");
    let removed = home.run(&["member", "remove", "5a5a5a5a5a"]).done();
    assert!(removed.contains("keep the copy"), "{removed}");
    home.run(&["member", "remove", "5a5a5a5a5a"]).fails(3, "there is no member");

    let devices = home.run(&["devices"]).done();
    assert!(devices.contains("this device") && devices.contains("owner"), "{devices}");
    home.run(&["device", "remove", "00000000"]).fails(3, "there is no device");
}

#[test]
fn a_second_device_asks_and_is_added() {
    let (first, second) = (Home::new(), Home::empty());
    let asked = second.run(&["device", "request"]).done();
    let identity = second.run(&["--json", "device", "request"]).json();
    let device = identity["device"].as_str().unwrap();
    assert!(asked.contains(&format!("nodespace device add {device}")), "{asked}");
    let added = first.run(&["device", "add", device]).done();
    let ticket = added.lines().next().unwrap();
    assert!(ticket.starts_with("nsdevice-") && added.contains("Added to one workspace"), "{added}");
    let devices = first.run(&["--json", "devices"]).json();
    let own: Vec<&Value> = devices["devices"].as_array().unwrap().iter().map(|entry| &entry["own"]).collect();
    assert_eq!(own, [&json!(true), &json!(true)]);
    second.run(&["join", ticket]).fails(7, "network.enabled");
    Home::new().run(&["join", ticket]).fails(5, "is for device");
    first.run(&["device", "add", "1234"]).fails(2, "64 hex digits");
    assert!(first.run(&["device", "remove", &device[..8]]).done().contains("keeps the copy"));
}

#[test]
fn what_needs_a_peer_says_how_to_get_one() {
    let home = Home::new();
    let status = home.run(&["sync", "status"]).done();
    assert!(status.starts_with("local only"), "{status}");
    home.run(&["sync", "status", "--watch"]).fails(7, "nodespace run");
    for arguments in [&["sync", "now"][..], &["peers"], &["peers", "add", "/ip4/192.0.2.7/tcp/4100"]] {
        home.run(arguments).fails(7, "network.enabled");
    }
    home.run(&["sync", "now", "--wait", "soon"]).fails(2, "no duration");
    let daemon = home.daemon();
    home.run(&["peers"]).fails(7, "network.enabled");
    assert!(home.run(&["sync", "status"]).done().starts_with("local only"));
    let invited = home.run(&["invite"]).done();
    assert!(invited.contains("It carries no address") && invited.contains("The network of the daemon is off"), "{invited}");
    daemon.stop();
}
