//! What happened in a world, as a hash: two runs of one seed must have the same.

use std::fmt;
use std::io::Write as _;

/// The running hash of all events, and their printing when asked for.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    print: bool,
}

impl Trace {
    /// A trace that prints what happens if `print`.
    pub(crate) fn new(print: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), print }
    }

    /// Takes numbers into the hash.
    pub(crate) fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hasher.update(&number.to_le_bytes());
        }
    }

    /// Takes bytes into the hash.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.numbers(&[bytes.len() as u64]);
        self.hasher.update(bytes);
    }

    /// Prints a line, when printing.
    pub(crate) fn line(&self, now_ms: u64, what: fmt::Arguments<'_>) {
        if self.print {
            // When nobody reads the trace any more, the run goes on for its verdict.
            writeln!(std::io::stdout().lock(), "{:>9.3}s  {what}", now_ms as f64 / 1000.0).ok();
        }
    }

    /// The hash so far.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}
