//! Recovery as the document names it, over real connections: partial sync around a node, forced reconciliation of it, rebuilding what is
//! remembered of a peer, and a person who is asked. Whatever goes wrong, no operation is lost, the others are synced, and of a copy that
//! differs it is never said that it is synced.

use nodespace_protocol::ids::{DeviceId, NodeId};
use nodespace_protocol::op::Segment;

use super::company::{Offline, Somebody, agree, company_at, reconnected, until};
use super::falsified::falsify;
use super::hostile::last_written;
use crate::engine::{Device, Network as _, Workspace};
use crate::model::DoctorRequest;
use crate::sync::recovery::{Pace, Subject};
use crate::sync::status::{HelpWanted, Summary, TargetState, TargetStatus};
use crate::sync::{DeviceStatus, Target};

/// A person is asked after two seconds instead of half a minute.
const FAST: Pace = Pace { retry_ms: 60, node_retry_ms: 60 };

const RIGHT: &str = "we meet on Friday";
const WRONG: &str = "we meet on Monday";
/// What was written in the operation that is missing, and what was made of it in the one that waits for that.
const FIRST: &str = "we meet on Friday at noon";
const SECOND: &str = "we meet on Friday at noon, in the park";

const REBUILT: &str = "nodespace_sync_recovery_steps_total{action=\"rebuild_sync_state\"}";
const FORCED: &str = "nodespace_sync_recovery_steps_total{action=\"force_reconciliation\"}";
const ASKED: &str = "nodespace_sync_recovery_steps_total{action=\"manual_intervention\"}";
const ASIDE: &str = "nodespace_sync_nodes_aside";
const SUCCESSES: &str = "nodespace_sync_attempts_total{target=\"peer\",result=\"success\"}";

fn plan() -> NodeId {
    NodeId::parse("plan").unwrap()
}

/// How it stands with somebody; nothing is known of anybody before the first look at who is a member.
fn of(status: &DeviceStatus, whom: DeviceId) -> Option<&TargetStatus> {
    status.targets.iter().find(|target| target.target == Target::peer(whom))
}

fn is_at(status: &DeviceStatus, whom: DeviceId, state: TargetState) -> bool {
    of(status, whom).is_some_and(|target| target.state == state)
}

fn shown(somebody: &Somebody) -> DeviceStatus {
    somebody.workspace().watch_sync_status().borrow().clone()
}

/// What a person is asked about a node.
fn about_plan(status: &DeviceStatus) -> Option<&HelpWanted> {
    status.help_wanted.iter().find(|case| case.subject == Subject::Node { node: plan() })
}

/// What was confirmed of somebody: when last, and in how many attempts with anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Confirmations {
    last_success_ms: Option<u64>,
    attempts: u64,
}

impl Confirmations {
    fn seen(by: &Somebody, whom: DeviceId) -> Self {
        let last_success_ms = of(&shown(by), whom).and_then(|target| target.last_success_ms);
        Self { last_success_ms, attempts: by.metric(SUCCESSES) }
    }
}

/// Two who hold the same operations, of whom the second shows another text of a node since its last start.
struct Differing {
    first: Somebody,
    second: Somebody,
    /// What the first had confirmed when the second was stopped. The second begins anew: nothing.
    before: Confirmations,
}

impl Differing {
    async fn at(pace: Pace) -> Self {
        let mut all = company_at(1, pace).await;
        all[0].write("plan", RIGHT).await;
        all[1].sees("plan", RIGHT).await;
        all[1].write("list", "milk and bread").await;
        all[0].sees("list", "milk and bread").await;
        agree(&all).await;
        let (second, first) = (all.pop().unwrap(), all.pop().unwrap());
        let id = second.id();
        let stopped = falsify(second, &plan(), RIGHT, WRONG).await;
        first.status("the second to be away", |status| is_at(status, id, TargetState::Away)).await;
        let before = Confirmations::seen(&first, id);
        assert!(before.last_success_ms.is_some(), "they had confirmed that they hold the same");
        let second = stopped.come_back().await;
        second.sees("plan", WRONG).await;
        Self { first, second, before }
    }

    /// Both are told of it, and neither is ever told that it is synced meanwhile.
    async fn both_see_it(&self) {
        for (one, other) in [(&self.first, &self.second), (&self.second, &self.first)] {
            one.status("the difference to be seen", |status| {
                let failure = of(status, other.id()).and_then(|target| target.failure.as_ref());
                is_at(status, other.id(), TargetState::Failing) && failure.is_some_and(|failure| failure.code == "data_corruption")
            })
            .await;
        }
        self.never_confirmed();
    }

