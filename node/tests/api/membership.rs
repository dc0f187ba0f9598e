//! Workspaces, invites, joins, members, devices: between devices of this process, over a network in memory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::http::StatusCode;
use nodespace_node::engine::{Clock, Device, TicketAddresses};
use serde_json::{Value, json};

use crate::support::{Answer, Api, PATIENCE};
use crate::tasks::lines;
use crate::wire::Wire;

/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

async fn list(api: &Api) -> Vec<Value> {
    api.get("/v1/workspaces").await.ok()["workspaces"].as_array().unwrap().clone()
}

async fn invite(api: &Api, request: Value) -> Value {
    api.call("POST", "/v1/invites", request).await.ok()
}

async fn join(api: &Api, ticket: &Value) -> Answer {
    api.call("POST", "/v1/join", json!({ "ticket": ticket })).await
}

/// The report of a join that went well.
fn report(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.bytes));
    lines(answer).pop().unwrap()["result"].clone()
}

/// Why a join did not go well: the code and the message.
fn refusal(answer: &Answer) -> (String, String) {
    let text = |body: &Value| (body["code"].as_str().unwrap().to_owned(), body["message"].as_str().unwrap().to_owned());
    if answer.status.is_success() { text(&lines(answer).pop().unwrap()["error"]) } else { text(&answer.json()) }
}

