//! The API over real connections: bounds, bad clients, an orderly end.

use std::future::pending;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nodespace_node::api::{ADDRESS_FILE, ApiAddress, ApiOptions, ServeError, Token, bind, serve};
use nodespace_node::engine::Device;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{PATIENCE, device};

struct Daemon {
    address: SocketAddr,
    token: Token,
    device: Device,
    shutdown: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

impl Daemon {
    async fn start(set: impl FnOnce(&mut ApiOptions)) -> Self {
        Self::start_on("127.0.0.1:0", set).await
    }

    async fn start_on(address: &str, set: impl FnOnce(&mut ApiOptions)) -> Self {
        let (device, folder) = device().await;
        let token = Token::open(device.home()).unwrap();
        let mut options = ApiOptions::new(token.clone());
        set(&mut options);
        let listener = bind(address.parse().unwrap(), &options).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stopped) = oneshot::channel::<()>();
        let home = device.clone();
        let served = tokio::spawn(async move { serve(home, options, listener, async { drop(stopped.await) }).await });
        Self { address, token, device, shutdown: Some(shutdown), served, _folder: folder }
    }

    async fn connect(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.address).await.unwrap(), text: Vec::new() }
    }

    fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n", self.address, self.token.secret())
    }

    fn stop(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    async fn works(&self) {
        let mut wire = self.connect().await;
        wire.write(&format!("{}\r\n", self.head("GET /v1/status"))).await;
        assert_eq!(wire.answer().await.0, 200);
    }
}

/// A connection, byte by byte.
struct Wire {
    stream: TcpStream,
    text: Vec<u8>,
}

impl Wire {
    async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `mark`; `None` when the connection ends before.
    async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some(at) = self.text.windows(mark.len()).position(|bytes| bytes == mark.as_bytes()) {
                let rest = self.text.split_off(at + mark.len());
                return Some(String::from_utf8(std::mem::replace(&mut self.text, rest)).unwrap());
            }
            let mut bytes = [0; 4096];
            match timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("the connection went silent") {
                Ok(count) if count > 0 => self.text.extend_from_slice(&bytes[..count]),
                _ => return None,
            }
        }
    }

    /// An answer with `Content-Length`.
    async fn answer(&mut self) -> (u16, String) {
        let head = self.until("\r\n\r\n").await.expect("no answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.to_ascii_lowercase().split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        while self.text.len() < length {
            let mut bytes = [0; 4096];
            let count = timeout(PATIENCE, self.stream.read(&mut bytes)).await.unwrap().unwrap();
            assert!(count > 0, "the answer broke off");
            self.text.extend_from_slice(&bytes[..count]);
        }
        let rest = self.text.split_off(length);
        (status, head + &String::from_utf8(std::mem::replace(&mut self.text, rest)).unwrap())
    }
}