    /// Nothing was confirmed since they differ. That would stay to be seen, however short it was.
    fn never_confirmed(&self) {
        assert_eq!(Confirmations::seen(&self.first, self.second.id()), self.before);
        assert_eq!(Confirmations::seen(&self.second, self.first.id()), Confirmations { last_success_ms: None, attempts: 0 });
        for (one, other) in [(&self.first, &self.second), (&self.second, &self.first)] {
            let status = shown(one);
            assert!(!status.is_synced() && !is_at(&status, other.id(), TargetState::Synced), "{status}");
        }
    }

    /// What either writes reaches the other, and nothing is lost of what there was.
    async fn operations_pass(&self) {
        self.first.write("question", "still there?").await;
        self.second.sees("question", "still there?").await;
        self.second.write("answer", "yes").await;
        self.first.sees("answer", "yes").await;
        assert_eq!(held(&self.first).await, held(&self.second).await, "both hold the same operations and nodes");
        assert_ne!(self.first.digest().await, self.second.digest().await, "and show something else");
        self.never_confirmed();
    }

    /// A doctor finds what is wrong, and the next start makes it right: then both are the same, and say so.
    async fn heal(self) {
        let Self { first, second, .. } = self;
        let all = [first, repaired(second).await];
        agree(&all).await;
        all[1].sees("plan", RIGHT).await;
        for somebody in &all {
            let status = somebody.status("nobody to be asked any more", |status| status.help_wanted.is_empty() && status.is_synced()).await;
            assert!(status.targets.iter().all(|target| target.failure.is_none()), "{status:#?}");
        }
        assert_eq!(held(&all[0]).await, held(&all[1]).await);
    }
}

/// All that is held, but for what it is made into.
async fn held(somebody: &Somebody) -> (u32, [u8; 32], Vec<NodeId>) {
    somebody.workspace().read(|replica| (replica.durable_ops(), replica.frontier_digest(), replica.node_ids())).await.unwrap()
}

