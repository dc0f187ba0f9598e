//! Whoever asks and does not read is cut off, and his answer let go; whoever reads slowly is not.

use std::time::{Duration, Instant};

use nodespace_protocol::ids::hex;
use nodespace_protocol::view::{Cursor, Encoding, SyncPacket};
use nodespace_relay::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{interval, timeout};

use crate::world::{Device, TestRelay, eventually};

/// How long a connection may take no more of an answer.
const WRITE_SECONDS: u64 = 1;
/// The same for one that is read slowly: a busy machine may keep even a reader who wants to from reading for a while.
const SLOW_WRITE_SECONDS: u64 = 6;

/// A relay, and a device that may pull more from it than the system takes of an answer that nobody reads.
async fn relay_with_pages(write_seconds: u64) -> (TestRelay, Device) {
    let relay = TestRelay::with(|config| config.server.write_seconds = write_seconds).await;
    let mut founder = Device::found();
    founder.login(&relay).await;
    for number in 0..50 {
        // What shrinks too well is refused as a trap.
        let mut bytes = vec![0; 20 << 10];
        getrandom::fill(&mut bytes).unwrap();
        founder.create(&format!("n{number}"), &hex(&bytes));
    }
    founder.sync(&relay).await;
    (relay, founder)
}

/// A connection whose own system takes so little that the rest stays with the relay.
async fn connect(relay: &TestRelay, receive_bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(receive_bytes).unwrap();
    socket.connect(relay.url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap()
}

/// A pull from the beginning, as it goes over the wire.
fn pull(device: &Device) -> Vec<u8> {
    let body = SyncPacket::pull(device.sender(), Cursor::default(), clock::now()).to_bytes(Encoding::Cbor).unwrap();
    let head = format!(
        "POST /v1/sync?views=false HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        device.token,
        body.len()
    );
    [head.as_bytes(), &body[..]].concat()
}

/// Whether the relay has counted a connection that was cut off for this.
async fn has_cut_off(relay: &TestRelay) -> bool {
    let metrics = relay.http.get(format!("{}/metrics", relay.operator_url)).send().await.unwrap().text().await.unwrap();
    metrics.contains("nodespace_relay_refusals_total{code=\"reads_too_slowly\"}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_is_let_go() {
    let (relay, device) = relay_with_pages(WRITE_SECONDS).await;
    let mut stream = connect(&relay, 8 << 10).await;
    stream.write_all(&pull(&device)).await.unwrap();
    eventually("the connection is cut off", async || has_cut_off(&relay).await.then_some(())).await;
    // What is there by now can be read, and nothing follows it.
    let mut read = Vec::new();
    let ended = timeout(Duration::from_secs(30), stream.read_to_end(&mut read)).await.unwrap();
    assert!(read.len() < 1 << 20, "{} bytes came all the same: {ended:?}", read.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_read_yet_counts_and_large_ones_have_their_bound() {
    // So long that nothing is cut off.
    let (relay, device) = relay_with_pages(600).await;
    let memory = &relay.app.parts().memory;
    let mut stream = connect(&relay, 8 << 10).await;
    stream.write_all(&pull(&device)).await.unwrap();
    eventually("the answer waits", async || (memory.held() > 1 << 20).then_some(())).await;
    drop(stream);
    eventually("it is let go", async || (memory.held() == 0).then_some(())).await;
    // Others have all that there is for such answers.
    let mut others = memory.answer();
    others.grow_to((relay.config.server.bodies_mib << 20) / 2).unwrap();
    let page = SyncPacket::pull(device.sender(), Cursor::default(), clock::now());
    let nothing_new = SyncPacket::pull(device.sender(), device.cursor, clock::now());
    assert_eq!(device.send(&relay, &page, Encoding::Cbor).await.refusal(), (503, "relay_busy".into()));
    assert_eq!(device.send(&relay, &nothing_new, Encoding::Cbor).await.status, 200, "a small one is answered");
    drop(others);
    assert_eq!(device.send(&relay, &page, Encoding::Cbor).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_read_slowly_comes_whole() {
    let (relay, device) = relay_with_pages(SLOW_WRITE_SECONDS).await;
    let mut stream = connect(&relay, 64 << 10).await;
    stream.write_all(&pull(&device)).await.unwrap();
    let (begun, mut read, mut pace) = (Instant::now(), 0, interval(Duration::from_millis(200)));
    let mut part = vec![0; 32 << 10];
    let mut first = Vec::new();
    loop {
        pace.tick().await;
        let bytes = timeout(Duration::from_secs(30), stream.read(&mut part)).await.unwrap().unwrap();
        if bytes == 0 {
            break;
        }
        if read == 0 {
            first = part[..bytes].to_vec();
        }
        read += bytes;
    }
    assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first[..first.len().min(300)]));
    assert!(read > 1 << 20, "{read} bytes prove nothing: they fit into what the system takes");
    assert!(begun.elapsed() > Duration::from_secs(SLOW_WRITE_SECONDS), "it was not slow");
    assert!(!has_cut_off(&relay).await);
}

/// Each ping asks for a pong. A socket that reads none of them could have the relay keep them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_asks_for_pongs_and_reads_none_is_cut_off() {
    let relay = TestRelay::with(|config| config.server.write_seconds = WRITE_SECONDS).await;
    let mut device = Device::found();
    device.login(&relay).await;
    device.sync(&relay).await;
    let mut stream = connect(&relay, 8 << 10).await;
    let head = format!(
        "GET /v1/workspaces/{}/events HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        device.workspace, device.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // Final, a ping; masked, 125 bytes; a mask that changes nothing.
    let ping: Vec<u8> = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[7; 125]].concat();
    let pings = ping.repeat(500);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    timeout(Duration::from_secs(20), flood).await.expect("the relay ends the connection");
    assert!(has_cut_off(&relay).await);
}
