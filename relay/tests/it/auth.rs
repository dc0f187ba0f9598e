//! Who is let in, and what a removal ends.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{NodeId, RelayId, WorkspaceId, hex};
use nodespace_protocol::membership::{Role, Ticket, WorkspaceAction};
use nodespace_protocol::replica::{LogRange, NewNode, Replica};
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::view::{Cursor, Encoding, SyncPacket, login};
use nodespace_relay::auth::{Seal, TOKEN_LIFE_MS, TokenClaims};
use nodespace_relay::clock;
use nodespace_relay::hex::unhex;
use serde_json::json;

use crate::world::{Device, TestRelay, eventually, seed, two_members};

fn pull(device: &Device) -> SyncPacket {
    SyncPacket::pull(device.sender(), Cursor::default(), clock::now())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_learn_nothing() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    // Somebody who knows the workspace's id, and has a user and a device of their own.
    let mut stranger = Device::found();
    let own = stranger.workspace;
    stranger.workspace = founder.workspace;
    assert_eq!(stranger.try_login(&relay).await.refusal(), (403, "not_a_member".into()));
    // A token for their own workspace opens no other.
    stranger.workspace = own;
    stranger.login(&relay).await;
    let path = format!("/v1/workspaces/{}", founder.workspace);
    assert_eq!(relay.get(&path, Some(&stranger.token)).await.refusal(), (403, "wrong_workspace".into()));
    let mut packet = pull(&stranger);
    packet.workspace_id = founder.workspace;
    assert_eq!(stranger.send(&relay, &packet, Encoding::Cbor).await.refusal(), (403, "wrong_workspace".into()));
    // Nor do they found what they do not hold.
    assert_eq!(stranger.send(&relay, &pull(&stranger), Encoding::Cbor).await.refusal(), (404, "unknown_workspace".into()));
    for path in ["", "/events", "/addresses", "/nodes/a", "/checkpoint"] {
        let path = format!("/v1/workspaces/{}{path}", founder.workspace);
        assert_eq!(relay.get(&path, None).await.refusal(), (401, "token_missing".into()), "{path}");
        assert_eq!(relay.get(&path, Some("00")).await.refusal(), (401, "unknown_token".into()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_answered_once_by_its_device_to_its_relay() {
    let relay = TestRelay::start().await;
    let device = Device::found();
    let relay_id = relay.app.parts().key.id();
    let draw = async || {
        let request = json!({ "device_id": device.author.key.device(), "workspace_id": device.workspace }).to_string();
        relay.post("/v1/challenge", None, request).await.json()["challenge"].as_str().unwrap().to_owned()
    };
    let credential = json!({ "device": { "certificate": nodespace_protocol::view::LoginCertificate::from(&device.certificate()) } });
    let answer = async |challenge: &str, key: &KeyPair, relay_id: &RelayId, workspace: &WorkspaceId| {
        let signature = login::answer(key, relay_id, workspace, &unhex(challenge).unwrap());
        let request = json!({ "challenge": challenge, "signature": hex(&signature.0), "credential": credential }).to_string();
        relay.post("/v1/token", None, request).await
    };
    let (key, workspace) = (&device.author.key, &device.workspace);
    let challenge = draw().await;
    let wrong = (401, "bad_answer".to_owned());
    assert_eq!(answer(&challenge, &KeyPair::from_seed(&seed()), &relay_id, workspace).await.refusal(), wrong);
    assert_eq!(answer(&challenge, key, &RelayId([1; 32]), workspace).await.refusal(), wrong);
    assert_eq!(answer(&challenge, key, &relay_id, &WorkspaceId([1; 32])).await.refusal(), wrong);
    assert_eq!(answer(&challenge, key, &relay_id, workspace).await.status, 200);
    let again = answer(&challenge, key, &relay_id, workspace).await.refusal();
    assert_eq!(again, (401, "challenge_answered".into()));
    // Nor by another instance. Where Redis does not answer in time each remembers alone, which is another matter: then another challenge.
    let other = relay.another().await;
    let again = eventually("Redis answers both", async || {
        let challenge = draw().await;
        assert_eq!(answer(&challenge, key, &relay_id, workspace).await.status, 200);
        let signature = login::answer(key, &relay_id, workspace, &unhex(&challenge).unwrap());
        let request = json!({ "challenge": challenge, "signature": hex(&signature.0), "credential": credential }).to_string();
        let is_noted = relay.has_redis();
        let again = other.post("/v1/token", None, request).await;
        (is_noted && other.has_redis()).then(|| again.refusal())
    });
    assert_eq!(again.await, (401, "challenge_answered".into()));
    for bad in ["", "zz", &"00".repeat(121), &challenge[..100]] {
        let request = json!({ "challenge": bad, "signature": "00".repeat(64) }).to_string();
        let code = relay.post("/v1/token", None, request).await.code();
        assert!(["bad_login", "unknown_challenge"].contains(&code.as_str()), "{bad}: {code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_and_cannot_be_made_up() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    let seal = Seal::of(&relay.app.parts().key);
    let claims = TokenClaims::open(&founder.token, &seal, clock::now_ms()).unwrap();
    let path = format!("/v1/workspaces/{}", founder.workspace);
    let expired = TokenClaims { issued_at_ms: clock::now_ms() - TOKEN_LIFE_MS, ..claims }.seal(&seal);
    assert_eq!(relay.get(&path, Some(&expired)).await.refusal(), (401, "token_expired".into()));
    // A quarter of an hour is also what a relay whose clock was set back by an hour believes of its tokens.
    let future = TokenClaims { issued_at_ms: clock::now_ms() + 3_600_000, ..claims }.seal(&seal);
    assert_eq!(relay.get(&path, Some(&future)).await.refusal(), (401, "token_expired".into()));
    let other = Seal::of(&nodespace_relay::key::RelayKey::from_seed(&seed()));
    assert_eq!(relay.get(&path, Some(&claims.seal(&other))).await.refusal(), (401, "unknown_token".into()));
    assert_eq!(relay.get(&path, Some(&founder.token)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_ends_a_token_at_once_at_every_instance() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (mut founder, joiner) = two_members(&relay).await;
    let path = format!("/v1/workspaces/{}", founder.workspace);
    assert_eq!(other.get(&path, Some(&joiner.token)).await.json()["role"], "editor");
    remove(&mut founder, &joiner);
    founder.sync(&relay).await;
    assert_eq!(other.get(&path, Some(&joiner.token)).await.refusal(), (403, "removed".into()));
    assert_eq!(joiner.send(&other, &pull(&joiner), Encoding::Cbor).await.refusal(), (403, "removed".into()));
    assert_eq!(joiner.try_login(&other).await.refusal(), (403, "removed".into()));
}

/// One member's removal of another.
fn remove(founder: &mut Device, member: &Device) {
    let seen = founder.replica.frontier().iter().flat_map(|entry| entry.heads.iter().map(|head| (entry.log, *head))).collect();
    let remove = WorkspaceAction::RemoveMember { user: member.user.user(), seen };
    founder.replica.change_workspace(clock::now(), remove).unwrap();
    founder.replica.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_ends_what_another_instance_remembers_of_a_busy_member() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    // Turn after turn of the other instance is the joiner's, whom it knows by then.
    for number in 0..4 {
        joiner.create(&format!("j{number}"), "text");
        joiner.sync(&other).await;
    }
    founder.sync(&relay).await;
    remove(&mut founder, &joiner);
    founder.sync(&relay).await;
    joiner.create("late", "text");
    let packet = joiner.packet(8);
    assert_eq!(joiner.send(&other, &packet, Encoding::Cbor).await.refusal(), (403, "removed".into()));
    assert_eq!(joiner.send(&relay, &packet, Encoding::Cbor).await.refusal(), (403, "removed".into()));
    // Whoever stays is served as before, at both.
    founder.create("after", "text");
    founder.sync(&other).await;
    founder.sync(&relay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_lets_in_while_it_is_open() {
    let relay = TestRelay::start().await;
    let mut founder = Device::found();
    let ticket = founder.invite(Role::Editor);
    let ended = {
        let key = KeyPair::from_seed(&seed());
        founder.replica.invite(clock::now(), &key, Role::Editor, Timestamp::from_ms(clock::now_ms() + 1), 1).unwrap()
    };
    founder.replica.commit().unwrap();
    founder.login(&relay).await;
    founder.sync(&relay).await;
    // An invite that has ended, an invite that is not known, a proof by another key.
    while clock::now() <= ended.expires {
        tokio::task::yield_now().await;
    }
    assert_eq!(Device::joiner(&ended).try_login(&relay).await.refusal(), (403, "bad_invite".into()));
    let mut forged = ticket.clone();
    forged.key = KeyPair::from_seed(&seed());
    assert_eq!(Device::joiner(&forged).try_login(&relay).await.refusal(), (403, "bad_credential".into()));
    forged.invite.0[0] ^= 1;
    assert_eq!(Device::joiner(&forged).try_login(&relay).await.refusal(), (403, "bad_invite".into()));
    // A newcomer reads; it writes nothing before it has joined.
    let mut joiner = Device::joiner(&ticket);
    joiner.login(&relay).await;
    joiner.sync(&relay).await;
    let carried = founder_packet(&founder, &joiner);
    assert_eq!(joiner.send(&relay, &carried, Encoding::Cbor).await.refusal(), (403, "join_first".into()));
    // The invite is revoked: the token, of a quarter of an hour, is worth nothing.
    founder.replica.change_workspace(clock::now(), WorkspaceAction::RevokeInvite { invite: ticket.invite }).unwrap();
    founder.replica.commit().unwrap();
    founder.sync(&relay).await;
    assert_eq!(joiner.send(&relay, &pull(&joiner), Encoding::Cbor).await.refusal(), (403, "bad_invite".into()));
}

/// What the founder wrote, carried by somebody else.
fn founder_packet(founder: &Device, carrier: &Device) -> SyncPacket {
    let log = founder.author.log();
    let through = founder.replica.logs().get(&log).unwrap().last_seq();
    carried(carrier, &founder.replica, LogRange { log, branch: 0, after: 0, through })
}

/// A part of a log, carried by anybody.
fn carried(carrier: &Device, replica: &Replica<MemoryStore>, mut range: LogRange) -> SyncPacket {
    let mut packet = pull(carrier);
    while let Some(reached) = packet.push(replica, &range).unwrap() {
        range.after = reached;
    }
    packet
}

/// An owner's device is copied. The one copy invites a guest, who joins. The other one writes nodes, and a removal of the owner says that those
/// were the last that its author had seen, so the guest was invited without anybody knowing. The relay learns that from the nodes alone: no
/// workspace operation comes with them. The guest stayed a reader then, since rows of members were written with workspace operations only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_forked_log_can_end_a_membership() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let mut founder = Device::found();
    let ticket = founder.invite(Role::Owner);
    founder.login(&relay).await;
    founder.sync(&relay).await;
    let mut owner = joined(&relay, &ticket).await;
    founder.sync(&relay).await;
    let log = owner.author.log();
    let after = owner.replica.logs().get(&log).unwrap().last_seq();
    let mut copy = Replica::open(owner.workspace, owner.replica.store().clone(), Some(owner.author.clone()), clock::now()).unwrap();
    let ticket = owner.invite(Role::Editor);
    owner.sync(&relay).await;
    let guest = joined(&relay, &ticket).await;
    for id in ["a", "b"] {
        copy.create(clock::now(), NewNode::text(NodeId::parse(id).unwrap(), None, "text")).unwrap();
    }
    copy.commit().unwrap();
    let ends = copy.frontier().into_iter().filter(|entry| entry.log == log);
    let seen = ends.flat_map(|entry| entry.heads.into_iter().map(move |head| (entry.log, head))).collect();
    founder.replica.change_workspace(clock::now(), WorkspaceAction::RemoveMember { user: owner.user.user(), seen }).unwrap();
    founder.replica.commit().unwrap();
    founder.sync(&relay).await;
    let path = format!("/v1/workspaces/{}", founder.workspace);
    for instance in [&relay, &other] {
        assert_eq!(instance.get(&path, Some(&guest.token)).await.json()["role"], "editor", "as far as can be seen");
    }
    let nodes = carried(&founder, &copy, LogRange { log, branch: 0, after, through: after + 2 });
    let response = founder.send(&relay, &nodes, Encoding::Cbor).await.sync();
    assert_eq!((response.applied_operations.len(), response.left_out.len()), (2, 0));
    for instance in [&relay, &other] {
        assert_eq!(instance.get(&path, Some(&guest.token)).await.refusal(), (403, "removed".into()));
        assert_eq!(instance.get(&path, Some(&founder.token)).await.json()["role"], "owner");
    }
}

/// Somebody who has joined by a ticket.
async fn joined(relay: &TestRelay, ticket: &Ticket) -> Device {
    let mut device = Device::joiner(ticket);
    device.login(relay).await;
    device.sync(relay).await;
    device.join(ticket);
    device.sync(relay).await;
    device
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_device_of_a_member_reads_and_makes_itself_known() {
    let relay = TestRelay::start().await;
    let (mut founder, _) = two_members(&relay).await;
    founder.create("a", "text");
    founder.sync(&relay).await;
    let mut second = founder.second_device();
    second.login(&relay).await;
    second.sync(&relay).await;
    assert_eq!(second.text("a"), "text");
    let add = WorkspaceAction::AddDevice { certificate: second.certificate() };
    second.replica.change_workspace(clock::now(), add).unwrap();
    second.create("b", "from the second device");
    second.sync(&relay).await;
    founder.sync(&relay).await;
    assert_eq!(founder.text("b"), "from the second device");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_relay_takes_no_new_workspace_and_an_open_one_only_so_many() {
    let relay = TestRelay::with(|config| config.quota.new_workspaces = false).await;
    assert_eq!(Device::found().try_login(&relay).await.refusal(), (403, "new_workspaces_closed".into()));
    let relay = TestRelay::with(|config| config.quota.workspaces_per_user = 0).await;
    let mut device = Device::found();
    device.login(&relay).await;
    let packet = device.packet(8);
    assert_eq!(device.send(&relay, &packet, Encoding::Cbor).await.refusal(), (403, "too_many_workspaces".into()));
    assert_eq!(relay.rows().await, [0; 7]);
}
