//! Deliberate faults in this crate, to be switched on by tests only.
//!
//! A simulator that finds nothing proves something only if it would have found something. With the feature `mutants` a test can break
//! one rule of the protocol in its own thread; without the feature `is` is a constant `false` and the code is as if it were not there.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Known operations are stored and folded again.
    NoDedup,
    /// Signatures are not checked.
    NoSignatureCheck,
    /// A register takes what arrives last instead of what is last in the total order.
    LastWriteByArrival,
    /// Only the first of several parents is remembered.
    ForgottenParent,
    /// Operations that wait for a parent are forgotten.
    LostWaiting,
    /// A move below oneself is taken.
    NoCycleCheck,
    /// What a removed device did after its removal keeps its effect.
    NoStrongRemoval,
    /// Non-members may write.
    NoMembershipCheck,
    /// Commit answers before anything is durable.
    NoSync,
    /// Operations ahead of our clock take effect at once and drag it along.
    NoClockBound,
    /// What is said of a device's own log is believed without proof.
    UnprovenClaims,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoDedup,
        Self::NoSignatureCheck,
        Self::LastWriteByArrival,
        Self::ForgottenParent,
        Self::LostWaiting,
        Self::NoCycleCheck,
        Self::NoStrongRemoval,
        Self::NoMembershipCheck,
        Self::NoSync,
        Self::NoClockBound,
        Self::UnprovenClaims,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Breaks a rule in this thread, or none.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use switch::is;
#[cfg(feature = "mutants")]
pub use switch::set;

/// Whether a rule is broken on purpose.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_mutant: Mutant) -> bool {
    false
}
