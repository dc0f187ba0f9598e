//! Making a scenario happen: form the cluster, let people write and things break, heal everything, wait for quiet, judge.

pub mod evidence;
mod quiet;
mod relaying;
pub mod sampler;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::sampler::Sampler;
use super::Cluster;
use super::api::answer::{Invited, Status};
use super::check;
use super::device::Launcher;
use super::forming::Plan;
use super::ledger::Ledger;
use super::link::Traffic;
use super::program;
use super::relay::RelayPlan;
use super::report::{Moment, PhaseRecord, Report};
use super::scenario::{Phase, Scenario, Topology};
use super::watcher::Watchers;
use super::workload::{self, Assignment, Writer};

/// How long a cluster may take to be equal before the first phase.
const FORMING_TIME_MAX: Duration = Duration::from_secs(120);

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the program is run.
    pub launcher: Launcher,
    /// Where homes and logs go.
    pub folder: PathBuf,
}

/// A scenario that happens.
#[derive(Debug)]
pub(super) struct Run<'a> {
    scenario: &'a Scenario,
    cluster: Cluster,
    ledger: Arc<Ledger>,
    hot: Arc<Vec<String>>,
    tickets: BTreeMap<String, Invited>,
    /// By device: whether it is a member.
    members: Vec<bool>,
    /// By device: when it joined, if that was not from the beginning.
    joined: Vec<Option<Duration>>,
    /// By device: when it was removed, and by whom.
    removed: Vec<Option<(Duration, usize)>>,
    /// By device: its user.
    users: Vec<Option<String>>,
    /// By device: the group it can reach.
    groups: Vec<usize>,
    /// By device: what it held when it was stopped last.
    left: Vec<Option<Status>>,
    /// The relay's epochs before it was restored.
    epochs: Vec<u64>,
    moments: Vec<Moment>,
    phases: Vec<PhaseRecord>,
    /// What did not end as the scenario says.
    surprises: Vec<String>,
}

