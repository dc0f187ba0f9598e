//! A node that cannot be settled is compared by force with the relay's canonical version of it.
//!
//! A device holds a change of a node that builds on another change, and so does the relay; who made that one has not told anybody. Recovery
//! sets the node aside, tries it, compares it with the relay's version, and asks a person in the end.

use std::sync::Arc;
use std::time::Duration;

use nodespace_node::engine::{Device, DeviceReplica, Network, OpenOptions, Workspace};
use nodespace_node::net::NetOptions;
use nodespace_node::peers::{GossipUse, Peers, PeersOptions};
use nodespace_node::sync::DeviceStatus;
use nodespace_node::sync::recovery::{Pace, Subject};
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::LogRange;

use crate::liar::{Liar, Twist};
use crate::stage::{Home, Relay};

/// A person is asked after two seconds instead of half a minute.
const FAST: Pace = Pace { retry_ms: 60, node_retry_ms: 60 };
/// How long anything may take before a test fails. Far more than it needs.
const PATIENCE: Duration = Duration::from_secs(120);

const RIGHT: &str = "we meet on Friday";
const WRONG: &str = "we meet on Monday";
/// What was written in the change that is missing, and what was made of it in the one that waits for that.
const FIRST: &str = "we meet on Friday at noon";
const SECOND: &str = "we meet on Friday at noon, in the park";

const FORCED: &str = "nodespace_sync_recovery_steps_total{action=\"force_reconciliation\"} ";

fn plan() -> NodeId {
    NodeId::parse("plan").unwrap()
}

/// Another text of the node than the relay has.
fn falsify(request: &str, answer: Vec<u8>) -> Vec<u8> {
    if !request.contains("/nodes/") {
        return answer;
    }
    String::from_utf8(answer).unwrap().replace(RIGHT, WRONG).into_bytes()
}

/// Opens a home in this process. No network is attached.
async fn open(home: &Home) -> Device {
    Device::open(OpenOptions { projection: false, ..OpenOptions::new(home.path()) }).await.unwrap()
}

/// What a device without a network writes into the plan, after it has taken what another one wrote.
async fn written(home: &Home, before: Option<Segment>, text: &'static str) -> Segment {
    let device = open(home).await;
    let workspace = device.workspace(None).unwrap();
    if let Some(before) = before {
        take(&workspace, before, 0).await;
    }
    workspace.write(None, move |replica, now| Ok(replica.set_text(now, &plan(), text)?)).await.unwrap();
    let segment = workspace.read(last_written).await.unwrap();
    device.close().await.unwrap();
    segment
}

/// The last operation that a device wrote, by itself.
fn last_written(replica: &DeviceReplica) -> Segment {
    let log = replica.own_log().unwrap();
    let through = replica.logs().get(&log).unwrap().last_seq();
    let range = LogRange { log, branch: 0, after: through - 1, through };
    replica.segment(&range, true, &|_| 0).unwrap().unwrap()
}

/// Takes a segment as if it had come over a wire; so many of its operations wait for others then.
async fn take(workspace: &Workspace, segment: Segment, waiting: u32) {
    let ingested = workspace.write(None, move |replica, now| Ok(replica.ingest(&segment, now).map_err(|error| error.to_string()))).await;
    assert_eq!(ingested.unwrap().map(|ingested| (ingested.stored, ingested.waiting)), Ok((1, waiting)));
}

/// Attaches a network on which there is nobody: what remains is the relay.
fn attach(device: &Device) -> Arc<Peers> {
    let net = NetOptions {
        key: device.key().clone(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        announce: Vec::new(),
        peers: Vec::new(),
        carriers: Vec::new(),
        mdns: false,
        explicit_only: true,
        connections_max: 64,
        book: None,
        seed: 7,
    };
    let options = PeersOptions { interval_ms: 30_000, gossip: GossipUse::default(), relays: Vec::new(), pace: FAST };
    let peers = Peers::start(device, net, options).unwrap();
    device.attach_network(Arc::clone(&peers) as Arc<dyn Network>);
    peers
}

/// Waits until sync stands as it should.
async fn status(workspace: &Workspace, what: &str, is_it: impl Fn(&DeviceStatus) -> bool) -> DeviceStatus {
    let mut status = workspace.watch_sync_status();
    match tokio::time::timeout(PATIENCE, status.wait_for(|status| is_it(status))).await {
        Ok(found) => found.unwrap().clone(),
        Err(_) => panic!("waited for {what}; it is {:#?}", *workspace.watch_sync_status().borrow()),
    }
}

/// What a person is asked about the plan.
fn asked(status: &DeviceStatus) -> Option<String> {
    let case = status.help_wanted.iter().find(|case| case.subject == Subject::Node { node: plan() })?;
    Some(case.note.code.clone())
}

/// Lets a device hold a change that waits for another, and answers what a person is asked about it in the end, when it has been compared with
/// what the relay shows; then the other change comes.
fn compared(twist: Option<Twist>) -> Option<String> {
    let relay = Relay::start()?;
    let liar = Liar::before(&relay);
    liar.twist(twist);
    let (reader, author, editor) = (Home::new(), Home::new(), Home::new());
    reader.run(&["init", "--name", "Notes"]);
    reader.run(&["node", "create", "--id", "plan", RIGHT]);
    reader.run(&["relay", "add", &liar.url]);
    for home in [&author, &editor] {
        let ticket = reader.invite();
        reader.sync();
        home.run(&["join", &ticket]);
        home.sync();
        reader.sync();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (device, peers, code) = runtime.block_on(async {
        let missing = written(&author, None, FIRST).await;
        let change = written(&editor, Some(missing), SECOND).await;
        let device = open(&reader).await;
        let workspace = device.workspace(None).unwrap();
        take(&workspace, change, 1).await;
        let peers = attach(&device);
        let status = status(&workspace, "a person to be asked about the node", |status| asked(status).is_some()).await;
        let code = asked(&status).unwrap();
        (device, peers, code)
    });
    let metrics = device.metrics().text(&[]);
    let forced = metrics.lines().find_map(|line| line.strip_prefix(FORCED)).unwrap_or("0");
    assert_ne!(forced, "0", "not before it was compared");

    // The missing change comes: what waited takes effect, and nobody is asked any more.
    liar.twist(None);
    author.sync();
    runtime.block_on(async {
        let workspace = device.workspace(None).unwrap();
        peers.sync_now(workspace.clone(), None).await.unwrap();
        status(&workspace, "nobody to be asked any more", |status| status.help_wanted.is_empty()).await;
        let text = workspace.read(|replica| replica.view(&plan()).map(|view| view.content)).await.unwrap();
        assert_eq!(text.unwrap(), SECOND);
        device.close().await.unwrap();
    });
    Some(code)
}

#[test]
fn a_change_that_waits_is_compared_with_a_relay_that_has_the_same() {
    let Some(code) = compared(None) else { return };
    assert_eq!(code, "conflict_resolution_failed");
}

#[test]
fn a_node_that_differs_from_the_canonical_one_with_the_same_history_is_found() {
    let Some(code) = compared(Some(falsify)) else { return };
    assert_eq!(code, "data_corruption");
}
