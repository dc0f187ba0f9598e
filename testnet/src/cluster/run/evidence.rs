//! What devices are asked in the end: everything they hold, in full, so that judging needs no trust in their digests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Run;
use crate::cluster::api::Api;
use crate::cluster::api::answer::{ChangePage, Conflict, ConflictPage, DoctorReport, Network, RelayEntry, RelayList, Status, Sync};
use crate::cluster::ledger::Acknowledged;
use crate::cluster::report::{DeviceUsage, Tally};
use crate::cluster::{POLL, workload::Work};

/// How long the LanceDB table may take to catch up once nothing changes any more.
const PROJECTION_TIME_MAX: Duration = Duration::from_secs(120);
/// How long each line of a doctor's answer may take.
const DOCTOR_TIME_MAX: Duration = Duration::from_secs(300);
/// Changes asked for at once.
const PAGE: usize = 1000;

/// A node as an export has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Its text.
    pub content: String,
    /// The whole line.
    pub line: String,
}

/// What one device holds.
#[derive(Clone, Debug)]
pub struct DeviceEvidence {
    /// Which.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// The operations that its change stream shows from the very beginning.
    pub ops: BTreeSet<String>,
    /// Its export, deleted nodes included, line by line.
    pub export: Vec<String>,
    /// The same by node.
    pub nodes: BTreeMap<String, Exported>,
    /// Its conflicts, in order.
    pub conflicts: Vec<Conflict>,
    /// Its status.
    pub status: Status,
    /// Its sync.
    pub sync: Sync,
    /// Its relays.
    pub relays: Vec<RelayEntry>,
    /// What its doctor says.
    pub doctor: DoctorReport,
    /// Who was turned away there, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// What all members hold.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The program's version.
    pub program: String,
    /// By member.
    pub devices: Vec<DeviceEvidence>,
}

impl Evidence {
    /// How many operations there are.
    pub fn operations(&self) -> usize {
        self.devices.iter().map(|device| device.ops.len()).max().unwrap_or(0)
    }
}

/// Promises, and what is expected of them.
#[derive(Clone, Debug, Default)]
pub struct JudgedWrites {
    /// Must be everywhere.
    pub kept: Vec<Acknowledged>,
    /// Were made by somebody who had been removed: must be nowhere.
    pub void: Vec<Acknowledged>,
    /// By operation of the kept: when each device showed it.
    pub seen: Vec<Vec<Option<Duration>>>,
    /// By device: when it joined, if that was not from the beginning.
    pub joined: Vec<Option<Duration>>,
}

