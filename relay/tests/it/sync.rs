//! Packets and answers: what one device pushes another pulls, once, in order, whatever the form.

use nodespace_protocol::clock::AHEAD_MS_MAX;
use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::membership::Role;
use nodespace_protocol::view::{CanonicalNode, Cursor, Encoding, SyncPacket, SyncResponse};
use nodespace_relay::clock;
use nodespace_relay::store::WorkspaceRow;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

use crate::world::{Answer, Device, TestRelay, two_members};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_are_never_online_together_agree() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "from the founder");
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    joiner.set_text("a", "from the founder, and the joiner");
    joiner.create("b", "from the joiner");
    joiner.sync(&relay).await;
    founder.sync(&relay).await;
    assert_eq!(founder.text("a"), "from the founder, and the joiner");
    assert_eq!(founder.replica.state_digest(), joiner.replica.state_digest());
    assert_eq!(founder.replica.frontier_digest(), joiner.replica.frontier_digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_is_taken_in_every_form_and_answered_in_its_own() {
    let relay = TestRelay::start().await;
    for encoding in [Encoding::Json, Encoding::Cbor] {
        for compression in [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd] {
            let mut device = Device::found();
            (0..12).for_each(|number| device.create(&format!("node-{number}"), "some text"));
            device.login(&relay).await;
            let mut packet = device.packet(64);
            packet.compression = compression;
            let accepted = match compression {
                CompressionType::None => "identity",
                CompressionType::Gzip => "gzip",
                CompressionType::Zstd => "zstd",
            };
            let request = relay.http.post(format!("{}/v1/sync?views=true", relay.url)).bearer_auth(&device.token);
            let request = request.header(ACCEPT_ENCODING, accepted).body(packet.to_bytes(encoding).unwrap());
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.sync().applied_operations.len(), 13);
            device.note_applied(&packet, &answer.sync());
            device.take(&relay, &answer.sync());
            // Pulled again from the beginning, with views.
            let mut pull = SyncPacket::pull(device.sender(), Cursor::default(), clock::now());
            pull.compression = compression;
            let request = relay.http.post(format!("{}/v1/sync?views=true", relay.url)).bearer_auth(&device.token);
            let request = request.header(ACCEPT_ENCODING, accepted).body(pull.to_bytes(encoding).unwrap());
            let answer = Answer::of(request.send().await.unwrap()).await;
            let (response, framing) = SyncResponse::from_bytes(&answer.body, nodespace_protocol::view::encoding::PACKET_LIMITS).unwrap();
            assert_eq!((framing.encoding, framing.compression), (encoding, compression));
            let said = answer.headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(said.unwrap_or("identity"), accepted);
            assert_eq!(response.new_operations.len(), 13);
            response.verify_consistency(&device.workspace, &|_: &_| None).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_with_nothing_to_push_still_pulls_and_an_empty_answer_is_signed() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "text");
    founder.sync(&relay).await;
    let pull = SyncPacket::pull(joiner.sender(), joiner.cursor, clock::now());
    let response = joiner.send(&relay, &pull, Encoding::Cbor).await.sync();
    assert_eq!((response.segments.len(), response.applied_operations.len()), (1, 0));
    joiner.take(&relay, &response);
    let pull = SyncPacket::pull(joiner.sender(), joiner.cursor, clock::now());
    let response = joiner.send(&relay, &pull, Encoding::Cbor).await.sync();
    assert!(response.segments.is_empty() && !response.more);
    joiner.take(&relay, &response);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_packet_twice_is_stored_once_and_acknowledged_twice() {
    let relay = TestRelay::start().await;
    let mut device = Device::found();
    device.create("a", "text");
    device.login(&relay).await;
    let packet = device.packet(64);
    let first = device.send(&relay, &packet, Encoding::Cbor).await.sync();
    let rows = relay.rows().await;
    let second = device.send(&relay, &packet, Encoding::Cbor).await.sync();
    assert_eq!(first.applied_operations, second.applied_operations);
    assert_eq!((first.latest_version, relay.rows().await), (second.latest_version, rows));
    // Some of it known, some new: only that is added.
    device.create("b", "text");
    let mut whole = SyncPacket::pull(device.sender(), Cursor::default(), clock::now());
    let log = device.author.log();
    let mut range = nodespace_protocol::replica::LogRange { log, branch: 0, after: 0, through: 3 };
    while let Some(reached) = whole.push(&device.replica, &range).unwrap() {
        range.after = reached;
    }
    let third = device.send(&relay, &whole, Encoding::Cbor).await.sync();
    assert_eq!((third.applied_operations.len(), third.latest_version), (3, 3));
    device.note_applied(&whole, &third);
    device.take(&relay, &third);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_push_is_the_one_that_the_log_gives() {
    let relay = TestRelay::start().await;
    let mut device = Device::found();
    device.login(&relay).await;
    for round in 0..4 {
        (0..3).for_each(|number| device.create(&format!("node-{round}-{number}"), "some text"));
        let packet = device.packet(64);
        // Nobody else writes, so the first answer needs no reading; the second time all of it is there, and read.
        let first = device.send(&relay, &packet, Encoding::Cbor).await.sync();
        let second = device.send(&relay, &packet, Encoding::Cbor).await.sync();
        assert!(!first.pushed.is_empty() && first.checkpoint.is_some());
        assert_eq!(first, second);
        device.note_applied(&packet, &first);
        device.take(&relay, &first);
    }
    // From an older cursor the page begins before what the packet adds: that is read, and sent.
    device.create("last", "some text");
    let mut packet = device.packet(64);
    packet.last_known_version = 0;
    let answer = device.send(&relay, &packet, Encoding::Cbor).await.sync();
    assert!(!answer.segments.is_empty());
    assert_eq!(answer.pushed.iter().map(|run| run.operations).sum::<u32>(), 1);
    assert_eq!(answer.latest_version, device.cursor.version + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_logs_come_in_pages_and_the_running_hash_goes_through_all() {
    let relay = TestRelay::start().await;
    let mut founder = Device::found();
    let ticket = founder.invite(Role::Editor);
    for number in 0..9_000 {
        let id = NodeId::parse(&format!("node-{number}")).unwrap();
        founder.replica.create(clock::now(), nodespace_protocol::replica::NewNode::text(id, None, "a node of many")).unwrap();
    }
    founder.replica.commit().unwrap();
    founder.login(&relay).await;
    founder.sync(&relay).await;
    let mut joiner = Device::joiner(&ticket);
    joiner.login(&relay).await;
    let mut pages = 0;
    loop {
        let pull = SyncPacket::pull(joiner.sender(), joiner.cursor, clock::now());
        let response = joiner.send(&relay, &pull, Encoding::Cbor).await.sync();
        joiner.take(&relay, &response);
        pages += 1;
        if !response.more {
            break;
        }
    }
    assert!(pages > 2, "{pages}");
    assert_eq!(joiner.replica.state_digest(), founder.replica.state_digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_in_any_order_are_taken_and_what_has_gaps_is_named() {
    let relay = TestRelay::start().await;
    let mut device = Device::found();
    // Each invite names membership, so each begins a segment.
    (0..4).for_each(|_| drop(device.invite(Role::Viewer)));
    device.create("a", "text");
    device.login(&relay).await;
    let packet = device.packet(64).without_views();
    assert!(packet.segments.len() > 3);
    let mut gap = packet.clone();
    let taken_out = gap.segments.remove(2);
    let response = device.send(&relay, &gap, Encoding::Cbor).await.sync();
    assert!(response.left_out.iter().all(|left| left.waits && left.code == "missing_previous"), "{:?}", response.left_out);
    assert_eq!(response.left_out.iter().map(|left| left.segment).collect::<Vec<_>>(), (2..gap.segments.len() as u32).collect::<Vec<_>>());
    // What is missing, with the rest, the wrong way round.
    let mut rest = packet.clone();
    rest.segments.drain(..2);
    assert_eq!(rest.segments[0], taken_out);
    rest.segments.reverse();
    let response = device.send(&relay, &rest, Encoding::Cbor).await.sync();
    assert!(response.left_out.is_empty(), "{:?}", response.left_out);
    assert_eq!(response.latest_version, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_carries_what_another_signed() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "made offline, carried by a peer");
    // The peers meet without the relay.
    let mut range = nodespace_protocol::replica::LogRange { log: founder.author.log(), branch: 0, after: 2, through: 3 };
    while let Some(segment) = founder.replica.segment(&range, true, &|_| 0).unwrap() {
        range.after = segment.last_seq();
        joiner.replica.ingest(&segment, clock::now()).unwrap();
    }
    joiner.replica.commit().unwrap();
    let response = joiner.sync(&relay).await;
    assert!(response.left_out.is_empty());
    let mut third = Device::joiner(&founder.invite(Role::Viewer));
    founder.sync(&relay).await;
    third.login(&relay).await;
    third.sync(&relay).await;
    assert_eq!(third.text("a"), "made offline, carried by a peer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_its_parent_is_stored_and_shows_when_that_comes() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "made by the founder");
    // The peers meet without the relay.
    let log = founder.author.log();
    let through = founder.replica.logs().get(&log).unwrap().last_seq();
    let mut range = nodespace_protocol::replica::LogRange { log, branch: 0, after: through - 1, through };
    while let Some(segment) = founder.replica.segment(&range, true, &|_| 0).unwrap() {
        range.after = segment.last_seq();
        joiner.replica.ingest(&segment, clock::now()).unwrap();
    }
    // What the joiner makes of it reaches the relay first, in two packets.
    let log = joiner.author.log();
    for text in ["changed by the joiner", "changed by the joiner again"] {
        joiner.set_text("a", text);
        let through = joiner.replica.logs().get(&log).unwrap().last_seq();
        let mut packet = SyncPacket::pull(joiner.sender(), joiner.cursor, clock::now());
        let range = nodespace_protocol::replica::LogRange { log, branch: 0, after: through - 1, through };
        packet.push(&joiner.replica, &range).unwrap();
        let response = joiner.send(&relay, &packet, Encoding::Cbor).await.sync();
        assert_eq!((response.applied_operations.len(), response.left_out.len()), (1, 0));
    }
    let path = format!("/v1/workspaces/{}/nodes/a", founder.workspace);
    assert_eq!(relay.get(&path, Some(&founder.token)).await.refusal(), (404, "unknown_node".into()));
    founder.sync(&relay).await;
    assert_eq!(relay.get(&path, Some(&founder.token)).await.json()["node"]["content"], "changed by the joiner again");
    assert_eq!(founder.text("a"), "changed by the joiner again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ahead_of_time_shows_when_that_has_come_whoever_asks() {
    let relay = TestRelay::start().await;
    let mut seconds = 2;
    let (founder, joiner, path) = loop {
        let (mut founder, joiner) = two_members(&relay).await;
        let ahead = clock::now().plus_ms(AHEAD_MS_MAX + 1_000 * seconds);
        let new = nodespace_protocol::replica::NewNode::text(NodeId::parse("a").unwrap(), None, "from a clock that is fast");
        founder.replica.create(ahead, new).unwrap();
        founder.replica.commit().unwrap();
        founder.sync(&relay).await;
        let path = format!("/v1/workspaces/{}/nodes/a", founder.workspace);
        let looked = relay.get(&path, Some(&joiner.token)).await;
        if clock::now().plus_ms(AHEAD_MS_MAX) < ahead {
            assert_eq!(looked.refusal(), (404, "unknown_node".into()));
            break (founder, joiner, path);
        }
        // On a busy machine its time had come before anybody looked: another one gets more of it.
        seconds *= 2;
        assert!(seconds <= 32, "a look takes longer than {seconds} s");
    };
    // Nobody writes any more.
    let shown = crate::world::eventually("the node shows", async || {
        let answer = relay.get(&path, Some(&joiner.token)).await;
        (answer.status == StatusCode::OK).then(|| answer.json())
    });
    assert_eq!(shown.await["node"]["content"], "from a clock that is fast");
    let row = WorkspaceRow::read(relay.app.parts().database.read(), &founder.workspace).await.unwrap().unwrap();
    assert!(!row.held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_told_and_both_sides_are_stored() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "one line");
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    founder.set_text("a", "one LONG line");
    joiner.set_text("a", "one short line");
    founder.sync(&relay).await;
    let packet = joiner.packet(64);
    let response = joiner.send(&relay, &packet, Encoding::Json).await.sync();
    assert_eq!(response.applied_operations.len(), 1);
    let [conflict] = response.conflicts.as_slice() else { panic!("one conflict: {:?}", response.conflicts) };
    assert_eq!((conflict.node_id.to_string().as_str(), conflict.field.as_str(), conflict.live), ("a", "content", true));
    assert_eq!(conflict.local_operation.device_id, joiner.author.key.device());
    assert_eq!(conflict.sides.len(), 2);
    assert_eq!(conflict.ancestor, Some("one line".into()));
    joiner.note_applied(&packet, &response);
    joiner.take(&relay, &response);
    founder.sync(&relay).await;
    assert_eq!(founder.text("a"), joiner.text("a"));
    assert_eq!(founder.replica.state_digest(), joiner.replica.state_digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canonical_nodes_are_the_fold_of_the_log() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    for number in 0..30 {
        founder.create(&format!("n{number}"), "text");
    }
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    let id = |name: &str| NodeId::parse(name).unwrap();
    for number in 0..30 {
        let name = format!("n{number}");
        founder.set_text(&name, &format!("text of {number} by the founder"));
        match number % 4 {
            0 => joiner.set_text(&name, "0123"),
            1 => joiner.replica.delete(clock::now(), &id(&name), true).map(drop).unwrap(),
            2 => {
                let metadata = serde_json::json!({ "k": number, "\u{0}": "\u{0}'; DROP TABLE nodes; --" });
                joiner.replica.patch_metadata(clock::now(), &id(&name), metadata).map(drop).unwrap();
            }
            _ => {}
        }
    }
    joiner.replica.commit().unwrap();
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    founder.sync(&relay).await;
    let database = &relay.app.parts().database;
    let row = WorkspaceRow::read(database.read(), &founder.workspace).await.unwrap().unwrap();
    let kept: Vec<CanonicalNode> = nodespace_relay::store::canonical_nodes(database, row.number).await.unwrap();
    let mut folded: Vec<CanonicalNode> =
        founder.replica.node_ids().iter().map(|id| founder.replica.canonical(id).unwrap().unwrap()).collect();
    folded.sort_by_key(|node| node.id.to_string());
    assert_eq!(kept.len(), 30);
    // What was stored went through CBOR; what a device folds goes the same way to be compared.
    let through_cbor = |node: &CanonicalNode| {
        let mut bytes = Vec::new();
        ciborium::into_writer(node, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(kept.iter().map(through_cbor).collect::<Vec<_>>(), folded.iter().map(through_cbor).collect::<Vec<_>>());
    // And one of them, as a device that has lost trust in its copy asks for it.
    let path = format!("/v1/workspaces/{}/nodes/n0?surroundings=true", founder.workspace);
    let answer = relay.get(&path, Some(&joiner.token)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = answer.json();
    assert_eq!(answer["node"]["content"], founder.text("n0"));
    assert_eq!(answer["node"]["heads"].as_array().unwrap().len(), 2);
    assert_eq!(answer["conflicts"].as_array().unwrap().len(), 1);
    let missing = relay.get(&format!("/v1/workspaces/{}/nodes/none", founder.workspace), Some(&joiner.token)).await;
    assert_eq!(missing.refusal(), (404, "unknown_node".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_write_to_one_workspace_without_gaps() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    for round in 0..10 {
        founder.create(&format!("f{round}"), "text");
        joiner.create(&format!("j{round}"), "text");
        // At once, each at its own instance.
        tokio::join!(founder.sync(&relay), joiner.sync(&other));
    }
    founder.sync(&other).await;
    joiner.sync(&relay).await;
    assert_eq!(founder.replica.state_digest(), joiner.replica.state_digest());
    let database = relay.app.parts().database.read();
    let (count, last): (i64, i64) = sqlx::query_as("SELECT count(*), max(version) FROM operations").fetch_one(database).await.unwrap();
    assert_eq!((count, last), (23, 23));
}
