//! Doctor and rebuild, of a workspace that is in use: every check in parts, so that others get their turn.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use nodespace_projection::Digest;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{Audit, AuditStep};
use nodespace_protocol::store::{Record, Store as _};

use super::import::blocking;
use crate::backup::source::{self, PAGE_RECORDS_DEFAULT};
use crate::doctor::{Findings, finding, journal, permissions, standing, state, vectors};
use crate::engine::{OPEN_ANEW_KEY, PROJECTION_FOLDER, Workspace, row_of};
use crate::model::{DoctorReport, DoctorRequest, ErrorCode, Finding, Progress, RebuildReport, ServiceError, Severity};

/// How many rows are compared before others get their turn.
const PAGE_NODES: usize = 128;

/// How many operations are read, or nodes folded, before others get their turn.
const PAGE_AUDIT: u32 = 128;

/// How often the state is compared from the beginning when members came or went meanwhile. They seldom do.
const AUDITS_MAX: usize = 5;

/// How many vectors are looked at before others get their turn.
const PAGE_VECTORS: usize = 256;

const PROJECTION: &str = "projection";

type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl Workspace {
    /// Looks at everything that is kept of this workspace.
    ///
    /// # Errors
    /// When the device is stopping. Whatever else is wrong is a finding.
    pub async fn doctor(&self, request: DoctorRequest, progress: impl Fn(Progress) + Send + Sync) -> Result<DoctorReport, ServiceError> {
        let tell: Tell<'_> = &progress;
        let mut findings = Findings::default();
        let mut report = DoctorReport::default();
        let home = self.folder().parent().and_then(|workspaces| workspaces.parent()).unwrap_or_else(|| self.folder()).to_path_buf();
        findings.extend(blocking(move || permissions::check(&home, PROJECTION_FOLDER, request.repair)).await?);
        findings.extend(self.write(None, |replica, now| Ok(standing::check(replica, now))).await?);
        report.operations = self.check_journal(&mut findings, tell).await?;
        report.nodes = self.check_state(&mut findings, tell).await?;
        self.check_vectors(&mut findings).await?;
        if self.projection_folder().is_some() {
            report.rows = self.check_projection(&mut findings, tell).await?;
        }
        if request.repair {
            self.repair(&mut findings, tell).await?;
        }
        Ok(findings.into_report(report))
    }

    /// Makes the LanceDB table anew.
    ///
    /// # Errors
    /// When it cannot be written, or is switched off.
    pub async fn rebuild(&self, progress: impl FnMut(Progress) + Send + 'static) -> Result<RebuildReport, ServiceError> {
        let rows = self.projector().await?.rebuild(Box::new(progress)).await?;
        Ok(RebuildReport { rows })
    }

    async fn check_journal(&self, findings: &mut Findings, tell: Tell<'_>) -> Result<u64, ServiceError> {
        let until = self.read(|replica| replica.store().record_count()).await?;
        let workspace = self.id();
        let (mut from, mut operations) = (0, 0);
        while from < until {
            let page = self.read(move |replica| source::page(replica.store(), from, until, PAGE_RECORDS_DEFAULT)).await?;
            let page = match page.map_err(ServiceError::from) {
                Ok(page) if !page.is_empty() => page,
                Ok(_) => break,
                Err(error) => {
                    // What lies behind the damage cannot be found without it.
                    findings.push(journal::unreadable(&error));
                    break;
                }
            };
            from += page.len() as u64;
            operations += page.iter().filter(|record| matches!(record, Record::Op(_))).count() as u64;
            findings.extend(blocking(move || journal::check(&page, &workspace)).await?);
            tell(Progress { step: "reading the journal".to_owned(), done: from, total: Some(until) });
        }
        Ok(operations)
    }

    /// Nodes, their order and the sums of both, against what the log makes of them. Answers how many nodes there are.
    async fn check_state(&self, findings: &mut Findings, tell: Tell<'_>) -> Result<u64, ServiceError> {
        let nodes = self.read(|replica| replica.counts().nodes).await?;
        for _ in 0..AUDITS_MAX {
            if let Some(found) = self.audit(tell).await? {
                findings.extend(found);
                return Ok(nodes);
            }
        }
        findings.push(state::unsettled());
        Ok(nodes)
    }

    /// One look at the state. Nothing when operations that were looked at became worth something else meanwhile.
    async fn audit(&self, tell: Tell<'_>) -> Result<Option<Vec<Finding>>, ServiceError> {
        let mut audit = self.write(None, |replica, _| Ok(Audit::begin(replica))).await?;
        loop {
            let step;
            (step, audit) = self
                .read(move |replica| {
                    let step = audit.step(replica, PAGE_AUDIT);
                    (step, audit)
                })
                .await?;
            let (step, done, total) = match step {
                Ok(AuditStep::Read { done, total }) => ("reading the history of each node", done, total),
                Ok(AuditStep::Folded { done, total }) => ("folding nodes anew", done, total),
                Ok(AuditStep::Done) => break,
                Ok(AuditStep::Outdated) => return Ok(None),
                // What lies behind the damage cannot be found without it.
                Err(error) => return Ok(Some(vec![journal::unreadable(&error.into())])),
            };
            tell(Progress { step: step.to_owned(), done, total: Some(total) });
        }
        let doubts = blocking(move || audit.conclude()).await?;
        Ok(Some(doubts.iter().map(state::finding_of).collect()))
    }

    async fn check_vectors(&self, findings: &mut Findings) -> Result<(), ServiceError> {
        let mut after: Option<(NodeId, String)> = None;
        loop {
            let from = after.take();
            let (found, last) = self
                .read(move |replica| {
                    let page = replica.store().vectors(from.as_ref().map(|(node, model)| (node, model.as_str())), PAGE_VECTORS)?;
                    let last = page.last().map(|entry| (entry.node.clone(), entry.model.clone()));
                    Ok::<_, ServiceError>((vectors::check(replica, &page)?, last))
                })
                .await??;
            findings.extend(found);
            if last.is_none() {
                return Ok(());
            }
            after = last;
        }
    }

    /// The table, row by row, against the state. A table that cannot be read is a finding.
    async fn check_projection(&self, findings: &mut Findings, tell: Tell<'_>) -> Result<u64, ServiceError> {
        match self.compare_rows(findings, tell).await {
            Err(error) if error.code() == ErrorCode::Unavailable || error.code() == ErrorCode::Internal => {
                findings.push(finding(
                    Severity::Error,
                    PROJECTION,
                    error.to_string(),
                    "run `nodespace rebuild`: the table is made anew from the journal",
                ));
                Ok(0)
            }
            other => other,
        }
    }

    async fn compare_rows(&self, findings: &mut Findings, tell: Tell<'_>) -> Result<u64, ServiceError> {
        let projector = self.projector().await?;
        projector.catch_up(self.read(|replica| replica.store().op_count()).await?).await?;
        let reader = projector.reader()?;
        let broken =
            |error: &dyn std::fmt::Display| ServiceError::new(ErrorCode::Internal, format!("the LanceDB table cannot be read: {error}"));
        let mut in_table: HashMap<String, Digest> = HashMap::new();
        let mut digests = std::pin::pin!(reader.digests().await.map_err(|error| broken(&error))?);
        while let Some((id, digest)) = digests.try_next().await.map_err(|error| broken(&error))? {
            if in_table.insert(id.clone(), digest).is_some() {
                findings.push(wrong_row(&format!("node `{id}` has two rows")));
            }
        }
        let (rows, ids) = (in_table.len() as u64, self.read(|replica| replica.node_ids()).await?);
        let (total, mut done) = (ids.len() as u64, 0);
        let mut differing = Vec::new();
        for page in ids.chunks(PAGE_NODES) {
            done += page.len() as u64;
            for (id, digest) in self.row_digests(page.to_vec()).await? {
                if in_table.remove(&id.to_string()) != Some(digest) {
                    differing.push(id);
                }
            }
            tell(Progress { step: "comparing rows".to_owned(), done, total: Some(total) });
        }
        for id in in_table.keys() {
            findings.push(wrong_row(&format!("there is a row of `{id}`, which is no node")));
        }
        self.compare_again(differing, findings).await?;
        Ok(rows)
    }

    /// Rows that differed may have been written meanwhile: only what differs still, when the table has caught up, is wrong.
    async fn compare_again(&self, ids: Vec<NodeId>, findings: &mut Findings) -> Result<(), ServiceError> {
        let projector = self.projector().await?;
        for page in ids.chunks(PAGE_NODES) {
            projector.catch_up(self.read(|replica| replica.store().op_count()).await?).await?;
            let names: Vec<String> = page.iter().map(ToString::to_string).collect();
            let found = projector.reader()?.get(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let found =
                found.map_err(|error| ServiceError::new(ErrorCode::Internal, format!("the LanceDB table cannot be read: {error}")))?;
            let rows: HashMap<String, Digest> = found.into_iter().map(|row| (row.id.clone(), row.digest())).collect();
            for (id, digest) in self.row_digests(page.to_vec()).await? {
                match rows.get(&id.to_string()) {
                    Some(row) if *row == digest => {}
                    Some(_) => findings.push(wrong_row(&format!("the row of node `{id}` is not what the node is"))),
                    None => findings.push(wrong_row(&format!("node `{id}` has no row"))),
                }
            }
        }
        Ok(())
    }

    /// What the rows of these nodes must be.
    async fn row_digests(&self, ids: Vec<NodeId>) -> Result<Vec<(NodeId, Digest)>, ServiceError> {
        self.read(move |replica| {
            let mut digests = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(row) = row_of(replica, &id)? {
                    digests.push((id, row.digest()));
                }
            }
            Ok(digests)
        })
        .await?
    }

    /// Makes anew what is derived and wrong.
    async fn repair(&self, findings: &mut Findings, tell: Tell<'_>) -> Result<(), ServiceError> {
        if findings.has(state::AREA) {
            // The state in memory is what is wrong, and it is what checkpoints are made from: it must be folded anew at a start.
            self.read(|replica| replica.store().put_value(OPEN_ANEW_KEY, &[1])).await??;
            findings.repaired(state::AREA);
            findings.push(finding(
                Severity::Note,
                state::AREA,
                "the next start folds the journal anew",
                "start the device anew, then run `nodespace doctor` again",
            ));
        }
        if findings.has(PROJECTION) {
            tell(Progress { step: "making the table anew".to_owned(), done: 0, total: None });
            self.projector().await?.rebuild(Box::new(|_| {})).await?;
            findings.repaired(PROJECTION);
        }
        Ok(())
    }
}

fn wrong_row(message: &str) -> Finding {
    finding(Severity::Error, PROJECTION, message, "run `nodespace rebuild`: the table is made anew from the journal")
}
