//! What was promised and what was seen: every write that a device acknowledged, and when each operation came up in which device's change
//! stream.
//!
//! Times are since the ledger was opened, by one clock, so differences between devices are real.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::workload::Work;

/// A write that was answered with success: it must never be lost.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its operation, in hexadecimal.
    pub op: String,
    /// Where it was written.
    pub device: usize,
    /// The number of the phase.
    pub phase: usize,
    /// What it was.
    pub work: Work,
    /// The node.
    pub node: String,
    /// A word that it put into the node's text, found nowhere else.
    pub word: Option<String>,
    /// When it was sent.
    pub sent: Duration,
    /// When its answer was there.
    pub answered: Duration,
}

/// What became of writes that were not acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Unacknowledged {
    /// Refusals, by code: they wrote nothing.
    pub refused: BTreeMap<String, u64>,
    /// Writes whose answer did not come: they may have happened or not.
    pub unknown: u64,
}

#[derive(Debug, Default)]
struct Book {
    acknowledged: Vec<Acknowledged>,
    unacknowledged: Unacknowledged,
    /// By operation: when each device showed it first.
    seen: HashMap<String, Vec<Option<Duration>>>,
    /// By device: the nodes it knows, in the order in which it heard of them.
    nodes: Vec<Vec<String>>,
}

/// The book of promises. All its methods may be called from anywhere.
#[derive(Debug)]
pub struct Ledger {
    opened: Instant,
    book: Mutex<Book>,
}

impl Ledger {
    /// Opens a ledger for so many devices.
    pub fn new(devices: usize) -> Self {
        Self { opened: Instant::now(), book: Mutex::new(Book { nodes: vec![Vec::new(); devices], ..Book::default() }) }
    }

    /// The time.
    pub fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Notes a promise.
    pub fn acknowledge(&self, write: Acknowledged) {
        self.book().acknowledged.push(write);
    }

    /// Notes a refusal.
    pub fn refuse(&self, code: &str) {
        *self.book().unacknowledged.refused.entry(code.to_owned()).or_default() += 1;
    }

    /// Notes a write of which nobody knows whether it happened.
    pub fn wonder(&self) {
        self.book().unacknowledged.unknown += 1;
    }

    /// Notes that a device shows an operation; with the node that it makes, if it does.
    pub fn see(&self, device: usize, op: &str, created: Option<&str>) {
        let now = self.now();
        let mut book = self.book();
        let devices = book.nodes.len();
        let seen = match book.seen.get_mut(op) {
            Some(seen) => seen,
            None => book.seen.entry(op.to_owned()).or_insert_with(|| vec![None; devices]),
        };
        if seen[device].is_none() {
            seen[device] = Some(now);
            if let Some(node) = created {
                book.nodes[device].push(node.to_owned());
            }
        }
    }

    /// A node that a device knows, chosen by `choose` among so many, the latest last.
    pub fn node(&self, device: usize, choose: impl FnOnce(usize) -> usize) -> Option<String> {
        let book = self.book();
        let nodes = &book.nodes[device];
        nodes.get(choose(nodes.len())).cloned()
    }

    /// All promises.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.book().acknowledged.clone()
    }

    /// What was not promised.
    pub fn unacknowledged(&self) -> Unacknowledged {
        self.book().unacknowledged.clone()
    }

    /// When each device showed an operation first.
    pub fn seen(&self, op: &str) -> Vec<Option<Duration>> {
        let book = self.book();
        book.seen.get(op).cloned().unwrap_or_else(|| vec![None; book.nodes.len()])
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_sees_an_operation_once_and_knows_its_node() {
        let ledger = Ledger::new(2);
        ledger.see(1, "aa", Some("n"));
        let first = ledger.seen("aa")[1].unwrap();
        ledger.see(1, "aa", Some("n"));
        assert_eq!(ledger.seen("aa"), [None, Some(first)]);
        assert_eq!(ledger.node(1, |count| count - 1), Some("n".into()));
        assert_eq!(ledger.node(1, |count| count), None, "it is there once");
        assert_eq!(ledger.node(0, |_| 0), None, "the other one does not know it");
        assert_eq!(ledger.seen("bb"), [None, None]);
    }
}
