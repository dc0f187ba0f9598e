//! Notifications: a push on one device shows on another, whichever instance each talks to.

use std::time::Duration;

use futures::StreamExt as _;
use nodespace_protocol::membership::WorkspaceAction;
use nodespace_relay::clock;
use nodespace_relay::config::Secret;
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::servers::own_redis;
use crate::world::{Device, TestRelay, two_members};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn listen(relay: &TestRelay, device: &Device) -> Result<Socket, Error> {
    let url = format!("{}/v1/workspaces/{}/events", relay.url.replacen("http", "ws", 1), device.workspace);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", device.token).parse().unwrap());
    connect_async(request).await.map(|(socket, _)| socket)
}

/// The next hint, or the close code.
async fn next(socket: &mut Socket) -> Result<Value, u16> {
    loop {
        let message = timeout(Duration::from_secs(30), socket.next()).await.unwrap();
        match message {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn next_version(socket: &mut Socket, at_least: u64) -> u64 {
    loop {
        let version = next(socket).await.unwrap()["version"].as_u64().unwrap();
        if version >= at_least {
            return version;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_at_one_instance_shows_at_another() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    let mut socket = listen(&other, &joiner).await.unwrap();
    let first = next(&mut socket).await.unwrap();
    assert_eq!(first["version"], 3);
    assert_eq!(first["epoch"], relay.app.parts().database.epoch().current());
    founder.create("a", "text");
    founder.sync(&relay).await;
    assert_eq!(next_version(&mut socket, 4).await, 4);
    joiner.sync(&other).await;
    assert_eq!(joiner.text("a"), "text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_changes_show_a_little_later() {
    let mut redis = own_redis().await;
    let url = redis.url();
    let relay = TestRelay::with(|config| config.redis.url = Some(Secret::new(&url))).await;
    let other = relay.another().await;
    let (mut founder, joiner) = two_members(&relay).await;
    let mut socket = listen(&other, &joiner).await.unwrap();
    next(&mut socket).await.unwrap();
    redis.kill().unwrap();
    founder.create("a", "text");
    founder.sync(&relay).await;
    assert_eq!(next_version(&mut socket, 4).await, 4);
    // And when it is back, at once again.
    redis.start().await.unwrap();
    founder.create("b", "text");
    founder.sync(&relay).await;
    assert_eq!(next_version(&mut socket, 5).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_hears_of_nothing_more() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (mut founder, joiner) = two_members(&relay).await;
    let mut socket = listen(&other, &joiner).await.unwrap();
    next(&mut socket).await.unwrap();
    let remove = WorkspaceAction::RemoveMember { user: joiner.user.user(), seen: Vec::new() };
    founder.replica.change_workspace(clock::now(), remove).unwrap();
    founder.replica.commit().unwrap();
    founder.sync(&relay).await;
    assert_eq!(next(&mut socket).await, Err(4403));
    let refused = listen(&other, &joiner).await.unwrap_err();
    assert!(matches!(&refused, Error::Http(response) if response.status() == 403), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_has_so_many_sockets_and_says_little() {
    let relay = TestRelay::with(|config| config.limits.device_sockets = 2).await;
    let (founder, _) = two_members(&relay).await;
    let (mut first, second) = (listen(&relay, &founder).await.unwrap(), listen(&relay, &founder).await.unwrap());
    let refused = listen(&relay, &founder).await.unwrap_err();
    assert!(matches!(&refused, Error::Http(response) if response.status() == 429), "{refused:?}");
    next(&mut first).await.unwrap();
    // A frame that is too long ends the connection, and gives its place back.
    use futures::SinkExt as _;
    first.send(Message::Text("x".repeat(100_000).into())).await.ok();
    while let Some(Ok(_)) = first.next().await {}
    crate::world::eventually("the place is free again", async || listen(&relay, &founder).await.ok()).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_says_goodbye() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    let mut socket = listen(&relay, &founder).await.unwrap();
    next(&mut socket).await.unwrap();
    relay.stop().await;
    assert_eq!(next(&mut socket).await, Err(1001));
}
