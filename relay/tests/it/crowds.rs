//! Many connections from one address keep nobody else out.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::world::{TestRelay, eventually};

/// A connection from one of this machine's own addresses.
pub(crate) async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the relay answers on a connection, which stays open.
async fn is_served(stream: &mut TcpStream) -> bool {
    let asked = async {
        stream.write_all(b"GET /v1/relay HTTP/1.1\r\nHost: relay\r\n\r\n").await?;
        // The head, then as much as it says.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        stream.read_exact(&mut vec![0; length.unwrap()]).await?;
        Ok::<_, std::io::Error>(head.starts_with("HTTP/1.1 200"))
    };
    timeout(Duration::from_secs(30), asked).await.unwrap().unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_connections_and_others_have_theirs() {
    let relay = TestRelay::with(|config| {
        config.server.connections_per_address = 2;
        config.server.trusted_proxies = vec!["127.0.0.3".parse().unwrap()];
        // They stay open though they ask nothing more.
        config.server.head_seconds = 600;
    })
    .await;
    let to: SocketAddr = relay.url.strip_prefix("http://").unwrap().parse().unwrap();
    let (mut first, mut second) = (connect("127.0.0.1", to).await, connect("127.0.0.1", to).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    assert!(!is_served(&mut connect("127.0.0.1", to).await).await, "the third is closed");
    assert!(is_served(&mut connect("127.0.0.2", to).await).await, "another address has its own share");
    let mut proxied = Vec::new();
    for _ in 0..5 {
        let mut connection = connect("127.0.0.3", to).await;
        assert!(is_served(&mut connection).await, "a trusted proxy speaks for many");
        proxied.push(connection);
    }
    let metrics = relay.http.get(format!("{}/metrics", relay.operator_url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nodespace_relay_refusals_total{code=\"too_many_connections\"} 1"), "{metrics}");
    drop(first);
    eventually("the place is free again", async || is_served(&mut connect("127.0.0.1", to).await).await.then_some(())).await;
    assert!(is_served(&mut second).await, "who is there stays");
}