impl Run<'_> {
    /// Asks all members for everything.
    pub(super) async fn gather(&self) -> Result<Evidence> {
        let mut evidence = Evidence::default();
        for number in self.member_numbers() {
            let device = &self.cluster.devices[number];
            let found = self.gather_device(number, &device.api()?).await;
            let found = found.with_context(|| format!("{} does not tell what it holds", device.name))?;
            evidence.program.clone_from(&found.status.program);
            evidence.devices.push(found);
        }
        Ok(evidence)
    }

    async fn gather_device(&self, number: usize, api: &Api) -> Result<DeviceEvidence> {
        let status = current(api).await?;
        let export = export(api).await?;
        let refused = refusals(api).await?;
        let mut conflicts = api.get::<ConflictPage>("/v1/conflicts").await?.conflicts;
        conflicts.sort();
        Ok(DeviceEvidence {
            number,
            name: self.cluster.devices[number].name.clone(),
            ops: operations(api).await?,
            nodes: by_node(&export)?,
            export,
            conflicts,
            status,
            sync: api.get("/v1/sync").await?,
            relays: api.get::<RelayList>("/v1/relays").await?.relays,
            doctor: api.task("/v1/tasks/doctor", &json!({ "repair": false }), DOCTOR_TIME_MAX).await?,
            refused,
        })
    }

    /// What is expected of each promise. Of what a removed device wrote, that counts which its remover had seen by then.
    pub(super) fn judged_writes(&self) -> JudgedWrites {
        let mut judged = JudgedWrites { joined: self.joined.clone(), ..JudgedWrites::default() };
        for write in self.ledger.acknowledged() {
            let seen = self.ledger.seen(&write.op);
            let counts = match self.removed[write.device] {
                Some((at, by)) => seen[by].is_some_and(|seen| seen <= at),
                None => true,
            };
            if counts {
                judged.kept.push(write);
                judged.seen.push(seen);
            } else {
                judged.void.push(write);
            }
        }
        judged
    }

    /// Writes in numbers.
    pub(super) fn tally(&self) -> Tally {
        let unacknowledged = self.ledger.unacknowledged();
        let mut by_kind = BTreeMap::new();
        let acknowledged = self.ledger.acknowledged();
        for write in &acknowledged {
            *by_kind.entry(name_of(write.work)).or_insert(0) += 1;
        }
        Tally { acknowledged: acknowledged.len() as u64, by_kind, refused: unacknowledged.refused, unknown: unacknowledged.unknown }
    }

    /// What each device uses.
    pub(super) fn usages(&self) -> Vec<DeviceUsage> {
        let devices = self.cluster.devices.iter();
        devices.filter_map(|device| Some(DeviceUsage { name: device.name.clone(), usage: device.usage().ok()? })).collect()
    }
}

fn name_of(work: Work) -> String {
    format!("{work:?}").to_lowercase()
}

/// Its status, once the LanceDB table has caught up; a table that does not is for the doctor to tell.
async fn current(api: &Api) -> Result<Status> {
    let started = Instant::now();
    loop {
        let status: Status = api.get("/v1/status").await?;
        // Right after a start it is not known yet what the table holds.
        let is_busy = ["starting", "catching_up", "rebuilding"].contains(&status.projection.state.as_str());
        let done = !is_busy && status.projection.behind == 0;
        if done || started.elapsed() > PROJECTION_TIME_MAX {
            return Ok(status);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// All operations that took effect, from the very beginning.
async fn operations(api: &Api) -> Result<BTreeSet<String>> {
    let (mut ops, mut cursor) = (BTreeSet::new(), "start".to_owned());
    loop {
        let page: ChangePage = api.get(&format!("/v1/changes?cursor={cursor}&limit={PAGE}")).await?;
        ensure!(page.changes.iter().all(|change| change.kind != "reset"), "the change stream does not go back to its beginning");
        ops.extend(page.changes.into_iter().filter_map(|change| change.op));
        if !page.more {
            return Ok(ops);
        }
        cursor = page.cursor;
    }
}

async fn export(api: &Api) -> Result<Vec<String>> {
    let mut lines = api.lines(hyper::Method::GET, "/v1/export?deleted=true", None::<&Value>).await?;
    let mut export = Vec::new();
    while let Some(line) = lines.next().await? {
        export.push(String::from_utf8(line)?);
    }
    Ok(export)
}

fn by_node(export: &[String]) -> Result<BTreeMap<String, Exported>> {
    let mut nodes = BTreeMap::new();
    for line in export {
        let node: Value = serde_json::from_str(line).with_context(|| format!("an export has the line {line}"))?;
        ensure!(node.get("error").is_none(), "an export broke off: {line}");
        let text = |key: &str| node.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = text("id").with_context(|| format!("an export has a line without id: {line}"))?;
        nodes.insert(id, Exported { content: text("content").unwrap_or_default(), line: line.clone() });
    }
    Ok(nodes)
}

/// Who was turned away, by reason; nobody where the network is off.
async fn refusals(api: &Api) -> Result<BTreeMap<String, u64>> {
    match api.get::<Network>("/v1/network").await {
        Ok(network) => Ok(network.refused),
        Err(error) if error.code() == Some("unavailable") => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}