/// The folders of workspaces that a home holds.
fn folders(device: &Device) -> Vec<String> {
    let folder = device.home().join("workspaces");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_device_without_a_workspace_says_what_to_do() {
    let api = Api::empty().await;
    assert!(list(&api).await.is_empty());
    for path in ["/v1/status", "/v1/nodes", "/v1/sync", "/v1/members", "/v1/changes"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("nodespace join TICKET") && message.contains("nodespace workspace new"), "{message}");
    }
    assert_eq!(api.get("/health").await.ok()["status"], "ok");
    assert!(api.get("/metrics").await.status.is_success());
    let identity = api.get("/v1/device").await.ok();
    assert_eq!((identity["device"].as_str().unwrap().len(), &identity["holds_user_key"]), (64, &json!(true)));
    let made = api.call("POST", "/v1/workspaces", json!({ "name": "first" })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!((&made.json()["default"], &made.json()["state"], &made.json()["role"]), (&json!(true), &json!("member"), &json!("owner")));
    api.create("a").await;
}

#[tokio::test]
async fn several_workspaces_live_side_by_side() {
    let api = Api::open().await;
    let notes = list(&api).await[0]["workspace"].as_str().unwrap().to_owned();
    let garden = api.call("POST", "/v1/workspaces", json!({ "name": "garden" })).await.ok();
    assert_eq!((&garden["default"], &garden["name"], &garden["members"]), (&json!(false), &json!("garden"), &json!(1)));
    let garden = garden["workspace"].as_str().unwrap().to_owned();
    api.create("here").await;
    let there = api.call("POST", &format!("/v1/nodes?workspace={}", &garden[..8]), json!({ "id": "there" })).await;
    assert_eq!(there.status, StatusCode::CREATED);
    assert_eq!(api.get("/v1/nodes/there").await.code(), "not_found");
    assert!(api.get(&format!("/v1/nodes/there?workspace={garden}")).await.status.is_success());

    let chosen = api.call("PATCH", &format!("/v1/workspaces/{}", &garden[..10]), json!({ "default": true, "name": "orchard" })).await.ok();
    assert_eq!((&chosen["default"], &chosen["name"]), (&json!(true), &json!("orchard")));
    assert!(api.get("/v1/nodes/there").await.status.is_success());
    assert!(api.get(&format!("/v1/nodes/here?workspace={notes}")).await.status.is_success());
    assert_eq!(api.device.default_workspace().unwrap().to_string(), garden);

    for (body, code) in [
        (json!({}), "invalid_request"),
        (json!({ "default": false }), "invalid_value"),
        (json!({ "name": "" }), "invalid_value"),
        (json!({ "name": "x".repeat(257) }), "invalid_value"),
        (json!({ "name": "a\u{7}b" }), "invalid_value"),
        (json!({ "nmae": "x" }), "invalid_request"),
    ] {
        let answer = api.call("PATCH", &format!("/v1/workspaces/{garden}"), body.clone()).await;
        assert_eq!(answer.code(), code, "{body}");
        let answer = api.call("POST", "/v1/workspaces", body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(list(&api).await.len(), 2, "nothing was made of what was refused");
    for (id, code) in [("1234", "invalid_request"), ("00000000", "not_found"), ("zzzzzzzz", "invalid_request")] {
        assert_eq!(api.get(&format!("/v1/status?workspace={id}")).await.code(), code, "{id}");
    }
    let refused = api.send(api.request("DELETE", &format!("/v1/workspaces/{garden}")).body(Default::default()).unwrap()).await;
    assert_eq!(refused.code(), "invalid_value", "a workspace that one is in is not removed like that");
}

#[tokio::test]
async fn a_workspace_that_was_founded_is_there_after_a_restart() {
    let api = Api::empty().await;
    let made = api.call("POST", "/v1/workspaces", json!({ "name": "kept" })).await.ok();
    api.create("kept").await;
    let api = api.reopen(Clock::default()).await;
    let after = list(&api).await;
    assert_eq!((after.len(), &after[0]["workspace"], &after[0]["default"]), (1, &made["workspace"], &json!(true)));
    assert!(api.get("/v1/nodes/kept").await.status.is_success());
}

#[tokio::test]
async fn invites_are_listed_without_their_secrets_and_can_be_revoked() {
    let api = Api::open().await;
    let addresses = vec!["/ip4/192.0.2.1/tcp/4100".to_owned(); 20];
    api.device.set_ticket_addresses(TicketAddresses { addresses, relays: vec!["https://relay.example.org".into()] });
    let made = invite(&api, json!({})).await;
    assert_eq!((&made["role"], &made["uses"], &made["addresses"]), (&json!("editor"), &json!(1), &json!(16)), "a ticket takes sixteen");
    invite(&api, json!({ "role": "viewer", "uses": 5, "expires_s": 60 })).await;
    let open = api.get("/v1/invites").await;
    assert!(!String::from_utf8_lossy(&open.bytes).contains("ticket"), "tickets are kept nowhere");
    let open = open.ok()["invites"].as_array().unwrap().clone();
    assert_eq!(open.iter().map(|invite| invite["uses_left"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 5]);
    let path = format!("/v1/invites/{}", &made["invite"].as_str().unwrap()[..10]);
    assert!(api.raw("DELETE", &path, "{}").await.ok()["op"].is_string());
    assert_eq!(api.get("/v1/invites").await.ok()["invites"].as_array().unwrap().len(), 1);
    assert_eq!(api.raw("DELETE", &path, "{}").await.code(), "not_found");
    for bad in [
        json!({ "role": "king" }),
        json!({ "uses": 0 }),
        json!({ "uses": 100_001 }),
        json!({ "expires_s": 0 }),
        json!({ "expires_s": u64::MAX }),
        json!({ "expires": 60 }),
    ] {
        assert_eq!(api.call("POST", "/v1/invites", bad.clone()).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let later = api.reopen(Clock::ahead_by_ms(HOUR_MS)).await;
    assert!(later.get("/v1/invites").await.ok()["invites"].as_array().unwrap().is_empty(), "what ended is not open");
}

#[tokio::test]
async fn a_ticket_leads_from_an_empty_home_to_a_member() {
    let (owner, joiner) = (Api::open().await, Api::empty().await);
    owner.create("theirs").await;
    owner.device.set_ticket_addresses(TicketAddresses { addresses: vec!["/ip4/192.0.2.1/tcp/4100".into()], relays: Vec::new() });
    let wire = Wire::attach(&joiner.device, &[&owner.device]);
    let ticket = invite(&owner, json!({ "role": "editor" })).await["ticket"].clone();
    let joined = report(&join(&joiner, &ticket).await)["joined"][0].clone();
    assert_eq!((&joined["name"], &joined["role"], &joined["confirmed"]), (&json!("notes"), &json!("editor"), &json!(true)));
    let heard = wire.heard.lock().unwrap().clone();
    let is_whole = |address: &String| address.starts_with("/ip4/192.0.2.1/tcp/4100/p2p/");
    assert!(heard.len() == 1 && heard.iter().all(is_whole), "the ticket says where members are, and who is there: {heard:?}");
    assert!(joiner.get("/v1/nodes/theirs").await.status.is_success());
    assert_eq!(list(&joiner).await[0]["default"], true, "the first one is the default");

    let members = owner.get("/v1/members").await.ok()["members"].as_array().unwrap().clone();
    assert_eq!(members.iter().map(|member| member["own"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false]);
    assert_eq!((&members[1]["role"], members[1]["devices"][0].as_str()), (&json!("editor"), Some(joiner.device.id().to_string().as_str())));
    let (code, message) = refusal(&join(&joiner, &ticket).await);
    assert!(code == "already_exists" && message.contains("already"), "{message}");
    assert_eq!(joiner.get("/v1/invites").await.ok()["invites"], json!([]), "it was for one");
    assert_eq!(joiner.call("POST", "/v1/invites", json!({})).await.code(), "forbidden", "editors do not invite");

    let joiner = joiner.reopen(Clock::default()).await;
    assert_eq!(list(&joiner).await[0]["state"], "member");
    joiner.create("mine").await;
}

#[tokio::test]
async fn a_bad_ticket_is_refused_and_leaves_nothing() {
    let (owner, joiner) = (Api::open().await, Api::empty().await);
    Wire::attach(&joiner.device, &[&owner.device]);
    let ticket = invite(&owner, json!({ "expires_s": 60, "uses": 1 })).await["ticket"].as_str().unwrap().to_owned();
    let half = &ticket[..ticket.len() / 2];
    for (bad, part) in [(half, "incomplete or mistyped"), ("hello", "`nodespace-`"), ("", "`nodespace-`")] {
        let (code, message) = refusal(&join(&joiner, &json!(bad)).await);
        assert!(code == "invalid_request" && message.contains(part), "{bad}: {message}");
    }
    assert!(folders(&joiner.device).is_empty());

    let used = Api::empty().await;
    Wire::attach(&used.device, &[&owner.device]);
    report(&join(&used, &json!(ticket)).await);
    let (code, message) = refusal(&join(&joiner, &json!(ticket)).await);
    assert!(code == "invite_refused" && message.contains("new ticket"), "used up: {message}");
    assert!(folders(&joiner.device).is_empty(), "the adopted workspace is gone: {:?}", folders(&joiner.device));
    assert!(list(&joiner).await.is_empty());

    let revoked = invite(&owner, json!({})).await;
    owner.raw("DELETE", &format!("/v1/invites/{}", revoked["invite"].as_str().unwrap()), "{}").await.ok();
    let (code, message) = refusal(&join(&joiner, &revoked["ticket"]).await);
    assert!(code == "invite_refused", "revoked: {message}");
    assert!(folders(&joiner.device).is_empty());

    let late = invite(&owner, json!({ "expires_s": 60 })).await["ticket"].clone();
    let joiner = joiner.reopen(Clock::ahead_by_ms(HOUR_MS)).await;
    let (code, message) = refusal(&join(&joiner, &late).await);
    assert!(code == "invite_refused" && message.contains("ended at"), "{message}");
}

#[tokio::test]
async fn a_member_that_has_not_heard_of_a_revocation_admits_and_all_agree_in_the_end() {
    let (owner, first, joiner) = (Api::open().await, Api::empty().await, Api::empty().await);
    let ticket = invite(&owner, json!({})).await["ticket"].clone();
    let second = invite(&owner, json!({})).await;
    Wire::attach(&first.device, &[&owner.device]);
    report(&join(&first, &ticket).await);
    owner.raw("DELETE", &format!("/v1/invites/{}", second["invite"].as_str().unwrap()), "{}").await.ok();
    Wire::attach(&joiner.device, &[&first.device]);
    let (code, _) = refusal(&join(&joiner, &ticket).await);
    assert_eq!(code, "invite_refused", "the first ticket is used up, whomever the joiner asks");
    let joined = report(&join(&joiner, &second["ticket"]).await);
    assert_eq!(joined["joined"][0]["role"], "editor", "a revocation that nobody here has heard of binds nobody here");
    Wire::attach(&owner.device, &[&first.device]);
    for api in [&owner, &joiner] {
        api.call("POST", "/v1/sync?wait_ms=60000", json!({})).await.ok();
    }
    assert_eq!(joiner.get("/v1/members").await.ok(), as_seen_by(&joiner, owner.get("/v1/members").await.ok()));
}

#[tokio::test]
async fn what_had_been_received_when_a_join_is_refused_is_set_aside() {
    // The owner's clock was ahead for a while, by less than what peers wait for; it is right again when the owner invites. So the invite
    // stands after what was written in the future, the join still after that, and that is too late: only the joiner can see it, when it
    // has everything. The owner has half of that time to restart in before it invites, and the joiner the other half to join.
    let (owner, joiner) = (Api::open().await.reopen(Clock::ahead_by_ms(55_000)).await, Api::empty().await);
    owner.create("theirs").await;
    let owner = owner.reopen(Clock::default()).await;
    let ticket = invite(&owner, json!({ "expires_s": 28 })).await["ticket"].clone();
    Wire::attach(&joiner.device, &[&owner.device]);
    let (code, message) = refusal(&join(&joiner, &ticket).await);
    assert!(code == "invite_refused" && message.contains("set aside"), "{message}");
    assert!(list(&joiner).await.is_empty());
    assert!(matches!(folders(&joiner.device).as_slice(), [aside] if aside.ends_with(".aside-1")), "{:?}", folders(&joiner.device));
}

/// A list of members as another device sees it: its own user first.
fn as_seen_by(seen_by: &Api, mut members: Value) -> Value {
    let device = seen_by.device.id().to_string();
    let entries = members["members"].as_array_mut().unwrap();
    for entry in entries.iter_mut() {
        entry["own"] = json!(entry["devices"].as_array().unwrap().contains(&json!(device)));
    }
    entries.sort_by_key(|entry| (!entry["own"].as_bool().unwrap(), entry["user"].as_str().unwrap().to_owned()));
    members
}

#[tokio::test]
async fn without_a_network_a_join_says_how_to_switch_it_on() {
    let (owner, joiner) = (Api::open().await, Api::empty().await);
    let ticket = invite(&owner, json!({})).await["ticket"].clone();
    let (code, message) = refusal(&join(&joiner, &ticket).await);
    assert!(code == "unavailable" && message.contains("network.enabled"), "{message}");
    assert!(folders(&joiner.device).is_empty());
    for (method, path) in
        [("GET", "/v1/network"), ("POST", "/v1/network/peers"), ("DELETE", "/v1/network/peers?address=/ip4/1.2.3.4/tcp/1")]
    {
        let body = if method == "POST" { json!({ "address": "/ip4/1.2.3.4/tcp/1" }) } else { json!({}) };
        let answer = if method == "GET" { joiner.get(path).await } else { joiner.call(method, path, body).await };
        assert_eq!(answer.code(), "unavailable", "{method} {path}");
    }
}

#[tokio::test]
async fn a_join_that_found_nobody_goes_on_after_a_restart() {
    let (owner, joiner) = (Api::open().await, Api::empty().await);
    owner.create("theirs").await;
    Wire::attach(&joiner.device, &[]);
    let ticket = invite(&owner, json!({})).await["ticket"].clone();
    let (code, message) = refusal(&join(&joiner, &ticket).await);
    assert!(code == "unavailable" && message.contains("goes on by itself"), "{message}");
    let waiting = list(&joiner).await;
    assert_eq!((&waiting[0]["state"], &waiting[0]["name"], &waiting[0]["ops"]), (&json!("joining"), &json!(""), &json!(0)));
    let settings = joiner.device.home().join("workspaces").join(&folders(&joiner.device)[0]).join("local.redb");
    assert_eq!(mode(&settings), 0o600, "the ticket is kept where only its owner reads");

    let joiner = joiner.reopen(Clock::default()).await;
    assert_eq!(list(&joiner).await[0]["state"], "joining", "as it was before");
    Wire::attach(&joiner.device, &[&owner.device]);
    let joined = async {
        let mut cursor = "start".to_owned();
        while list(&joiner).await[0]["state"] != "member" {
            let page = joiner.get(&format!("/v1/changes?cursor={cursor}&wait_ms=60000")).await.ok();
            page["cursor"].as_str().unwrap().clone_into(&mut cursor);
        }
    };
    tokio::time::timeout(PATIENCE, joined).await.unwrap();
    assert!(joiner.get("/v1/nodes/theirs").await.status.is_success());
}

#[tokio::test]
async fn a_join_that_is_under_way_can_be_given_up() {
    let (owner, joiner) = (Api::open().await, Api::empty().await);
    Wire::attach(&joiner.device, &[]);
    let ticket = invite(&owner, json!({})).await["ticket"].clone();
    refusal(&join(&joiner, &ticket).await);
    let id = list(&joiner).await[0]["workspace"].as_str().unwrap().to_owned();
    assert_eq!(joiner.raw("DELETE", &format!("/v1/workspaces/{id}"), "{}").await.ok()["state"], "joining");
    assert!(list(&joiner).await.is_empty());
    assert!(folders(&joiner.device).is_empty());
    assert_eq!(joiner.raw("DELETE", &format!("/v1/workspaces/{id}"), "{}").await.code(), "not_found");
}

#[tokio::test]
async fn roles_change_and_members_go() {
    let (owner, other) = (Api::open().await, Api::empty().await);
    let ticket = invite(&owner, json!({ "role": "viewer" })).await["ticket"].clone();
    Wire::attach(&other.device, &[&owner.device]);
    report(&join(&other, &ticket).await);
    let members = owner.get("/v1/members").await.ok()["members"].as_array().unwrap().clone();
    let [own, user] = [0, 1].map(|index| members[index]["user"].as_str().unwrap()[..8].to_owned());
    assert_eq!(other.call("POST", "/v1/nodes", json!({ "id": "x" })).await.code(), "forbidden", "viewers read");

    for (role, code) in [("viewer", "already_exists"), ("king", "invalid_value")] {
        assert_eq!(owner.call("PATCH", &format!("/v1/members/{user}"), json!({ "role": role })).await.code(), code);
    }
    owner.call("PATCH", &format!("/v1/members/{user}"), json!({ "role": "editor" })).await.ok();
    assert_eq!(other.call("PATCH", &format!("/v1/members/{user}"), json!({ "role": "owner" })).await.code(), "forbidden");
    other.call("POST", "/v1/sync?wait_ms=60000", json!({})).await.ok();
    other.create("now").await;

    for (method, body) in [("PATCH", json!({ "role": "viewer" })), ("DELETE", json!({}))] {
        let answer = owner.call(method, &format!("/v1/members/{own}"), body).await;
        assert_eq!(answer.code(), "invalid_value", "the only owner stays while others are there");
    }
    let stranger = "77".repeat(32);
    owner.call("POST", "/v1/members", json!({ "user": stranger, "role": "viewer" })).await.ok();
    assert_eq!(owner.call("POST", "/v1/members", json!({ "user": stranger, "role": "viewer" })).await.code(), "already_exists");
    assert_eq!(owner.call("POST", "/v1/members", json!({ "user": "77", "role": "viewer" })).await.code(), "invalid_request");
    assert_eq!(owner.get("/v1/members").await.ok()["members"].as_array().unwrap().len(), 3);

    let removed = owner.raw("DELETE", &format!("/v1/members/{user}"), "{}").await.ok();
    assert!(removed["note"].as_str().unwrap().contains("keep the copy"), "{removed}");
    assert_eq!(owner.raw("DELETE", &format!("/v1/members/{user}"), "{}").await.code(), "not_found");
    assert_eq!(owner.raw("DELETE", "/v1/members/7777", "{}").await.code(), "invalid_request", "eight digits at least");
    other.call("POST", "/v1/sync?wait_ms=60000", json!({})).await;
    assert!(other.get("/v1/nodes/now").await.status.is_success(), "what it had it keeps");
    assert_eq!(owner.get("/v1/nodes/now").await.code(), "not_found", "it was never sent");
}

#[tokio::test]
async fn who_is_alone_may_leave() {
    let api = Api::open().await;
    let user = api.get("/v1/members").await.ok()["members"][0]["user"].as_str().unwrap().to_owned();
    assert!(api.raw("DELETE", &format!("/v1/members/{user}"), "{}").await.ok()["note"].as_str().unwrap().contains("left"));
    assert_eq!(list(&api).await[0]["state"], "reader");
    assert_eq!(api.call("POST", "/v1/nodes", json!({ "id": "x" })).await.code(), "forbidden");
}

#[tokio::test]
async fn a_second_device_of_a_user_gets_all_workspaces() {
    let (first, second) = (Api::open().await, Api::empty().await);
    first.create("note").await;
    first.call("POST", "/v1/workspaces", json!({ "name": "garden" })).await.ok();
    let request = second.get("/v1/device").await.ok();
    let ticket = first.call("POST", "/v1/devices", json!({ "device": request["device"] })).await.ok();
    assert_eq!((ticket["workspaces"].as_array().unwrap().len(), &ticket["device"]), (2, &request["device"]));
    let again = first.call("POST", "/v1/devices", json!({ "device": request["device"] })).await.ok();
    assert_eq!(again["ticket"], ticket["ticket"], "asked for again it is the same, and nothing more is written");

    Wire::attach(&second.device, &[&first.device]);
    let joined = report(&join(&second, &ticket["ticket"]).await);
    assert_eq!(joined["joined"].as_array().unwrap().len(), 2, "{joined}");
    assert!(joined["joined"].as_array().unwrap().iter().all(|one| one["role"] == "owner" && one["confirmed"] == true), "{joined}");
    let certificate = second.device.home().join("identity/certificate");
    assert_eq!(mode(&certificate), 0o600);

    let second = second.reopen(Clock::default()).await;
    let identity = second.get("/v1/device").await.ok();
    assert_eq!((&identity["user"], &identity["holds_user_key"]), (&ticket["user"], &json!(false)));
    let notes = first.device.default_workspace().unwrap();
    let devices = second.get(&format!("/v1/devices?workspace={notes}")).await.ok()["devices"].as_array().unwrap().clone();
    let flags: Vec<_> = devices.iter().map(|entry| (entry["this"].as_bool().unwrap(), entry["own"].as_bool().unwrap())).collect();
    assert_eq!(flags, [(true, true), (false, true)]);
    assert!(second.get(&format!("/v1/nodes/note?workspace={notes}")).await.status.is_success());

    let third = "33".repeat(32);
    let refused = second.call("POST", "/v1/devices", json!({ "device": third })).await;
    assert_eq!(refused.code(), "forbidden", "the user's key is on the first device");
    let (code, message) = refusal(&join(&second, &ticket["ticket"]).await);
    assert!(code == "already_exists" && message.contains("all workspaces"), "{message}");

    let path = format!("/v1/devices/{}", &request["device"].as_str().unwrap()[..8]);
    let removed = first.raw("DELETE", &path, "{}").await.ok();
    assert!(removed["note"].as_str().unwrap().contains("keeps the copy"), "{removed}");
    assert_eq!(first.raw("DELETE", &path, "{}").await.code(), "not_found");
}

#[tokio::test]
async fn a_device_ticket_is_for_one_device_and_one_user() {
    let (first, second, third) = (Api::open().await, Api::empty().await, Api::empty().await);
    let of = |api: &Api| api.device.id().to_string();
    let ticket = first.call("POST", "/v1/devices", json!({ "device": of(&second) })).await.ok()["ticket"].clone();
    Wire::attach(&second.device, &[&first.device]);
    Wire::attach(&third.device, &[&first.device]);
    let (code, message) = refusal(&join(&third, &ticket).await);
    assert!(code == "invite_refused" && message.contains("is for device"), "{message}");
    assert!(!third.device.home().join("identity/certificate").exists());
    report(&join(&second, &ticket).await);

    let stranger = Api::open().await;
    let other = stranger.call("POST", "/v1/devices", json!({ "device": of(&second) })).await.ok()["ticket"].clone();
    let (code, message) = refusal(&join(&second, &other).await);
    assert!(code == "already_exists" && message.contains("another home"), "{message}");
    for (bad, code) in [(of(&first), "invalid_value"), ("12".to_owned(), "invalid_request")] {
        assert_eq!(first.call("POST", "/v1/devices", json!({ "device": bad })).await.code(), code);
    }
    let unknown = json!({ "device": of(&third), "workspaces": ["0".repeat(64)] });
    assert_eq!(first.call("POST", "/v1/devices", unknown).await.code(), "not_found");
    let empty = Api::empty().await;
    assert_eq!(
        empty.call("POST", "/v1/devices", json!({ "device": of(&third) })).await.code(),
        "not_found",
        "there is no workspace to add it to"
    );
}

#[tokio::test]
async fn peers_are_added_and_removed_by_their_addresses() {
    let api = Api::open().await;
    Wire::attach(&api.device, &[]);
    let address = "/ip4/192.0.2.7/tcp/4100";
    let added = api.call("POST", "/v1/network/peers", json!({ "address": address })).await.ok();
    assert_eq!(added["peers"][0]["address"], address);
    assert_eq!(api.get("/v1/network").await.ok()["peers"].as_array().unwrap().len(), 1);
    let again = api.call("POST", "/v1/network/peers", json!({ "address": "192.0.2.7:4100" })).await.ok();
    assert_eq!(again, added, "the same in another form");
    for bad in ["", "192.0.2.7", "192.0.2.7:0", "192.0.2.999:1", "/ip4/192.0.2.7/tcp/0", "/ip4/192.0.2.999/tcp/1"] {
        assert_eq!(api.call("POST", "/v1/network/peers", json!({ "address": bad })).await.code(), "invalid_value", "{bad}");
    }
    let path = format!("/v1/network/peers?address={}", address.replace('/', "%2F"));
    assert_eq!(api.raw("DELETE", &path, "{}").await.ok()["peers"], json!([]));
    assert_eq!(api.raw("DELETE", &path, "{}").await.code(), "not_found");
    assert_eq!(api.raw("DELETE", "/v1/network/peers", "{}").await.code(), "invalid_request");
    assert_eq!(api.get("/v1/network?workspace=x").await.code(), "invalid_request", "the network is the device's");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
