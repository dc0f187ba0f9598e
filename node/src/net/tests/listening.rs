//! Nothing can be listened on.

use std::net::TcpListener;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::network::{Network, PATIENCE, options};
use crate::net::control::SharedControl;
use crate::net::handle::COMMANDS_MAX;
use crate::net::lasting::Lasting;
use crate::net::mailbox::mailbox;
use crate::net::supervisor::supervise;
use crate::net::{NetError, NetHandle, NetMetrics, NetOptions, OpenError, SYNC_PROTOCOL, peer_id, start};

/// A port that another program has. Where all of 127.0.0.0/8 is this machine, at an address of its own: no other test takes it in between.
fn taken() -> TcpListener {
    let address = if cfg!(target_os = "linux") { "127.0.0.3:0" } else { "127.0.0.1:0" };
    TcpListener::bind(address).unwrap()
}

/// What a network is started with that is to listen there, and nowhere else.
fn options_at(taken: &TcpListener, seed: u8) -> NetOptions {
    let there = taken.local_addr().unwrap();
    NetOptions { listen: vec![format!("/ip4/{}/tcp/{}", there.ip(), there.port()).parse().unwrap()], ..options(seed) }
}

/// A network that lost its swarm by a fault, and cannot listen where it did.
fn down(options: NetOptions) -> Network {
    let (commands, queue) = mpsc::channel(COMMANDS_MAX);
    let (outbox, events) = mailbox();
    let metrics = NetMetrics::new(&mut Registry::default());
    let control = SharedControl::default();
    let device = options.key.device();
    let net = NetHandle { commands, control: control.clone(), metrics: metrics.clone(), peer_id: peer_id(&device).unwrap() };
    tokio::spawn(supervise(Lasting::new(options, metrics, outbox), None, control, queue));
    Network { net, events, device }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_said_at_the_start() {
    let taken = taken();
    let error = start(options_at(&taken, 71), NetMetrics::new(&mut Registry::default())).unwrap_err();
    assert!(matches!(error, NetError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("network.listen"), "{error}");
}

/// What was done: nothing could be listened on when the network was to be started anew. What was seen: no command was taken, so nothing was
/// answered and the program did not stop. What holds now: questions are answered, and what was told counts as soon as it can be listened.
#[tokio::test(flavor = "multi_thread")]
async fn commands_are_taken_meanwhile_and_count_afterwards() {
    let taken = taken();
    let mut here = down(options_at(&taken, 72));
    let mut there = Network::start(73);
    there.befriend(here.device).await;
    here.befriend(there.device).await;
    here.knows(there.device, there.address().await).await;
    let shown = timeout(PATIENCE, here.net.snapshot()).await.unwrap().unwrap();
    assert!(shown.listening.is_empty());
    assert!(!here.shown(there.device).await.unwrap().connected);
    assert_eq!(here.net.by_hand().await, [there.device].into());
    assert!(matches!(here.net.open(there.device, SYNC_PROTOCOL).await, Err(OpenError::NotConnected(_))));
    drop(taken);
    here.meets(there.device).await;
    there.meets(here.device).await;
    there.hears(&here.net, "on a topic that was told meanwhile", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_stopped_meanwhile() {
    let taken = taken();
    let here = down(options_at(&taken, 74));
    here.net.snapshot().await.unwrap();
    assert!(timeout(PATIENCE, here.net.stop()).await.is_ok());
    assert!(here.net.snapshot().await.is_none(), "nobody is there any more");
}
