//! Whoever syncs a workspace ends before its time: by a fault, because what is held here cannot be read, or because the writer has ended.
//! Nobody is called synced from then on, whoever asks is told why, and where it can go on it does.

use futures::future::join;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::WorkspaceId;
use tokio::sync::mpsc;

use super::company::{Somebody, agree, company, company_at, reconnected, until};
use crate::engine::{Joining, Network as _};
use crate::model::{ErrorCode, ServiceError, WorkspaceState};
use crate::net::address::split_peer;
use crate::peers::hub::HubCommand;
use crate::peers::nameless;
use crate::sync::DeviceStatus;
use crate::sync::recovery::Pace;
use crate::sync::status::{Summary, TargetState, TargetStatus};

/// It begins anew after some moments.
const FAST: Pace = Pace { retry_ms: 60, node_retry_ms: 60 };
/// It does not begin anew while a test lasts.
const SLOW: Pace = Pace { retry_ms: 3_600_000, node_retry_ms: 3_600_000 };

const SYNCED: &str = "nodespace_sync_synced";

/// How often syncing with a peer failed by this.
fn failures(code: &str) -> String {
    format!("nodespace_sync_failures_total{{target=\"peer\",code=\"{code}\"}}")
}

fn unreadable() -> ServiceError {
    ServiceError::new(ErrorCode::StoreFailed, "a page cannot be read, on purpose")
}

/// Has whoever syncs a workspace fail: as by a store that cannot be read, or by a panic.
async fn fail(somebody: &Somebody, error: Option<ServiceError>) {
    let command = HubCommand::FailSync(somebody.workspace().id(), error);
    somebody.peers.commands.send(command).await.unwrap();
}

/// Two who are synced. After a fault the first does not begin anew.
async fn synced() -> [Somebody; 2] {
    let mut all = company(1).await;
    // Who joined knows where to find the other; the founder would have another port after a restart.
    let first = all.pop().unwrap().restart_at(SLOW).await;
    let second = all.pop().unwrap();
    first.is_synced_with(&[&second]).await;
    first.counts(SYNCED, |synced| synced == 1).await;
    [first, second]
}

