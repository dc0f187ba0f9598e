//! TLS spoken by the relay itself: with those who trust its certificate, and with nobody else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use nodespace_relay::server::{TlsError, acceptor};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use crate::world::{Device, TestRelay, http, two_members};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate that its own key has signed, and the key, as files.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Identity {
    fn make(folder: &Path, name: &str) -> Self {
        let CertifiedKey { cert, key_pair } = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (certificate_file, key_file) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key.pem")));
        std::fs::write(&certificate_file, cert.pem()).unwrap();
        std::fs::write(&key_file, key_pair.serialize_pem()).unwrap();
        Self { certificate: cert.der().clone(), certificate_file, key_file }
    }

    /// A client that trusts this certificate alone.
    fn client(&self) -> Client {
        rustls::crypto::ring::default_provider().install_default().ok();
        let certificate = Certificate::from_der(&self.certificate).unwrap();
        Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
    }
}

/// A relay that speaks TLS, asked by a client that trusts it. Its files last as long as the folder.
async fn secured() -> (TestRelay, Identity, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::make(folder.path(), "relay");
    let (certificate, key) = (identity.certificate_file.clone(), identity.key_file.clone());
    let mut relay = TestRelay::with(|config| {
        config.server.tls_certificate = Some(certificate);
        config.server.tls_key = Some(key);
        config.server.head_seconds = 5;
    })
    .await;
    relay.http = identity.client();
    (relay, identity, folder)
}

/// The first hint over a WebSocket.
async fn hint(relay: &TestRelay, identity: &Identity, device: &Device) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let url = format!("{}/v1/workspaces/{}/events", relay.url.replacen("http", "ws", 1), device.workspace);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", device.token).parse().unwrap());
    let connecting = connect_async_tls_with_config(request, None, true, Some(Connector::Rustls(Arc::new(config))));
    let (mut socket, _) = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    message.to_text().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_sync_over_tls() {
    let (relay, identity, _folder) = secured().await;
    assert!(relay.url.starts_with("https://127.0.0.1:"), "{}", relay.url);
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "over TLS");
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    assert_eq!(joiner.text("a"), "over TLS");
    assert!(hint(&relay, &identity, &joiner).await.contains("\"version\":4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_trust_it_or_speaks_no_tls_gets_nothing() {
    let (relay, _identity, folder) = secured().await;
    let health = format!("{}/health", relay.url);
    let other = Identity::make(folder.path(), "other");
    for (client, whose) in [(http(), "of the system's authorities"), (other.client(), "of another certificate")] {
        assert!(client.get(&health).send().await.is_err(), "a client {whose} does not talk to it");
    }
    let address = relay.url.strip_prefix("https://").unwrap();
    // In the clear, and nothing at all: both are ended, the second one when its time is over.
    for said in ["GET /health HTTP/1.1\r\nHost: relay\r\n\r\n", ""] {
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Ended in order or broken off: what counts is that nothing of HTTP was said.
        timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap().ok();
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    // None of that keeps it from others.
    assert_eq!(relay.http.get(&health).send().await.unwrap().status(), 200);
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Identity::make(folder.path(), "one"), Identity::make(folder.path(), "other"));
    let error = |certificate: &Path, key: &Path| acceptor(certificate, key).err().unwrap();
    assert!(acceptor(&one.certificate_file, &one.key_file).is_ok());
    assert!(matches!(error(&one.certificate_file, &other.key_file), TlsError::Config(_)), "a key of another certificate");
    for (certificate, key, named) in [
        (folder.path().join("nowhere.pem"), one.key_file.clone(), "nowhere.pem"),
        (one.certificate_file.clone(), one.certificate_file.clone(), "one.pem"),
    ] {
        let said = error(&certificate, &key).to_string();
        assert!(said.contains(named), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_named_before_anybody_is_told_a_url() {
    let relay = TestRelay::start().await;
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::make(folder.path(), "relay");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_nodespace-relay"));
    serve.arg("serve").env("NODESPACE_RELAY_SERVER_ADDRESS", "127.0.0.1:0");
    serve.env("NODESPACE_RELAY_SERVER_DATA", &relay.config.server.data);
    serve.env("NODESPACE_RELAY_DATABASE_URL", relay.config.database.url.reveal());
    serve.env("NODESPACE_RELAY_SERVER_TLS_CERTIFICATE", &identity.certificate_file);
    serve.env("NODESPACE_RELAY_SERVER_TLS_KEY", folder.path().join("nowhere.pem"));
    let output = serve.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "nothing is said but what is wrong");
    assert!(String::from_utf8(output.stderr).unwrap().contains("nowhere.pem"));
}