#[tokio::test]
async fn the_home_folder_says_where_the_api_is_as_long_as_it_is() {
    let mut daemon = Daemon::start(|_| {}).await;
    daemon.works().await;
    let home = daemon.device.home().to_owned();
    assert_eq!(ApiAddress::read(&home).unwrap(), Some(ApiAddress { address: daemon.address, pid: std::process::id() }));
    let mode = std::fs::metadata(home.join(ADDRESS_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop();
    timeout(PATIENCE, &mut daemon.served).await.unwrap().unwrap().unwrap();
    assert_eq!(ApiAddress::read(&home).unwrap(), None);
    assert!(TcpStream::connect(daemon.address).await.is_err());
}

#[tokio::test]
async fn a_connection_takes_many_requests_and_a_host_with_the_real_port() {
    let daemon = Daemon::start(|_| {}).await;
    let mut wire = daemon.connect().await;
    for _ in 0..5 {
        wire.write(&format!("{}\r\n", daemon.head("GET /v1/status"))).await;
        assert_eq!(wire.answer().await.0, 200);
    }
    let body = r#"{"id":"a","content":"over the wire"}"#;
    wire.write(&format!("{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", daemon.head("POST /v1/nodes"), body.len()))
        .await;
    assert_eq!(wire.answer().await.0, 201);
    wire.write("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(wire.answer().await.0, 403);
    wire.write("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(wire.answer().await.0, 403);
}

#[tokio::test]
async fn a_stream_over_the_wire_shows_what_another_connection_writes() {
    let daemon = Daemon::start(|_| {}).await;
    let mut stream = daemon.connect().await;
    stream.write(&format!("{}Accept: text/event-stream\r\n\r\n", daemon.head("GET /v1/changes/stream"))).await;
    assert!(stream.until("event: ready").await.unwrap().contains("text/event-stream"));
    let mut writer = daemon.connect().await;
    let body = r#"{"id":"seen","content":"x"}"#;
    writer
        .write(&format!("{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", daemon.head("POST /v1/nodes"), body.len()))
        .await;
    assert_eq!(writer.answer().await.0, 201);
    assert!(stream.until("\"node_id\":\"seen\"").await.is_some());
}

#[tokio::test]
async fn a_body_that_is_too_great_gets_an_answer_and_not_a_broken_connection() {
    let daemon = Daemon::start(|options| options.body_bytes_max = 1_000).await;
    let mut wire = daemon.connect().await;
    let body = "x".repeat(3 << 20);
    wire.write(&format!("{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", daemon.head("POST /v1/nodes"), body.len()))
        .await;
    let (status, text) = wire.answer().await;
    assert_eq!(status, 413);
    assert!(text.contains("\"too_large\""), "{text}");
    // Who waits to be asked for the body is told not to send it.
    let mut wire = daemon.connect().await;
    wire.write(&format!(
        "{}Content-Type: application/json\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n",
        daemon.head("POST /v1/nodes")
    ))
    .await;
    assert_eq!(wire.answer().await.0, 413);
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let daemon = Daemon::start(|options| {
        options.head_wait = Duration::from_millis(100);
        options.body_wait = Duration::from_millis(100);
    })
    .await;
    let mut silent = daemon.connect().await;
    let mut slow_head = daemon.connect().await;
    slow_head.write("GET /health HTTP/1.1\r\nHost: ").await;
    let mut slow_body = daemon.connect().await;
    slow_body.write(&format!("{}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{", daemon.head("POST /v1/nodes"))).await;
    assert_eq!(silent.until("never").await, None);
    assert_eq!(slow_head.until("never").await, None);
    let (status, text) = slow_body.answer().await;
    assert_eq!(status, 400);
    assert!(text.contains("did not arrive"), "{text}");
    daemon.works().await;
}

#[tokio::test]
async fn what_is_no_http_harms_nobody_else() {
    let daemon = Daemon::start(|_| {}).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET /health HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    for bytes in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03",
        long.as_str(),
        many.as_str(),
    ] {
        let mut wire = daemon.connect().await;
        // It may be closed before all is written.
        drop(wire.stream.write_all(bytes.as_bytes()).await);
        drop(wire.stream.shutdown().await);
        let answer = wire.until("\r\n\r\n").await;
        assert!(answer.as_ref().is_none_or(|answer| answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4")), "{answer:?}");
    }
    // Two lengths, or a length and chunks, are how requests are smuggled through a proxy.
    for framing in ["Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: 2\r\nTransfer-Encoding: chunked, gzip\r\n"] {
        let mut wire = daemon.connect().await;
        wire.write(&format!("{}Content-Type: application/json\r\n{framing}\r\n{{}}", daemon.head("POST /v1/nodes"))).await;
        let answer = wire.until("\r\n\r\n").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{framing}: {answer}");
    }
    daemon.works().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_their_turn() {
    let daemon = Daemon::start(|_| {}).await;
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(daemon.connect().await);
    }
    // Each of them is served, so each holds a place.
    for wire in &mut idle {
        wire.write(&format!("{}\r\n", daemon.head("GET /health"))).await;
        assert_eq!(wire.answer().await.0, 200);
    }
    let mut late = daemon.connect().await;
    late.write(&format!("{}\r\n", daemon.head("GET /health"))).await;
    idle.pop();
    assert_eq!(late.answer().await.0, 200);
}

#[tokio::test]
async fn stopping_lets_what_is_under_way_finish() {
    let mut daemon = Daemon::start(|_| {}).await;
    let mut stream = daemon.connect().await;
    stream.write(&format!("{}\r\n", daemon.head("GET /v1/changes/stream"))).await;
    stream.until("event: ready").await.unwrap();
    let mut half = daemon.connect().await;
    let body = r#"{"id":"half","content":"x"}"#;
    half.write(&format!("{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", daemon.head("POST /v1/nodes"), body.len())).await;
    half.write(&body[..5]).await;
    // The server has seen the head of this request once another one on a later connection is answered.
    daemon.works().await;
    daemon.stop();
    // The last chunk: the stream has ended and was not cut.
    assert!(stream.until("\r\n0\r\n\r\n").await.is_some());
    half.write(&body[5..]).await;
    let (status, text) = half.answer().await;
    assert_eq!(status, 201, "{text}");
    timeout(PATIENCE, &mut daemon.served).await.unwrap().unwrap().unwrap();
    assert!(daemon.device.workspace(None).unwrap().node("half").await.is_ok());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let mut daemon = Daemon::start(|options| options.stop_wait = Duration::from_millis(50)).await;
    let mut half = daemon.connect().await;
    half.write(&format!("{}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{", daemon.head("POST /v1/nodes"))).await;
    daemon.works().await;
    daemon.stop();
    timeout(PATIENCE, &mut daemon.served).await.unwrap().unwrap().unwrap();
    assert_eq!(half.until("never").await, None);
}

#[tokio::test]
async fn the_address_it_listens_on_is_a_host() {
    // None of the three names that are allowed anyway.
    let daemon = Daemon::start_on("127.0.0.2:0", |_| {}).await;
    daemon.works().await;
    let mut wire = daemon.connect().await;
    wire.write(&format!("{}\r\n", daemon.head("GET /v1/status").replace("127.0.0.2", "127.0.0.3"))).await;
    assert_eq!(wire.answer().await.0, 403);
}

#[tokio::test]
async fn an_address_others_can_reach_is_refused_unless_allowed() {
    let (device, _folder) = device().await;
    let options = ApiOptions::new(Token::open(device.home()).unwrap());
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = bind(address.parse().unwrap(), &options).await.unwrap_err();
        assert!(error.to_string().contains("api.allow_remote"), "{error}");
    }
    // A socket that somebody else opened is looked at too.
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let served = timeout(PATIENCE, serve(device.clone(), options.clone(), listener, pending())).await.unwrap();
    assert!(matches!(served, Err(ServeError::NotLoopback(_))));
    assert_eq!(ApiAddress::read(device.home()).unwrap(), None);
    let allowed = ApiOptions { allow_remote: true, ..options.clone() };
    let listener = bind("0.0.0.0:0".parse().unwrap(), &allowed).await.unwrap();
    let taken = bind(SocketAddr::new("127.0.0.1".parse().unwrap(), listener.local_addr().unwrap().port()), &options).await;
    assert!(taken.unwrap_err().to_string().contains("api.port = 0"));
    let wrong = ApiOptions { allowed_origins: vec!["*".to_owned()], ..options };
    let listener = bind("127.0.0.1:0".parse().unwrap(), &wrong).await.unwrap();
    assert!(matches!(serve(device, wrong, listener, pending()).await, Err(ServeError::Options(_))));
}
