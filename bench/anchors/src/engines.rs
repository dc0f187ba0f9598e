//! The engines that are compared, behind one interface.

mod automerge;
mod diamond_types;
mod loro;
pub(crate) mod ours;
mod yrs;

use std::any::Any;

use nodespace_protocol::text::trace::Trace;

/// An engine.
pub(crate) trait Engine {
    /// Makes a trace into what a receiver of all of it has.
    fn prepare(&self, trace: &Trace) -> anyhow::Result<Box<dyn Prepared>>;
}

/// A trace as one engine receives it.
pub(crate) trait Prepared {
    /// What one run uses up; made before the clock starts.
    fn input(&self) -> Box<dyn Any> {
        Box::new(())
    }

    /// From what was received to the finished text: what is timed.
    fn apply(&self, input: Box<dyn Any>) -> String;

    /// Bytes of the whole history in the engine's own most compact form, where it has one.
    fn stored_bytes(&self) -> Option<usize>;
}

/// All but ours.
pub(crate) fn others() -> Vec<(&'static str, Box<dyn Engine>)> {
    vec![
        ("diamond-types 1.0", Box::new(diamond_types::DiamondTypes)),
        ("loro 1.17", Box::new(loro::Loro)),
        ("yrs 0.28", Box::new(yrs::Yrs)),
        ("automerge 0.12", Box::new(automerge::AutomergeEngine)),
    ]
}
