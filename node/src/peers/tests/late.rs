//! Embeddings whose bytes did not come with their operations: devices without a relay end up with the same ones.

use std::time::Duration;

use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{LogRange, NewEmbedding, NewNode};
use tokio::time::timeout;

use super::company::{Offline, Somebody, agree, company, reconnected};
use crate::engine::{DeviceReplica, Lacking, Workspace, embeddings_of};
use crate::net::ATTACHMENTS_PROTOCOL;
use crate::peers::attachments;

/// How long that may take before a test fails: more than it needs, and less than the pause after asking everybody in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// Embeddings that a device asked a peer for which had none either.
const IN_VAIN: &str = "nodespace_net_late_embeddings_total{result=\"lacking\"}";

fn node() -> NodeId {
    NodeId::parse("x").unwrap()
}

/// Writes a node and an embedding of it: two operations. Answers the second.
async fn embed(workspace: &Workspace) -> OpHash {
    workspace
        .write(None, |replica, now| {
            replica.create(now, NewNode::text(node(), None, "the text"))?;
            Ok(replica.attach_embedding(now, &node(), &NewEmbedding { model: "model".to_owned(), vector: vec![0.5, -1.0, 0.25] })?)
        })
        .await
        .unwrap()
}

/// The last two operations of a device as gossip carries them: without attachments.
fn stripped(replica: &DeviceReplica) -> Vec<Segment> {
    let log = replica.own_log().unwrap();
    let last = replica.logs().get(&log).unwrap().last_seq();
    let segment = |after| {
        let range = LogRange { log, branch: 0, after, through: after + 1 };
        replica.segment(&range, false, &|_| 0).unwrap().unwrap()
    };
    (last - 2..last).map(segment).collect()
}

/// A device that is offline takes them.
async fn take(offline: &Offline, segments: &[Segment]) {
    let device = offline.open().await;
    let workspace = device.workspace(None).unwrap();
    for segment in segments {
        let segment = segment.clone();
        let ingested =
            workspace.write(None, move |replica, now| Ok(replica.ingest(&segment, now).map_err(|error| error.to_string()))).await;
        assert_eq!(ingested.unwrap().map(|ingested| ingested.stored), Ok(1));
    }
    assert!(vectors(&workspace).await.is_empty(), "the operation is here, and the vector is not");
    device.close().await.unwrap();
}

async fn vectors(workspace: &Workspace) -> Vec<(String, Vec<f32>)> {
    workspace.read(|replica| embeddings_of(replica, &node())).await.unwrap().unwrap()
}

/// Waits until something came late.
async fn receives(somebody: &Somebody) {
    let mut late = somebody.workspace().watch_late();
    assert!(timeout(PATIENCE, late.wait_for(|times| *times > 0)).await.is_ok(), "nothing comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_that_came_without_its_bytes_is_asked_of_a_peer() {
    let mut all = company(1).await;
    agree(&all).await;
    let (offline, first) = (all.pop().unwrap().stop().await, all.pop().unwrap());
    embed(&first.workspace()).await;
    take(&offline, &first.workspace().read(stripped).await.unwrap()).await;
    let second = offline.come_back().await;
    receives(&second).await;
    let held = vectors(&second.workspace()).await;
    assert_eq!((held.len(), &held), (1, &vectors(&first.workspace()).await));
    agree(&[first, second]).await;
}

/// What was done: two devices hold an embedding's operation and not its bytes, and have asked each other; then one of them gets the bytes, from a
/// relay, say. What was seen: the other one never got them. What holds now: it is told, and asks again.
#[tokio::test(flavor = "multi_thread")]
async fn who_gets_an_embedding_late_tells_those_who_asked_for_it() {
    let mut all = company(2).await;
    agree(&all).await;
    let author = all.pop().unwrap();
    let (second, first) = (all.pop().unwrap().stop().await, all.pop().unwrap().stop().await);
    let embedding = embed(&author.workspace()).await;
    let segments = author.workspace().read(stripped).await.unwrap();
    let op = author.workspace().read(move |replica| replica.op(&embedding)).await.unwrap().unwrap().unwrap();
    author.stop().await;
    take(&first, &segments).await;
    take(&second, &segments).await;
    let (first, second) = (first.come_back().await, second.come_back().await);
    second.is_told_of(&first).await;
    first.counts(IN_VAIN, |count| count > 0).await;
    second.counts(IN_VAIN, |count| count > 0).await;

    let look = |replica: &DeviceReplica| -> Result<_, nodespace_protocol::store::StoreError> {
        let found = Lacking::search(replica, 0..replica.durable_ops(), 10)?;
        Ok(Lacking::still(replica, &found.lacking)?.into_values().collect::<Vec<_>>())
    };
    let mut lacking = first.workspace().read(look).await.unwrap().unwrap();
    let (Some(lacks), true) = (lacking.pop(), lacking.is_empty()) else { panic!("one embedding is lacking: {lacking:?}") };
    let bytes = op.attachment.clone().unwrap().to_vec();
    assert!(lacks.is_met_by(&bytes) && !lacks.is_met_by(&bytes[1..]));
    first.workspace().keep_late(vec![(lacks, bytes)]).await.unwrap();
    receives(&second).await;
    assert_eq!(vectors(&second.workspace()).await, vectors(&first.workspace()).await);
    first.is_synced_with(&[&second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_of_a_workspace_is_given_nothing_of_it() {
    let all = reconnected(company(1).await).await;
    let other = all[0].device.found_workspace("Other", nodespace_protocol::conflict::Policy::default()).await.unwrap();
    let ops = [embed(&other).await];
    let stream = all[1].peers.net().open(all[0].id(), ATTACHMENTS_PROTOCOL).await.unwrap();
    assert!(attachments::ask(stream, other.id(), &ops).await.is_none(), "it is not answered");
    // Of their own workspace they are, if only to say that there is no such operation.
    let stream = all[1].peers.net().open(all[0].id(), ATTACHMENTS_PROTOCOL).await.unwrap();
    let given = attachments::ask(stream, all[0].workspace().id(), &ops).await.unwrap();
    assert!(given.attachments.is_empty() && !given.more);
}
