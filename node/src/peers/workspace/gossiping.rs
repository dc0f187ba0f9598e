//! Gossip: own operations as they become durable, those of others as they come.

use std::sync::Arc;

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::replica::Received;
use nodespace_protocol::store::{OpIndex, Store as _, StoreError};

use super::super::gossip::Channel;
use super::{Input, WorkspaceSync};
use crate::engine::DeviceReplica;
use crate::model::ServiceError;
use crate::net::{GossipMessage, NetMetrics, Verdict};

/// Operations that are gossiped of one commit. More at once are a bulk, for which gossip is the wrong way.
const OPS_AT_ONCE_MAX: u32 = 32;

impl WorkspaceSync {
    /// Gossips what this device has written since it was last asked, if that is of use.
    pub(super) async fn gossip_news(&mut self) -> Result<(), ServiceError> {
        let (from, through) = (self.gossiped, self.facts.ops);
        self.gossiped = through;
        if from >= through || through - from > OPS_AT_ONCE_MAX || !self.wants_gossip() {
            return Ok(());
        }
        let Some(channel) = self.channel.clone() else { return Ok(()) };
        let own = self.setup.own;
        let sealed = self.setup.workspace.read(move |replica| seal_own(replica, &channel, own, from..through)).await?;
        let sealed = sealed.map_err(|error| ServiceError::of_store(&error))?;
        let Some(topic) = self.channel.as_ref().map(|channel| channel.topic().to_owned()) else { return Ok(()) };
        for message in sealed {
            self.setup.net.publish(topic.clone(), message);
        }
        Ok(())
    }

    /// Takes an operation that came by gossip, beside this task and the swarm's.
    pub(super) fn on_gossip(&self, message: GossipMessage) {
        let Some(channel) = self.channel.clone() else { return };
        let (net, workspace, inbox) = (self.setup.net.clone(), self.setup.workspace.clone(), self.inbox.clone());
        let slot = Arc::clone(&self.gossip_slots).try_acquire_owned();
        let pending = Arc::clone(&self.pending);
        tokio::spawn(async move {
            let from = message.from;
            let Ok(_slot) = slot else {
                // The writer is busy, and sync streams bring the same.
                net.metrics().dropped.get_or_create(&[("kind", "gossip")]).inc();
                return net.judge(message, Verdict::Ignore).await;
            };
            let verdict = match channel.open(&message.data) {
                Err(error) => {
                    tracing::debug!(device = %from.short(), %error, "gossip of no worth");
                    Verdict::Reject
                }
                Ok(segment) => {
                    let job = move |replica: &mut DeviceReplica, now| {
                        let mut pending = pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        pending.receive(replica, from, segment, now).map_err(|error| ServiceError::of_store(&error))
                    };
                    let received = workspace.write(None, job).await;
                    received.map_or(Verdict::Ignore, |received| verdict_on(&received, from, net.metrics()))
                }
            };
            if verdict == Verdict::Ignore {
                // What it builds on is missing here: the next comparison brings it.
                inbox.try_send(Input::Gap(from));
            }
            net.judge(message, verdict).await;
        });
    }
}

fn seal_own(replica: &DeviceReplica, channel: &Channel, own: DeviceId, range: std::ops::Range<u32>) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut sealed = Vec::new();
    for index in range {
        let op = replica.store().op(OpIndex(index))?;
        if op.header.log.device != own {
            continue;
        }
        sealed.extend(replica.gossip(&op.hash)?.and_then(|segment| channel.seal(&segment)));
    }
    Ok(sealed)
}

/// What is thought of an operation that came by gossip. One that may not be taken is counted and told like one that came by a session. What
/// others had left waiting for it, and is refused now, says nothing about it: their sessions hear of that.
fn verdict_on(received: &Received, from: DeviceId, metrics: &NetMetrics) -> Verdict {
    let refused = received.refused.iter().find(|refused| !refused.waited);
    if let Some(refused) = refused {
        metrics.refused("operations", &format_args!("{}, by gossip: {}", from.short(), refused.why));
    }
    match (refused.is_some(), received.missing.is_some()) {
        (true, _) => Verdict::Reject,
        (false, true) => Verdict::Ignore,
        (false, false) => Verdict::Accept,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nodespace_protocol::ids::LogId;
    use nodespace_protocol::replica::{Missing, Refusal, Refused};
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn an_operation_is_judged_by_itself_and_not_by_what_others_left_waiting_for_it() {
        let metrics = NetMetrics::new(&mut Registry::default());
        let (honest, liar) = (DeviceId([1; 32]), DeviceId([2; 32]));
        let refused = |from: DeviceId, waited: bool| {
            let why = Refusal::Clock { log: LogId { device: from, epoch: 1 }, seq: 3 };
            Received { refused: vec![Refused { from, waited, why }], ..Received::default() }
        };
        assert_eq!(verdict_on(&Received::default(), honest, &metrics), Verdict::Accept);
        assert_eq!(verdict_on(&refused(liar, true), honest, &metrics), Verdict::Accept);
        let waiting = Received { missing: Some(Missing::Recent([7; 8])), ..Received::default() };
        assert_eq!(verdict_on(&waiting, honest, &metrics), Verdict::Ignore);
        assert!(metrics.refusals().is_empty(), "{:?}", metrics.refusals());
        assert_eq!(verdict_on(&refused(liar, false), liar, &metrics), Verdict::Reject);
        assert_eq!(metrics.refusals(), BTreeMap::from([("operations".to_owned(), 1)]));
    }
}
