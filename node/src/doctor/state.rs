//! The state against what its log makes of it: nodes, the order of children, and the sums that devices compare with each other.
//!
//! Finding out is the protocol's work ([`Audit`](nodespace_protocol::replica::Audit)); here it is said to people. None of it can be mended
//! while the device runs, because checkpoints are made from what is in memory: the next start has to fold the journal anew.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Doubt;

use super::finding;
use crate::model::{Finding, Severity};

/// The area of these findings.
pub const AREA: &str = "checkpoint";

/// What to do about each of them.
const ADVICE: &str =
    "run `nodespace doctor --repair` and start the device anew: the state is folded again from the journal, nothing is lost";

/// Says what is in doubt, and what to do.
#[must_use]
pub fn finding_of(doubt: &Doubt) -> Finding {
    let message = match doubt {
        Doubt::Node(id) => format!("node `{id}` is not what its history makes of it"),
        Doubt::NodeDigest(id) => format!("the digest kept of node `{id}` is not that of its history"),
        Doubt::Order(parent) => format!("the order {} is not what the log makes of it", below(parent.as_ref())),
        Doubt::OrderDigest(parent) => format!("the digest kept of the order {} is not that of the order", below(parent.as_ref())),
        Doubt::StateSum => "the state sum is not what the log makes of it: other devices take this one for different".to_owned(),
    };
    finding(Severity::Error, AREA, message, ADVICE)
}

/// That nothing was found out, because who belongs to the workspace changed each time.
#[must_use]
pub fn unsettled() -> Finding {
    let message = "members or devices came or went again and again while the state was looked at: it was not compared to its end";
    finding(Severity::Warning, AREA, message, "run `nodespace doctor` again")
}

fn below(parent: Option<&NodeId>) -> String {
    parent.map_or_else(|| "at the top level".to_owned(), |parent| format!("below node `{parent}`"))
}
