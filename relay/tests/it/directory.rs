//! The directory: where members can be reached, for members, for as long as they say.

use nodespace_protocol::membership::Role;
use nodespace_relay::clock;
use serde_json::{Value, json};

use crate::world::{Answer, Device, TestRelay, eventually, two_members};

fn path(device: &Device) -> String {
    format!("/v1/workspaces/{}/addresses", device.workspace)
}

async fn announce(relay: &TestRelay, device: &Device, said: Value) -> Answer {
    relay.put(&path(device), &device.token, said.to_string()).await
}

/// What a device finds: whose, which, and for how many seconds more.
async fn listed(relay: &TestRelay, device: &Device) -> Vec<(Value, Value, u64)> {
    let answer = relay.get(&path(device), Some(&device.token)).await.json();
    let entry = |entry: &Value| (entry["device_id"].clone(), entry["addresses"].clone(), entry["seconds_left"].as_u64().unwrap());
    answer["members"].as_array().unwrap().iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_announces_the_others_find_at_every_instance() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (founder, joiner) = two_members(&relay).await;
    let said = json!({ "addresses": ["/ip4/192.0.2.1/tcp/4001", "/ip4/0.0.0.0/tcp/1"], "seconds": 60 });
    let kept = announce(&relay, &founder, said).await;
    assert_eq!(kept.json(), json!({ "kept": ["/ip4/192.0.2.1/tcp/4001"], "seconds": 60 }));
    let id = json!(founder.author.key.device());
    for instance in [&relay, &other] {
        let found = listed(instance, &joiner).await;
        let [(device, addresses, left)] = found.as_slice() else { panic!("one member is listed: {found:?}") };
        assert_eq!((device, addresses), (&id, &json!(["/ip4/192.0.2.1/tcp/4001"])));
        assert!(*left <= 60, "{left}");
    }
    // The next announcement takes the place of the last; without a time it holds for five minutes.
    let kept = announce(&other, &founder, json!({ "addresses": ["/dns4/example.org/udp/1/quic-v1"] })).await;
    assert_eq!(kept.json()["seconds"], 300);
    assert_eq!(announce(&other, &joiner, json!({ "addresses": [], "seconds": 86_400 })).await.json()["seconds"], 3_600);
    let found = listed(&relay, &joiner).await;
    let of = |device: &Device| {
        let id = json!(device.author.key.device());
        found.iter().filter(|(device, ..)| *device == id).map(|(_, addresses, _)| addresses.clone()).collect::<Vec<_>>()
    };
    assert_eq!((found.len(), of(&founder), of(&joiner)), (2, vec![json!(["/dns4/example.org/udp/1/quic-v1"])], vec![json!([])]));
    // Members of another workspace find their own.
    let (stranger, _) = two_members(&relay).await;
    assert!(listed(&relay, &stranger).await.is_empty());
    assert_eq!(relay.get(&path(&founder), Some(&stranger.token)).await.refusal(), (403, "wrong_workspace".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_ends() {
    let relay = TestRelay::start().await;
    let (founder, joiner) = two_members(&relay).await;
    let said = |seconds: u32| json!({ "addresses": ["/ip4/192.0.2.1/tcp/4001"], "seconds": seconds });
    assert_eq!(announce(&relay, &founder, said(600)).await.status, 200);
    assert_eq!(listed(&relay, &joiner).await.len(), 1);
    assert_eq!(announce(&relay, &founder, said(0)).await.json()["seconds"], 1, "the shortest time there is");
    eventually("its time is over", async || listed(&relay, &joiner).await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_is_not_listed_and_a_newcomer_announces_nothing() {
    let relay = TestRelay::start().await;
    let (mut founder, joiner) = two_members(&relay).await;
    let said = json!({ "addresses": ["/ip4/192.0.2.1/tcp/4001"] });
    assert_eq!(announce(&relay, &joiner, said.clone()).await.status, 200);
    assert_eq!(listed(&relay, &founder).await.len(), 1);
    let mut newcomer = Device::joiner(&founder.invite(Role::Editor));
    founder.sync(&relay).await;
    newcomer.login(&relay).await;
    assert_eq!(announce(&relay, &newcomer, said.clone()).await.refusal(), (403, "join_first".into()));
    assert_eq!(listed(&relay, &newcomer).await.len(), 1, "whoever joins has to find somebody");
    founder.replica.remove_member(clock::now(), joiner.user.user()).unwrap();
    founder.replica.commit().unwrap();
    founder.sync(&relay).await;
    assert!(listed(&relay, &founder).await.is_empty());
    assert_eq!(announce(&relay, &joiner, said).await.refusal(), (403, "removed".into()));
}
