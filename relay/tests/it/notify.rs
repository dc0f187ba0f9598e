//! Notifications: a push on one device shows on another, whichever instance each talks to.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use nodespace_protocol::membership::WorkspaceAction;
use nodespace_relay::clock;
use nodespace_relay::config::Secret;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::crowds;
use crate::servers::own_redis;
use crate::world::{Device, TestRelay, eventually, two_members};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

fn events(relay: &TestRelay, device: &Device) -> Request {
    let url = format!("{}/v1/workspaces/{}/events", relay.url.replacen("http", "ws", 1), device.workspace);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", device.token).parse().unwrap());
    request
}

async fn listen(relay: &TestRelay, device: &Device) -> Result<Socket, Error> {
    connect_async(events(relay, device)).await.map(|(socket, _)| socket)
}

/// The same from one of this machine's own addresses; `None` when the connection is closed instead.
async fn listen_from(from: &str, relay: &TestRelay, device: &Device) -> Option<Socket> {
    let to: SocketAddr = relay.url.strip_prefix("http://").unwrap().parse().unwrap();
    let stream = MaybeTlsStream::Plain(crowds::connect(from, to).await);
    client_async(events(relay, device), stream).await.ok().map(|(socket, _)| socket)
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
    eventually("the place is free again", async || listen(&relay, &founder).await.ok()).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_says_goodbye() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    let mut socket = listen(&relay, &founder).await.unwrap();
    next(&mut socket).await.unwrap();
    let app = relay.app.clone();
    relay.stop().await;
    assert!(app.parts().sockets.lock().unwrap().is_empty(), "it has waited for that");
    assert_eq!(next(&mut socket).await, Err(1001));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_keeps_the_place_of_its_connection() {
    let relay = TestRelay::with(|config| {
        config.server.connections_per_address = 2;
        // Where everything else in this test is asked from.
        config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let (founder, _) = two_members(&relay).await;
    let mut first = listen_from("127.0.0.2", &relay, &founder).await.unwrap();
    let mut second = listen_from("127.0.0.2", &relay, &founder).await.unwrap();
    // HTTP is over for both.
    next(&mut first).await.unwrap();
    next(&mut second).await.unwrap();
    assert!(listen_from("127.0.0.2", &relay, &founder).await.is_none(), "the third is closed");
    assert!(listen_from("127.0.0.3", &relay, &founder).await.is_some(), "another address has its own share");
    drop(first);
    eventually("the place is free again", async || listen_from("127.0.0.2", &relay, &founder).await).await;
    drop(second);
}

/// A wire to a Redis that can fall silent: what is connected by then stays connected and carries nothing any more, as when the machine at
/// the other end has lost its power. Whoever connects afterwards is carried.
struct Wire {
    url: String,
    silence: watch::Sender<()>,
}

impl Wire {
    async fn to(redis: &str) -> Self {
        let socket = redis.strip_prefix("redis+unix://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { url: format!("redis://{}", listener.local_addr().unwrap()), silence: watch::Sender::new(()) };
        let silence = wire.silence.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut far, mut silence) = (UnixStream::connect(&socket).await.unwrap(), silence.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = silence.changed() => std::future::pending().await,
                    }
                });
            }
        });
        wire
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_has_fallen_silent_is_listened_to_anew() {
    let server = own_redis().await;
    let wire = Wire::to(&server.url()).await;
    let url = wire.url.clone();
    let relay = TestRelay::with(|config| config.redis.url = Some(Secret::new(&url))).await;
    let mut asking = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut listened = async |connections: i64| {
        let question = redis::cmd("PUBSUB").arg("NUMSUB").arg("nodespace:notify").clone();
        let answer: Option<(String, i64)> = question.query_async(&mut asking).await.ok();
        answer.is_some_and(|(_, found)| found == connections).then_some(())
    };
    eventually("it listens", async || listened(1).await).await;
    wire.silence.send_replace(());
    // To Redis, the first connection is there still.
    eventually("it listens by another connection", async || listened(2).await).await;
    drop(relay);
}
