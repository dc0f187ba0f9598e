//! NodeSpace: `nodespace_protocol::text`, from decoded events with their parents resolved.

use std::any::Any;

use nodespace_protocol::text::trace::Trace;
use nodespace_protocol::text::{EventIndex, GapBuffer, TextMerge};

use super::{Engine, Prepared};

/// Our engine.
pub(crate) struct Ours;

struct Events {
    trace: Trace,
    parents: Vec<Vec<EventIndex>>,
}

impl Engine for Ours {
    fn prepare(&self, trace: &Trace) -> anyhow::Result<Box<dyn Prepared>> {
        let resolve = |parents: &Vec<u32>| parents.iter().map(|parent| EventIndex(*parent)).collect();
        let parents = trace.transactions.iter().map(|transaction| resolve(&transaction.parents)).collect();
        Ok(Box::new(Events { trace: trace.clone(), parents }))
    }
}

impl Prepared for Events {
    fn apply(&self, _input: Box<dyn Any>) -> String {
        let mut merge = TextMerge::new(0);
        let mut text = GapBuffer::new();
        for (number, (transaction, parents)) in (0_u32..).zip(self.trace.transactions.iter().zip(&self.parents)) {
            merge.push(parents, (transaction.agent, number), &transaction.patches).expect("parents come first in a trace");
        }
        merge.merge(&mut text);
        text.to_string()
    }

    /// Operations carry hashes and rights that a text alone does not need; what they take is in the `ops` benchmark.
    fn stored_bytes(&self) -> Option<usize> {
        None
    }
}
