//! People at work: writers that create, type, move and delete, each at its own device, everything drawn from a seed.
//!
//! A writer does what an application does: it reads the node, then sends what changed with the version it read. A typed word is found
//! nowhere else ([`Acknowledged::word`]), and words are never typed over by these writers, so that in the end each must be in the text of
//! its node, whatever was merged. Hot nodes are for quarrels: their texts are written anew by everybody, and words there promise nothing.

mod act;
mod markdown;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};

pub use self::markdown::documents;
use super::api::{Api, ApiError};
use super::ledger::{Acknowledged, Ledger};
use super::scenario::Mix;
use crate::sim::dice::Dice;

/// When a phase ends, a write under way may take so much longer; then nobody waits for its answer, and whether it happened is unknown.
const LAST_WRITE_TIME_MAX: Duration = Duration::from_secs(3);
/// A read that finds the node changed meanwhile is tried again so many times.
const ATTEMPTS_MAX: usize = 4;

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A new node.
    Create,
    /// A word typed.
    Edit,
    /// Metadata set.
    Metadata,
    /// A node moved.
    Move,
    /// A node deleted.
    Delete,
    /// A hot node's text written anew.
    Rewrite,
    /// The same metadata of a hot node.
    Retag,
    /// A hot node moved below another.
    Tangle,
    /// A hot node deleted or brought back.
    Toggle,
}

impl Work {
    /// All kinds, in the order of [`Mix::weights`].
    pub const ALL: [Self; 9] =
        [Self::Create, Self::Edit, Self::Metadata, Self::Move, Self::Delete, Self::Rewrite, Self::Retag, Self::Tangle, Self::Toggle];
}

/// Somebody who writes at a device.
#[derive(Debug)]
pub struct Writer {
    /// Where.
    pub device: usize,
    /// The way to it, as it comes and goes.
    pub api: watch::Receiver<Option<Api>>,
    /// Where promises are noted.
    pub ledger: Arc<Ledger>,
    /// The number of the phase.
    pub phase: usize,
    /// What is written.
    pub mix: Mix,
    /// How often a second.
    pub rate: f64,
    /// The nodes to quarrel about.
    pub hot: Arc<Vec<String>>,
    dice: Dice,
    written: u64,
}

/// What a writer needs to know.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The number of the phase.
    pub phase: usize,
    /// What is written.
    pub mix: Mix,
    /// How often a second.
    pub rate: f64,
    /// The nodes to quarrel about.
    pub hot: Arc<Vec<String>>,
    /// What everything is drawn from.
    pub seed: u64,
}

impl Writer {
    /// Somebody at a device.
    pub fn new(device: usize, api: watch::Receiver<Option<Api>>, ledger: Arc<Ledger>, assignment: &Assignment) -> Self {
        let Assignment { phase, mix, rate, hot, seed } = assignment.clone();
        let dice = Dice::new(seed, (phase as u64) << 32 | device as u64);
        Self { device, api, ledger, phase, mix, rate, hot, dice, written: 0 }
    }

    /// Writes until told to stop. While the device does not run, nothing is written.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // Not all at the same moment.
        let offset = Duration::from_secs_f64(self.dice.below(1_000) as f64 / 1_000.0 / self.rate);
        let mut ticks = tokio::time::interval_at(Instant::now() + offset, Duration::from_secs_f64(1.0 / self.rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                stopped = stop.wait_for(|stop| *stop) => return drop(stopped),
                _ = ticks.tick() => {}
            }
            let Some(api) = self.api.borrow().clone() else { continue };
            let ledger = Arc::clone(&self.ledger);
            let stopping = async {
                stop.wait_for(|stop| *stop).await.ok();
                tokio::time::sleep(LAST_WRITE_TIME_MAX).await;
            };
            tokio::select! {
                () = self.write(&api) => {}
                () = stopping => return ledger.wonder(),
            }
        }
    }

    /// One write, and what became of it.
    async fn write(&mut self, api: &Api) {
        let work = Work::ALL[self.dice.weighted(&self.mix.weights())];
        match self.act(api, work).await {
            Ok(()) => {}
            Err(error) if error.is_refusal() => self.ledger.refuse(error.code().unwrap_or("unreachable")),
            Err(_) => self.ledger.wonder(),
        }
    }

    /// Notes what was answered, if it was a write at all.
    fn note(&self, reply: super::api::answer::WriteReply, work: Work, sent: Duration, word: Option<String>) {
        let answered = self.ledger.now();
        let Some(op) = reply.op else { return };
        let (device, phase, node) = (self.device, self.phase, reply.node.id);
        self.ledger.acknowledge(Acknowledged { op, device, phase, work, node, word, sent, answered });
    }
}

/// Makes the nodes to quarrel about.
///
/// # Errors
/// When the device refuses.
pub async fn make_hot_nodes(api: &Api, count: usize) -> Result<Vec<String>, ApiError> {
    let mut ids = Vec::new();
    for number in 0..count {
        let id = format!("hot-{number}");
        let body = serde_json::json!({ "id": id, "content": format!("what everybody writes about, number {number}") });
        let _: super::api::answer::WriteReply = api.post("/v1/nodes", &body).await?;
        ids.push(id);
    }
    Ok(ids)
}

/// Imports documents, and answers how many operations that was.
///
/// # Errors
/// When the device refuses, or the answer does not come.
pub async fn import(api: &Api, documents: &[(String, String)]) -> Result<super::api::answer::ImportReport, ApiError> {
    /// How long each line of an import's answer may take.
    const LINE_TIME_MAX: Duration = Duration::from_secs(120);
    let documents: Vec<serde_json::Value> =
        documents.iter().map(|(path, markdown)| serde_json::json!({ "path": path, "markdown": markdown })).collect();
    let body = serde_json::json!({ "documents": documents });
    timeout(10 * LINE_TIME_MAX, api.task("/v1/import", &body, LINE_TIME_MAX)).await.map_err(|_| ApiError::Late(10 * LINE_TIME_MAX))?
}