/// Does what the advice says.
async fn repaired(somebody: Somebody) -> Somebody {
    let report = somebody.workspace().doctor(DoctorRequest { repair: true }, |_| {}).await.unwrap();
    let found = report.findings.iter().any(|finding| finding.area == "checkpoint" && finding.message.contains("`plan`"));
    assert!(found, "the doctor names the node: {report:#?}");
    somebody.stop().await.come_back().await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_differ_are_compared_anew_and_never_called_synced() {
    let both = Differing::at(Pace::default()).await;
    both.both_see_it().await;
    // Whoever comes first makes the session anew, for both.
    tokio::select! {
        () = both.first.counts(REBUILT, |steps| steps > 0) => {}
        () = both.second.counts(REBUILT, |steps| steps > 0) => {}
    }
    both.operations_pass().await;
    both.both_see_it().await;
    assert_eq!(both.first.metric(ASKED) + both.second.metric(ASKED), 0, "nobody is asked so soon");
    both.heal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_go_on_to_differ_are_shown_to_a_person_who_is_told_what_to_do() {
    let both = Differing::at(FAST).await;
    for (one, other) in [(&both.first, &both.second), (&both.second, &both.first)] {
        let status = one.status("a person to be asked", |status| !status.help_wanted.is_empty()).await;
        assert_eq!(status.summary, Summary::NeedsHelp { cases: 1 }, "{status}");
        let case = &status.help_wanted[0];
        assert_eq!(case.subject, Subject::Target { target: Target::peer(other.id()) });
        assert_eq!((case.note.code.as_str(), case.heals_by_itself), ("data_corruption", false), "{status}");
        let message = &case.note.message;
        assert!(message.contains("All data is kept") && message.contains("nodespace doctor --repair"), "{message}");
        assert_eq!(one.metric(ASKED), 1, "once");
    }
    assert!(both.first.metric(REBUILT) + both.second.metric(REBUILT) > 0, "not before something milder was tried");
    both.operations_pass().await;
    // Whoever asks for a sync gets an answer, and not that one.
    let answer = both.first.peers.sync_now(both.first.workspace(), None).await.unwrap();
    assert!(!answer.is_synced(), "{answer}");
    both.both_see_it().await;
    both.heal().await;
}

/// A node of which a change waits for another that nobody has who is here.
struct Waiting {
    first: Somebody,
    second: Somebody,
    /// Who made the change that is missing.
    author: Offline,
    /// The change that waits for it.
    change: Segment,
}

impl Waiting {
    async fn at(pace: Pace) -> Self {
        let mut all = company_at(3, pace).await;
        all[0].write("plan", RIGHT).await;
        for somebody in &all[1..] {
            somebody.sees("plan", RIGHT).await;
            all[0].is_synced_with(&[somebody]).await;
        }
        // The last two go offline; one writes, the other one has that by hand and goes on writing.
        let (editor, author) = (all.pop().unwrap().stop().await, all.pop().unwrap().stop().await);
        let missing = written(&author.open().await, None, FIRST).await;
        let change = written(&editor.open().await, Some(missing), SECOND).await;
        let (second, first) = (all.pop().unwrap(), all.pop().unwrap());
        Self { first, second, author, change }
    }
}

/// What a device that is offline writes into the plan, after it has taken what another one wrote.
async fn written(device: &Device, before: Option<Segment>, text: &'static str) -> Segment {
    let workspace = device.workspace(None).unwrap();
    if let Some(before) = before {
        take(&workspace, before, 0).await;
    }
    workspace.write(None, move |replica, now| Ok(replica.set_text(now, &plan(), text)?)).await.unwrap();
    let segment = workspace.read(last_written).await.unwrap();
    device.close().await.unwrap();
    segment
}

/// Takes a segment as if it had come over a wire; so many of its operations wait for others then.
async fn take(workspace: &Workspace, segment: Segment, waiting: u32) {
    let ingested = workspace.write(None, move |replica, now| Ok(replica.ingest(&segment, now).map_err(|error| error.to_string()))).await;
    assert_eq!(ingested.unwrap().map(|ingested| (ingested.stored, ingested.waiting)), Ok((1, waiting)));
}

async fn waits(somebody: &Somebody) {
    until(&somebody.workspace(), "the change that waits for another", |replica| replica.waiting_ops() == 1).await;
}

/// The missing change comes, with its author: what waited takes effect, and nobody is asked any more.
async fn settle(first: Somebody, second: Somebody, author: Offline) {
    let all = [first, second, author.come_back().await];
    for somebody in &all {
        somebody.sees("plan", SECOND).await;
        somebody.status("nobody to be asked any more", |status| status.help_wanted.is_empty()).await;
    }
    all[0].is_synced_with(&[&all[1], &all[2]]).await;
    for somebody in &all {
        somebody.counts(ASIDE, |nodes| nodes == 0).await;
        assert_eq!(somebody.digest().await, all[0].digest().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_changes_wait_is_set_aside_and_everything_else_is_synced() {
    let Waiting { first, second, author, change } = Waiting::at(FAST).await;
    // Its steps ask the other one: the connection is not to be made anew meanwhile.
    let [first, second]: [Somebody; 2] = reconnected(vec![first, second]).await.try_into().ok().unwrap();
    take(&first.workspace(), change, 1).await;
    waits(&second).await;
    for (one, other) in [(&first, &second), (&second, &first)] {
        one.counts(ASIDE, |nodes| nodes == 1).await;
        // By the step that recovery plans, or before that: whichever confirmation comes first is partial, and makes another needless.
        one.is_synced_with(&[other]).await;
    }
    // Everything else goes on, and the node stays as it was.
    first.write("question", "and the others?").await;
    second.sees("question", "and the others?").await;
    second.write("answer", "are synced").await;
    first.sees("answer", "are synced").await;
    for (one, other) in [(&first, &second), (&second, &first)] {
        one.is_synced_with(&[other]).await;
        one.sees("plan", RIGHT).await;
        // It is tried again, then compared by force; both have the same, and the change waits still: that is for a person.
        let status = one.status("a person to be asked about the node", |status| about_plan(status).is_some()).await;
        let case = about_plan(&status).unwrap();
        assert_eq!(case.note.code, "conflict_resolution_failed", "{status}");
        assert!(case.note.message.contains("All data is kept") && case.note.message.contains("start the device"), "{status}");
        assert!(one.metric(FORCED) > 0, "not before it was compared");
        one.is_synced_with(&[other]).await;
        waits(one).await;
    }
    assert_eq!(first.digest().await, second.digest().await);
    settle(first, second, author).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_reconciliation_finds_a_copy_that_differs() {
    let Waiting { first, second, author, change } = Waiting::at(FAST).await;
    let stopped = falsify(second, &plan(), RIGHT, WRONG).await;
    take(&first.workspace(), change, 1).await;
    let second = stopped.come_back().await;
    waits(&second).await;
    second.sees("plan", WRONG).await;
    for one in [&first, &second] {
        // While a change waits the two states say nothing about each other; so it is found where this node is compared.
        let status = one.status("a person to be asked about the node", |status| about_plan(status).is_some()).await;
        let case = about_plan(&status).unwrap();
        assert_eq!((case.note.code.as_str(), case.heals_by_itself), ("data_corruption", false), "{status}");
        assert!(case.note.message.contains("All data is kept") && case.note.message.contains("nodespace doctor --repair"), "{status}");
        assert!(one.metric(FORCED) > 0, "found by comparing the node");
        waits(one).await;
    }
    assert_eq!(held(&first).await, held(&second).await, "nothing is lost");
    let second = repaired(second).await;
    second.sees("plan", RIGHT).await;
    settle(first, second, author).await;
}
