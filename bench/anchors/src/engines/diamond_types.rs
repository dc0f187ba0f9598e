//! diamond-types 1.0: positional edits against parents, as ours. Timed: adding them to its log, and the checkout of all.

use std::any::Any;

use diamond_types::list::OpLog;
use diamond_types::list::encoding::ENCODE_FULL;
use nodespace_protocol::text::trace::Trace;

use super::{Engine, Prepared};

/// The engine.
pub(crate) struct DiamondTypes;

struct Edits {
    trace: Trace,
    stored: usize,
}

impl Engine for DiamondTypes {
    fn prepare(&self, trace: &Trace) -> anyhow::Result<Box<dyn Prepared>> {
        let stored = log_of(trace).encode(ENCODE_FULL).len();
        Ok(Box::new(Edits { trace: trace.clone(), stored }))
    }
}

fn log_of(trace: &Trace) -> OpLog {
    let mut log = OpLog::new();
    let mut last_of: Vec<Vec<usize>> = Vec::with_capacity(trace.transactions.len());
    for transaction in &trace.transactions {
        let agent = log.get_or_create_agent_id(&transaction.agent.to_string());
        let mut version: Vec<usize> = transaction.parents.iter().flat_map(|parent| last_of[*parent as usize].iter().copied()).collect();
        version.sort_unstable();
        version.dedup();
        for patch in &transaction.patches {
            let position = patch.position as usize;
            if patch.delete > 0 {
                version = vec![log.add_delete_at(agent, &version, position..position + patch.delete as usize)];
            }
            if !patch.insert.is_empty() {
                version = vec![log.add_insert_at(agent, &version, position, &patch.insert)];
            }
        }
        last_of.push(version);
    }
    log
}

impl Prepared for Edits {
    fn apply(&self, _input: Box<dyn Any>) -> String {
        log_of(&self.trace).checkout_tip().content().to_string()
    }

    fn stored_bytes(&self) -> Option<usize> {
        Some(self.stored)
    }
}