/// Runs a scenario and judges it. `tell` gets a line for each thing that happens.
///
/// # Errors
/// When it cannot be run to its end; what is found is in the report.
pub async fn run(scenario: &Scenario, options: &Options, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Report> {
    tell(&format!("{} devices are made and joined", scenario.devices));
    let (mut run, sampler) = Run::begin(scenario, options).await?;
    let watchers = Watchers::of(&run.cluster, &run.ledger);
    for (number, phase) in scenario.phase.iter().enumerate() {
        run.phase(number, phase, tell).await.with_context(|| format!("phase `{}`", phase.name))?;
    }
    let before_quiet = run.differing_before_quiet().await?;
    let convergence = run.quiet(tell).await?;
    tell("everything is compared");
    let evidence = run.gather().await?;
    drop(watchers);
    let program = evidence.program.clone();
    let case = check::Case {
        scenario,
        evidence: &evidence,
        writes: run.judged_writes(),
        convergence: &convergence,
        phases: &run.phases,
        surprises: &run.surprises,
        before_quiet: &before_quiet,
        epochs: &run.epochs,
        lies: run.cluster.relay.as_ref().map_or(0, super::relay::RelaySide::lies),
    };
    let verdicts = check::all(&case);
    let latencies = check::latency::all(&case);
    let usages = run.usages();
    let wires = run.cluster.wires.iter().map(|wire| (wire.dialler, wire.answerer, wire.link.traffic())).collect();
    Ok(Report {
        scenario: scenario.name.clone(),
        story: scenario.story.clone(),
        seed: scenario.seed,
        program,
        devices: run.cluster.devices.iter().map(|device| device.name.clone()).collect(),
        convergence,
        verdicts,
        latencies,
        writes: run.tally(),
        usages,
        wires,
        phases: run.phases,
        moments: run.moments,
        samples: sampler.end(),
        operations: evidence.operations(),
    })
}

impl<'a> Run<'a> {
    /// Forms the cluster and what everybody starts from.
    async fn begin(scenario: &'a Scenario, options: &Options) -> Result<(Self, Sampler)> {
        let mut cluster = Cluster::form(&plan(scenario, options)?).await?;
        let members: Vec<usize> = (0..scenario.devices).collect();
        let hot = workload::make_hot_nodes(&cluster.devices[0].api()?, scenario.hot_nodes).await?;
        cluster.settle(&members, FORMING_TIME_MAX).await.context("the cluster is not equal before anything happened")?;
        let mut users = Vec::new();
        for number in 0..scenario.devices_all() {
            // An outsider has no workspace to ask about, and nobody asks for its user.
            users.push(cluster.status(number).await.ok().and_then(|status| status.user));
        }
        let all = scenario.devices_all();
        let ledger = Arc::new(Ledger::new(all));
        let sampler = Sampler::start(&cluster, &ledger);
        let run = Self {
            scenario,
            cluster,
            ledger,
            hot: Arc::new(hot),
            tickets: BTreeMap::new(),
            members: (0..all).map(|number| number < scenario.devices).collect(),
            joined: vec![None; all],
            removed: vec![None; all],
            users,
            groups: vec![0; all],
            left: vec![None; all],
            epochs: Vec::new(),
            moments: Vec::new(),
            phases: Vec::new(),
            surprises: Vec::new(),
        };
        Ok((run, sampler))
    }

    async fn phase(&mut self, number: usize, phase: &Phase, tell: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
        tell(&format!("phase {}: {} s, {} writes a second each", phase.name, phase.for_s, phase.writes_per_s));
        let begun = self.ledger.now();
        let traffic = self.traffic();
        let (stop, stopped) = watch::channel(false);
        let mut writers = self.writers(number, phase, &stopped);
        let happened = self.trouble(phase, begun, tell).await;
        stop.send_replace(true);
        while let Some(ended) = writers.join_next().await {
            ended.context("a writer failed")?;
        }
        happened?;
        let (ended, after) = (self.ledger.now(), self.traffic());
        let wires = self.cluster.wires.iter().map(|wire| (wire.dialler, wire.answerer)).collect();
        let (begun_s, ended_s) = (begun.as_secs_f64(), ended.as_secs_f64());
        self.phases.push(PhaseRecord { name: phase.name.clone(), begun_s, ended_s, wires, traffic, after });
        if let Some(seconds) = phase.settle_s {
            let numbers = self.reachable();
            let took = self.cluster.settle(&numbers, Duration::from_secs_f64(seconds)).await?;
            tell(&format!("  equal after {:.2} s", took.as_secs_f64()));
        }
        Ok(())
    }

    fn writers(&self, number: usize, phase: &Phase, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut writers = JoinSet::new();
        if phase.writes_per_s > 0.0 {
            let all: Vec<usize> = (0..self.scenario.devices).collect();
            let (mix, rate, hot) = (phase.mix, phase.writes_per_s, Arc::clone(&self.hot));
            let assignment = Assignment { phase: number, mix, rate, hot, seed: self.scenario.seed };
            for device in phase.writers.as_ref().unwrap_or(&all) {
                let api = self.cluster.devices[*device].api_updates();
                writers.spawn(Writer::new(*device, api, Arc::clone(&self.ledger), &assignment).run(stop.clone()));
            }
        }
        writers
    }

    /// Members that run and can reach the first of them.
    fn reachable(&self) -> Vec<usize> {
        let first = (0..self.members.len()).find(|number| self.runs(*number));
        first.map_or_else(Vec::new, |first| self.group_of(first))
    }

    /// Members that run and can reach this one.
    fn group_of(&self, device: usize) -> Vec<usize> {
        let group = self.groups[device];
        (0..self.members.len()).filter(|number| self.runs(*number) && self.groups[*number] == group).collect()
    }

    fn runs(&self, number: usize) -> bool {
        let device = &self.cluster.devices[number];
        self.members[number] && device.is_running() && !device.is_paused()
    }

    /// Members.
    fn member_numbers(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|number| self.members[*number]).collect()
    }

    fn traffic(&self) -> Vec<Traffic> {
        self.cluster.wires.iter().map(|wire| wire.link.traffic()).collect()
    }

    fn note(&mut self, what: String) {
        self.moments.push(Moment { at_s: self.ledger.now().as_secs_f64(), what });
    }
}

fn plan(scenario: &Scenario, options: &Options) -> Result<Plan> {
    let all = scenario.devices_all();
    let mut settings = Plan::wired_settings();
    settings.extend(scenario.settings.clone());
    let own = |spec: &super::scenario::DeviceSpec| {
        let number = spec.number;
        spec.settings.clone().into_iter().map(move |(key, value)| (number, key, value))
    };
    let relay = scenario.relay.as_ref().map(|relay| -> Result<RelayPlan> {
        let (instances, settings) = (relay.instances, relay.settings.clone());
        Ok(RelayPlan { program: program::find_relay(&options.launcher.program)?, instances, settings })
    });
    Ok(Plan {
        folder: options.folder.clone(),
        launcher: options.launcher.clone(),
        names: (0..all).map(|number| format!("d{number}")).collect(),
        joined: scenario.devices,
        wires: match scenario.topology {
            Topology::Mesh => Plan::mesh(all),
            Topology::Star => Plan::star(all),
            Topology::Line => Plan::line(all),
            Topology::None => Vec::new(),
        },
        conditions: scenario.link.conditions(),
        seed: scenario.seed,
        settings,
        own_settings: scenario.device.iter().flat_map(own).collect(),
        relay: relay.transpose()?,
    })
}
