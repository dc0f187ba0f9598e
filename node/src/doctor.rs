//! The doctor: looks at everything a device keeps of a workspace and says what is wrong and what to do.
//!
//! What is derived is made again from what it derives from, and compared; so "healthy" means that the three layers say the same, and not only
//! that files can be opened:
//!
//! | what | held against |
//! |---|---|
//! | journal | the hashes that every operation carries ([`journal`]) |
//! | nodes, the order of children, and the sums of both | what the log alone makes of it ([`state`]) |
//! | rows of the LanceDB table | node state |
//! | vectors at full precision | their nodes and the dimension of their model ([`vectors`]) |
//! | files | who may read them ([`permissions`]) |
//! | logs, membership, clock | what they must be for this device to write ([`standing`]) |
//!
//! Each check is a plain function over a part, so that nobody waits long while it runs. A repair never touches the journal: it makes anew
//! what is derived, and takes from others the right to read.

pub mod journal;
pub mod permissions;
pub mod standing;
pub mod state;
#[cfg(test)]
mod tests;
pub mod vectors;

use crate::model::{DoctorReport, Finding, Severity};

/// The most findings of one area that are told one by one; the rest is counted. Damage that is everywhere needs no list.
pub const FINDINGS_OF_AREA_MAX: usize = 20;

/// Findings as they come in.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    /// How many were left out, by area.
    left_out: std::collections::BTreeMap<String, u64>,
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        if self.found.iter().filter(|other| other.area == finding.area).count() < FINDINGS_OF_AREA_MAX {
            self.found.push(finding);
        } else {
            *self.left_out.entry(finding.area).or_default() += 1;
        }
    }

    /// Adds several.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// Whether there is an unrepaired one of an area that is more than a note.
    #[must_use]
    pub fn has(&self, area: &str) -> bool {
        self.found.iter().any(|finding| finding.area == area && finding.severity > Severity::Note && !finding.repaired)
    }

    /// Marks those of an area as repaired.
    pub fn repaired(&mut self, area: &str) {
        self.found.iter_mut().filter(|finding| finding.area == area).for_each(|finding| finding.repaired = true);
    }

    /// Ends: the gravest first.
    #[must_use]
    pub fn into_report(mut self, report: DoctorReport) -> DoctorReport {
        for (area, count) in std::mem::take(&mut self.left_out) {
            let repaired = !self.has(&area);
            let first = self.found.iter().find(|finding| finding.area == area);
            let severity = first.map_or(Severity::Note, |finding| finding.severity);
            let message = format!("{count} more like these");
            self.found.push(Finding { severity, area, message, advice: String::new(), repaired });
        }
        self.found.sort_by(|a, b| (b.severity, a.repaired, &a.area).cmp(&(a.severity, b.repaired, &b.area)));
        let healthy = self.found.iter().all(|finding| finding.repaired || finding.severity == Severity::Note);
        DoctorReport { healthy, findings: self.found, ..report }
    }
}

/// A finding that is not repaired.
pub fn finding(severity: Severity, area: &str, message: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { severity, area: area.to_owned(), message: message.into(), advice: advice.into(), repaired: false }
}
