//! Rates: one limit for all instances, each instance's own while Redis is away.

use nodespace_protocol::view::Encoding;
use nodespace_relay::config::{Rate, Secret};

use crate::servers::own_redis;
use crate::world::{Device, TestRelay, eventually};

/// So slow that nothing is refilled while a test runs.
const fn burst_of(burst: u32) -> Rate {
    Rate { per_second: 0.001, burst }
}

/// Asks alternately until refused; how often each was served, and whether Redis answered them in time each time.
async fn served(relays: &[&TestRelay], device: &Device) -> (Vec<u32>, bool) {
    let path = format!("/v1/workspaces/{}", device.workspace);
    let (mut served, mut is_shared) = (vec![0; relays.len()], true);
    for (at, relay) in relays.iter().enumerate().cycle().take(200) {
        let answer = relay.get(&path, Some(&device.token)).await;
        is_shared &= relay.has_redis();
        match answer.status.as_u16() {
            200 => served[at] += 1,
            429 => {
                assert_eq!(answer.code(), "device_rate_exceeded");
                let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
                let ms = answer.json()["error"]["retry_after_ms"].as_u64().unwrap();
                assert!(seconds >= 1 && seconds == ms.div_ceil(1_000), "{seconds} s, {ms} ms");
            }
            status => panic!("{status}: {answer:?}"),
        }
    }
    (served, is_shared)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_enforce_one_limit_and_each_its_own_without_redis() {
    let mut redis = own_redis().await;
    let url = redis.url();
    let relay = TestRelay::with(|config| {
        config.redis.url = Some(Secret::new(&url));
        config.limits.device_requests = burst_of(40);
    })
    .await;
    let other = relay.another().await;
    // An instance that Redis does not answer in time counts alone for a while, which is another matter: then with another device.
    let (device, counts) = eventually("Redis answers every time", async || {
        let mut device = Device::found();
        device.login(&relay).await;
        device.sync(&relay).await;
        let is_shared = relay.has_redis();
        let (counts, is_shared_still) = served(&[&relay, &other], &device).await;
        (is_shared && is_shared_still).then_some((device, counts))
    })
    .await;
    // One request went into the sync.
    assert_eq!(counts.iter().sum::<u32>(), 39, "{counts:?}");
    // Redis is away: each instance has counted only what came to it, and refuses by that.
    redis.kill().unwrap();
    let (counts, _) = served(&[&relay, &other], &device).await;
    assert_eq!(counts.iter().sum::<u32>(), 40, "the rest of both instances' own bursts: {counts:?}");
    assert_eq!(served(&[&relay, &other], &device).await.0.iter().sum::<u32>(), 0);
    let health = relay.get("/health", None).await;
    assert_eq!((health.status.as_u16(), health.json()["status"].as_str().unwrap()), (200, "degraded"));
    let metrics = relay.http.get(format!("{}/metrics", relay.operator_url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nodespace_relay_redis_up 0"), "{metrics}");
    assert!(metrics.contains("nodespace_relay_refusals_total{code=\"device_rate_exceeded\"}"), "{metrics}");
    // It comes back empty: the shared count begins anew, the instances' own hold.
    redis.start().await.unwrap();
    let health = eventually("Redis is found again", async || relay.app.parts().redis.ping().await.then_some(()));
    health.await;
    assert_eq!(served(&[&relay, &other], &device).await.0.iter().sum::<u32>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_count_by_user_and_device() {
    let relay = TestRelay::with(|config| {
        config.limits.user_operations = burst_of(30);
        config.limits.device_operations = burst_of(20);
    })
    .await;
    let mut device = Device::found();
    device.login(&relay).await;
    (0..14).for_each(|number| device.create(&format!("n{number}"), "text"));
    device.sync(&relay).await;
    (14..24).for_each(|number| device.create(&format!("n{number}"), "text"));
    let packet = device.packet(8);
    let answer = device.send(&relay, &packet, Encoding::Cbor).await;
    assert_eq!(answer.refusal(), (429, "rate_limit_exceeded".into()));
    assert!(answer.headers.contains_key("retry-after"));
    // What fits still goes, and pulling costs nothing of it.
    let mut little = device.packet(8).without_views();
    little.segments.clear();
    device.send(&relay, &little, Encoding::Cbor).await.sync();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_limited_and_a_proxy_names_them() {
    let relay = TestRelay::with(|config| {
        config.limits.address_requests = burst_of(5);
        config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let ask = async |forwarded: &str| {
        let request = relay.http.get(format!("{}/v1/relay", relay.url)).header("x-forwarded-for", forwarded);
        request.send().await.unwrap().status().as_u16()
    };
    for _ in 0..5 {
        assert_eq!(ask("192.0.2.1").await, 200);
    }
    assert_eq!(ask("192.0.2.1").await, 429);
    // What stands before the last foreign address anybody may have written.
    assert_eq!(ask("203.0.113.9, 192.0.2.1").await, 429);
    assert_eq!(ask("192.0.2.2").await, 200);
}