/// Waits until all are shown as failing, for this; and whoever asks is told the same from then on.
async fn gives_up(somebody: &Somebody, code: &str) -> DeviceStatus {
    let is_failing = |target: &TargetStatus| target.failure.as_ref().is_some_and(|failure| failure.code == code);
    let all_fail = |status: &DeviceStatus| status.has_failed() && status.targets.iter().all(is_failing);
    somebody.status("all to be shown as failing", all_fail).await;
    assert_eq!(somebody.metric(SYNCED), 0);
    // Nobody is answered so before it is over.
    let status = somebody.peers.sync_now(somebody.workspace(), None).await.unwrap();
    assert!(all_fail(&status), "{status}");
    assert_eq!(somebody.workspace().sync_status().await.unwrap(), status);
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fault_nobody_is_called_synced() {
    let [first, second] = synced().await;
    fail(&first, None).await;
    let status = gives_up(&first, "fault").await;
    assert_eq!((status.summary, status.help_wanted.len()), (Summary::Behind, 0), "{status}");
    // What is written there is written, and nobody is told that it arrived.
    first.write("x", "kept for later").await;
    assert!(!first.workspace().sync_status().await.unwrap().is_synced());
    second.counts(&failures("unreachable"), |failures| failures > 0).await;
    assert_eq!(first.metric(&failures("fault")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_what_is_held_cannot_be_read_a_person_is_told_what_to_do() {
    let [first, _second] = synced().await;
    fail(&first, Some(unreadable())).await;
    let status = gives_up(&first, "store_failed").await;
    assert_eq!(status.summary, Summary::NeedsHelp { cases: 1 }, "{status}");
    assert!(status.help_wanted[0].note.message.contains("check the disk"), "{status}");
    assert_eq!(first.metric("nodespace_sync_help_wanted"), 1);
}

/// What was done: the thread that owns a workspace's state ended by a fault. What was seen: "synced with all", for ever, and peers that came
/// were told to ask whether they were members still. What holds now: nobody is called synced, and peers find it away.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_writer_has_ended_nobody_is_called_synced_and_peers_are_no_strangers() {
    let [first, second] = synced().await;
    let before = second.metric(&failures("unreachable"));
    first.workspace().write(None, |_, _| -> Result<(), ServiceError> { panic!("a fault on purpose") }).await.unwrap_err();
    let status = gives_up(&first, "store_failed").await;
    assert!(status.help_wanted[0].note.message.contains("start again"), "{status}");
    // It has come again, and once more.
    second.counts(&failures("unreachable"), |failures| failures > before + 1).await;
    assert_eq!(second.metric(&failures("turned_away")), 0);
    for reason in ["stranger", "unknown_workspace"] {
        assert_eq!(first.metric(&format!("nodespace_net_refused_total{{reason=\"{reason}\"}}")), 0, "{reason}");
    }
}

/// What was done: the same, of one workspace of two. What was seen: `/metrics` and `nodespace peers` failed as a whole. What holds now: they
/// show the rest, and the metrics that something is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_whose_writer_has_ended_hides_nothing_else() {
    let all = reconnected(company(1).await).await;
    let ended = all[0].device.found_workspace("Ended", Policy::default()).await.unwrap();
    let shows = async |line: String| {
        let shown = all[0].device.metrics_text().await;
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    };
    shows("nodespace_workspaces_failed 0".to_owned()).await;
    ended.write(None, |_, _| -> Result<(), ServiceError> { panic!("a fault on purpose") }).await.unwrap_err();
    let held = all[0].workspace().read(|replica| replica.durable_ops()).await.unwrap();
    shows(format!("nodespace_operations {held}")).await;
    shows("nodespace_workspaces_failed 1".to_owned()).await;
    let network = all[0].peers.snapshot().await.unwrap();
    let second = network.peers.iter().find(|peer| peer.device == Some(all[1].id().to_string()));
    let second = second.unwrap_or_else(|| panic!("{network:?}"));
    assert!(second.connected && second.user.is_some(), "{second:?}");
    assert_eq!(second.workspaces, [all[0].workspace().id().to_string()]);
    let list = all[0].device.list_workspaces().await;
    let state = |id: WorkspaceId| list.workspaces.iter().find(|summary| summary.workspace == id.to_string()).map(|summary| summary.state);
    assert_eq!(state(all[0].workspace().id()), Some(WorkspaceState::Member));
    assert_eq!(state(ended.id()), Some(WorkspaceState::Failed));
    // Whoever answers at an address is a member of what can be read, whichever of the two is looked at first.
    let address = split_peer(&all[1].listening().await).unwrap().0;
    assert_eq!(nameless::member_at(&all[0].device, &address).await.unwrap(), all[1].id());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_sync_is_answered_when_that_has_ended() {
    let [first, second] = synced().await;
    let offline = second.stop().await;
    let is_away = |status: &DeviceStatus| status.targets.iter().all(|target| target.state == TargetState::Away);
    first.status("its peer to be away", is_away).await;
    // In this order, as they are polled: somebody waits for a connection, then it fails.
    let (answer, ()) = join(first.peers.sync_now(first.workspace(), None), fail(&first, None)).await;
    let answer = answer.unwrap();
    assert!(answer.has_failed(), "whether its peer is away is not known any more: {answer}");
    drop(offline);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fault_it_is_begun_anew() {
    let all = company_at(1, FAST).await;
    agree(&all).await;
    for (error, code, id) in [(None, "fault", "a"), (Some(unreadable()), "store_failed", "b")] {
        fail(&all[0], error).await;
        all[0].counts(&failures(code), |failures| failures > 0).await;
        all[0].write(id, "written after that").await;
        all[1].sees(id, "written after that").await;
        agree(&all).await;
        let is_over = |status: &DeviceStatus| status.is_synced() && status.help_wanted.is_empty();
        let status = all[0].status("nothing to be left of it", is_over).await;
        assert!(status.targets.iter().all(|target| target.failure.is_none()), "{status:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_goes_on_after_a_fault() {
    let founder = Somebody::new("Notes").await;
    let ticket = founder.invite(1).await;
    let joiner = Somebody::empty().await;
    let workspace = joiner.device.adopt_workspace(ticket.workspace, &ticket.to_text()).await.unwrap();
    let joining = Joining::by_invite(&ticket, joiner.device.certificate());
    let hosts = [(founder.id(), vec![founder.listening().await])].into();
    let (refusals, _heard) = mpsc::channel(1);
    let join = HubCommand::Join { workspace: ticket.workspace, joining: Box::new(joining.clone()), hosts, refusals };
    joiner.peers.commands.send(join).await.unwrap();
    // It has begun by then, and nobody has been reached.
    fail(&joiner, None).await;
    until(&workspace, "the membership", move |replica| joining.has_arrived(replica.membership())).await;
}
