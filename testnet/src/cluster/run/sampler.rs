//! Looking at everybody twice a second, for the plots.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::api::Api;
use crate::cluster::api::answer::Status;
use crate::cluster::ledger::Ledger;
use crate::cluster::link::Meter;

/// How often.
const PERIOD: Duration = Duration::from_millis(500);
/// Who does not answer by then (it is paused, say) is left out of the sample.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(400);
/// More samples than this are not kept: two days.
const SAMPLES_MAX: usize = 350_000;

/// What was seen at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Seconds since the scenario began.
    pub at_s: f64,
    /// By device: operations held; nothing of one that does not answer.
    pub operations: Vec<Option<u64>>,
    /// How many different states there are among those that answer.
    pub states: usize,
    /// Bytes that passed all wires so far.
    pub bytes: u64,
}

/// A task that takes samples until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    _task: JoinSet<()>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Sampler {
    /// Begins.
    pub fn start(cluster: &Cluster, ledger: &Arc<Ledger>) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let apis = cluster.devices.iter().map(|device| device.api_updates()).collect();
        let meters = cluster.wires.iter().map(|wire| wire.link.meter()).collect();
        let mut task = JoinSet::new();
        task.spawn(take_samples(apis, meters, Arc::clone(ledger), Arc::clone(&samples)));
        Self { _task: task, samples }
    }

    /// Ends, and answers what was seen.
    pub fn end(self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take_samples(apis: Vec<watch::Receiver<Option<Api>>>, meters: Vec<Meter>, ledger: Arc<Ledger>, samples: Arc<Mutex<Vec<Sample>>>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let at_s = ledger.now().as_secs_f64();
        let statuses = ask_all(&apis).await;
        let mut states: Vec<&str> = statuses.iter().flatten().map(|status| status.state_digest.as_str()).collect();
        states.sort_unstable();
        states.dedup();
        let sample = Sample {
            at_s,
            states: states.len(),
            operations: statuses.iter().map(|status| status.as_ref().map(|status| status.store.ops)).collect(),
            bytes: meters.iter().map(|meter| meter.traffic().bytes()).sum(),
        };
        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < SAMPLES_MAX {
            samples.push(sample);
        }
    }
}

/// Asks all at once; nobody waits for one that sleeps.
async fn ask_all(apis: &[watch::Receiver<Option<Api>>]) -> Vec<Option<Status>> {
    let mut asking = JoinSet::new();
    for (number, api) in apis.iter().enumerate() {
        let api = api.borrow().clone();
        asking.spawn(async move {
            let status = timeout(ANSWER_TIME_MAX, async { api?.get::<Status>("/v1/status").await.ok() }).await;
            (number, status.ok().flatten())
        });
    }
    let mut statuses = vec![None; apis.len()];
    while let Some(Ok((number, status))) = asking.join_next().await {
        statuses[number] = status;
    }
    statuses
}
