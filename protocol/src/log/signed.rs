//! Which signatures of others are kept.
//!
//! A log is a chain of hashes, so a later signature proves all that an earlier one does; earlier ones only decide where a segment can
//! end when the log is passed on. A device that hears every operation by itself would keep a signature for each, more than
//! the operations themselves take. So the last signature gives way to the next one when both stand close together.
//!
//! One that stands right before an operation that names membership stays: such an operation must be able to begin its segment.

use super::{Appended, Branch};
use crate::crypto::Signature;

/// The most operations between two signatures that are kept where there were more: the least pieces in which a log can be passed on.
const APART_OPS_MAX: u32 = 64;
/// The most bytes of payload between them, so that pieces stay small in bytes too.
const APART_BYTES_MAX: u32 = 64 * 1024;

/// A run of operations without a signature inside.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    ops: u32,
    bytes: u32,
    names_membership: bool,
}

/// The runs at the end of a branch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsigned {
    /// Since the last signature.
    open: Run,
    /// From the signature before the last, or the branch's beginning, to the last.
    closed: Run,
}

impl Unsigned {
    pub(super) fn push(&mut self, op: &Appended) {
        self.open.ops = self.open.ops.saturating_add(1);
        self.open.bytes = self.open.bytes.saturating_add(op.bytes);
        self.open.names_membership |= op.names_membership;
    }

    /// As after a restart: the last signature stays.
    pub(super) const fn sealed() -> Self {
        let closed = Run { ops: APART_OPS_MAX, bytes: 0, names_membership: false };
        Self { open: Run { ops: 0, bytes: 0, names_membership: false }, closed }
    }

    /// A signature came for the end of the branch. Answers whether the last one gives way to it.
    fn sign(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        let (ops, bytes) = (self.closed.ops.saturating_add(open.ops), self.closed.bytes.saturating_add(open.bytes));
        let gives_way = ops <= APART_OPS_MAX && bytes <= APART_BYTES_MAX && !open.names_membership;
        self.closed = if gives_way { Run { ops, bytes, ..self.closed } } else { open };
        gives_way
    }
}

impl Branch {
    /// Keeps a signature over one of this branch's operations.
    pub(crate) fn sign(&mut self, seq: u64, signature: Signature) {
        if seq == self.last_seq() && self.unsigned.sign() {
            self.signatures.pop_last();
        }
        self.signatures.insert(seq, signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OpHash;
    use crate::store::OpIndex;

    /// Positions at which signatures are left when every operation of a branch came signed.
    fn kept(ops: impl Iterator<Item = (u32, bool)>) -> Vec<u64> {
        let mut branch = Branch::new(None, None, 1);
        for (index, (bytes, names_membership)) in (0..).zip(ops) {
            branch.push(Appended { index: OpIndex(index), hash: OpHash([1; 32]), bytes, names_membership });
            branch.sign(branch.last_seq(), Signature([2; 64]));
        }
        branch.signatures.keys().copied().collect()
    }

    #[test]
    fn of_signatures_close_together_few_are_kept() {
        assert_eq!(kept((0..200).map(|_| (100, false))), [64, 128, 192, 200]);
        assert_eq!(kept((0..4).map(|_| (40_000, false))), [1, 2, 3, 4], "large operations stay apart");
        assert_eq!(kept((0..10).map(|n| (100, n == 5))), [5, 10], "what names membership can begin a segment");
    }
}
