//! What happens in a phase, each thing at its time.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Run;
use crate::cluster::api::ApiError;
use crate::cluster::api::encode;
use crate::cluster::link::Cut;
use crate::cluster::link::conditions::Direction;
use crate::cluster::scenario::{Action, JoinEnd, LinkSpec, Phase};
use crate::cluster::workload;

impl Run<'_> {
    /// Lets everything of a phase happen, and its time pass.
    pub(super) async fn trouble(&mut self, phase: &Phase, begun: Duration, tell: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
        let mut events: Vec<_> = phase.event.iter().collect();
        events.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
        for event in events {
            self.sleep_until(begun, event.at_s).await;
            let words = event.action.words();
            tell(&format!("  {:6.1} s  {words}", self.ledger.now().saturating_sub(begun).as_secs_f64()));
            self.note(words.clone());
            self.happen(&event.action).await.with_context(|| words)?;
        }
        self.sleep_until(begun, phase.for_s).await;
        let all: Vec<usize> = (0..self.cluster.devices.len()).collect();
        self.cluster.check_alive(&all)
    }

    async fn sleep_until(&self, begun: Duration, seconds: f64) {
        let due = begun + Duration::from_secs_f64(seconds);
        tokio::time::sleep(due.saturating_sub(self.ledger.now())).await;
    }

    async fn happen(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Kill { device } => self.cluster.kill(*device),
            Action::Stop { device } => {
                // Who has not joined yet holds nothing.
                self.left[*device] = self.cluster.status(*device).await.ok();
                self.cluster.stop(*device).await
            }
            Action::Start { device } => self.cluster.start(*device).await,
            Action::Pause { device } => self.cluster.devices[*device].pause(),
            Action::Resume { device } => self.cluster.devices[*device].resume(),
            Action::Partition { groups, cut } => {
                self.part(groups, *cut);
                Ok(())
            }
            Action::OneWay { from, to, cut } => self.silence(*from, *to, *cut),
            Action::Heal {} => {
                self.heal();
                Ok(())
            }
            Action::Link { between, conditions } => self.change_wires(*between, conditions),
            Action::Reset { between } => {
                self.wires_between(*between).for_each(|wire| wire.link.reset());
                Ok(())
            }
            Action::Import { device, nodes } => self.import(*device, *nodes).await,
            Action::Clock { device, offset_ms } => self.set_clock(*device, *offset_ms).await,
            Action::Invite { by, ticket, uses, expires_s } => {
                let invited = self.cluster.invite(*by, "editor", *expires_s, *uses).await?;
                self.tickets.insert(ticket.clone(), invited);
                Ok(())
            }
            Action::Revoke { by, ticket } => self.revoke(*by, ticket).await,
            Action::Join { device, ticket, halved, ends } => self.join(*device, ticket, *halved, *ends).await,
            Action::Remove { device, by } => self.remove(*device, *by).await,
            Action::Equal { devices, within_s } => self.equal(devices, *within_s).await,
            Action::Synced { device, within_s } => self.synced(*device, *within_s).await,
            Action::Relay(action) => self.relay_event(action).await,
        }
    }

    /// Cuts all wires between groups; who is in no group is alone.
    fn part(&mut self, groups: &[Vec<usize>], cut: Cut) {
        let group_of = |device: usize| groups.iter().position(|group| group.contains(&device)).unwrap_or(groups.len() + device);
        self.groups = (0..self.groups.len()).map(group_of).collect();
        for wire in &self.cluster.wires {
            let apart = self.groups[wire.dialler] != self.groups[wire.answerer];
            wire.link.change(|conditions| conditions.set_cut(apart.then_some(cut)));
        }
    }

    fn silence(&mut self, from: usize, to: usize, cut: Cut) -> Result<()> {
        let wire = self.cluster.wires.iter().find(|wire| wire.connects(from, to));
        let wire = wire.with_context(|| format!("there is no wire between d{from} and d{to}"))?;
        let direction = if wire.dialler == from { Direction::Forward } else { Direction::Backward };
        wire.link.change(|conditions| conditions.way_mut(direction).cut = Some(cut));
        Ok(())
    }

    /// Heals all cuts.
    pub(super) fn heal(&mut self) {
        self.groups.fill(0);
        self.cluster.wires.iter().for_each(|wire| wire.link.change(|conditions| conditions.set_cut(None)));
    }

    fn wires_between(&self, between: Option<[usize; 2]>) -> impl Iterator<Item = &crate::cluster::Wire> {
        self.cluster.wires.iter().filter(move |wire| between.is_none_or(|[one, other]| wire.connects(one, other)))
    }

    /// Changes conditions, and leaves cuts as they are.
    fn change_wires(&self, between: Option<[usize; 2]>, spec: &LinkSpec) -> Result<()> {
        let wanted = spec.conditions();
        let mut changed = 0;
        for wire in self.wires_between(between) {
            changed += 1;
            wire.link.change(|conditions| {
                let (forward, backward) = (conditions.forward.cut, conditions.backward.cut);
                let generation = conditions.generation;
                *conditions = wanted;
                (conditions.forward.cut, conditions.backward.cut, conditions.generation) = (forward, backward, generation);
            });
        }
        if changed == 0 { bail!("there is no such wire") } else { Ok(()) }
    }

    async fn import(&mut self, device: usize, nodes: u64) -> Result<()> {
        let documents = workload::documents(nodes, self.scenario.seed);
        let report = workload::import(&self.cluster.devices[device].api()?, &documents).await?;
        if report.failed > 0 {
            self.surprises.push(format!("{} of {} imported documents failed at d{device}", report.failed, report.documents));
        }
        self.note(format!("d{device} has imported {} nodes", report.created));
        Ok(())
    }

    async fn set_clock(&mut self, device: usize, offset_ms: i64) -> Result<()> {
        if self.cluster.devices[device].is_running() {
            self.cluster.stop(device).await?;
        }
        self.cluster.devices[device].set("sync.clock_offset_ms", &offset_ms.to_string());
        self.cluster.start(device).await
    }

    async fn revoke(&mut self, by: usize, ticket: &str) -> Result<()> {
        let invite = self.tickets.get(ticket).context("there is no such ticket")?.invite.clone();
        let _: Value = self.cluster.devices[by].api()?.delete(&format!("/v1/invites/{}", encode(&invite))).await?;
        Ok(())
    }

    /// An outsider joins. How it must end is part of the scenario; another end is a finding, not a failure to run.
    async fn join(&mut self, device: usize, ticket: &str, halved: bool, ends: JoinEnd) -> Result<()> {
        let whole = &self.tickets.get(ticket).context("there is no such ticket")?.ticket;
        let text = if halved { whole[..whole.len() / 2].to_owned() } else { self.cluster.over_wires(device, whole)? };
        let joined = self.cluster.join_with(device, &text).await;
        match (joined, ends) {
            (Ok(_), JoinEnd::Joined) => {
                self.members[device] = true;
                self.joined[device] = Some(self.ledger.now());
                self.users[device] = self.cluster.status(device).await?.user;
            }
            (Ok(_), JoinEnd::Refused) => self.surprises.push(format!("d{device} joined by {ticket}, which should not be taken")),
            (Err(error @ ApiError::Refused { .. }), JoinEnd::Refused) => self.note(format!("d{device} is turned away: {error}")),
            (Err(error), _) => self.surprises.push(format!("d{device} joining by {ticket}: {error}")),
        }
        Ok(())
    }

    async fn remove(&mut self, device: usize, by: usize) -> Result<()> {
        let user = self.users[device].clone().with_context(|| format!("d{device} has no user"))?;
        let removed_at = self.ledger.now();
        let _: Value = self.cluster.devices[by].api()?.delete(&format!("/v1/members/{}", encode(&user))).await?;
        self.members[device] = false;
        self.removed[device] = Some((removed_at, by));
        Ok(())
    }
}
