//! Recorded editing histories, for tests and measurements.
//!
//! Two forms are read, both JSON. *Editing traces* record people typing, with the text that must come out
//! (<https://github.com/josephg/editing-traces>). *Conformance histories* are small and random, and their end text includes every
//! tie-break (<https://github.com/josephg/eg-walker-reference>). The caller unpacks compressed files.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::TextPatch;

/// An editing trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The text before the first transaction.
    pub start_content: String,
    /// What was done, parents first.
    pub transactions: Vec<Transaction>,
    /// The text after all of it.
    pub end_content: String,
}

/// Some edits one agent made in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The earlier transactions it was made on, by number.
    pub parents: Vec<u32>,
    /// Who made it.
    pub agent: u32,
    /// What it does, in sequence.
    pub patches: Vec<TextPatch>,
}

/// A conformance history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// What was done, parents first.
    pub transactions: Vec<HistoryTransaction>,
    /// The text after all of it, concurrent inserts at one place ordered by (agent, sequence).
    pub end_content: String,
}

/// Some edits one agent made in one go, in a conformance history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryTransaction {
    /// The earlier transactions it was made on, by number.
    pub parents: Vec<u32>,
    /// Who made it.
    pub agent: String,
    /// The number of its first single-character event among its agent's.
    pub sequence: u32,
    /// What it does, in sequence.
    pub patches: Vec<TextPatch>,
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Not the JSON expected.
    #[error("the trace is not of the expected form")]
    Form(#[from] serde_json::Error),
    /// A parent that does not come before its child.
    #[error("transaction {transaction} names {parent} as a parent, which does not come before it")]
    Parent {
        /// The child's number.
        transaction: usize,
        /// The parent as written in the file.
        parent: u32,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTrace {
    #[serde(default)]
    start_content: String,
    end_content: String,
    txns: Vec<RawTransaction>,
}

#[derive(Deserialize)]
struct RawTransaction {
    parents: Option<Vec<u32>>,
    #[serde(default)]
    agent: u32,
    patches: Vec<(u32, u32, Box<str>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHistory {
    txns: Vec<RawHistoryTransaction>,
    end_content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHistoryTransaction {
    span: (u32, u32),
    parents: Vec<u32>,
    agent: String,
    seq_start: u32,
    ops: Vec<(u32, u32, Box<str>)>,
}

impl Trace {
    /// Reads an editing trace. In a sequential one, where no parents are given, each transaction follows the one before it.
    ///
    /// # Errors
    /// When the bytes are not of that form, or a parent does not come before its child.
    pub fn parse(json: &[u8]) -> Result<Self, TraceError> {
        let raw: RawTrace = serde_json::from_slice(json)?;
        let mut transactions = Vec::with_capacity(raw.txns.len());
        for (number, transaction) in (0_u32..).zip(raw.txns) {
            let parents = transaction.parents.unwrap_or_else(|| number.checked_sub(1).into_iter().collect());
            if let Some(parent) = parents.iter().find(|parent| **parent >= number) {
                return Err(TraceError::Parent { transaction: transactions.len(), parent: *parent });
            }
            transactions.push(Transaction { parents, agent: transaction.agent, patches: patches(transaction.patches) });
        }
        Ok(Self { start_content: raw.start_content, transactions, end_content: raw.end_content })
    }

    /// The same trace with each patch as a transaction of its own.
    #[must_use]
    pub fn single_edits(&self) -> Self {
        let mut transactions: Vec<Transaction> = Vec::new();
        let mut last_of = Vec::with_capacity(self.transactions.len());
        for transaction in &self.transactions {
            let mut parents: Vec<u32> = named(&last_of, &transaction.parents);
            let mut rest: &[TextPatch] = &transaction.patches;
            loop {
                let (now, later) = rest.split_at(rest.len().min(1));
                transactions.push(Transaction { parents, agent: transaction.agent, patches: now.to_vec() });
                parents = vec![last(&transactions)];
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            last_of.push(last(&transactions));
        }
        Self { transactions, ..self.clone() }
    }

    /// The same trace as an editor would commit it: what one agent did in sequence is one transaction of at most `patches_max`
    /// patches, and runs of typing and of backspacing are one patch.
    #[must_use]
    pub fn bursts(&self, patches_max: usize) -> Self {
        let mut children = vec![0_u32; self.transactions.len()];
        for parent in self.transactions.iter().flat_map(|transaction| &transaction.parents) {
            if let Some(count) = children.get_mut(number(*parent)) {
                *count += 1;
            }
        }
        let mut transactions: Vec<Transaction> = Vec::new();
        let mut burst_of: Vec<u32> = Vec::with_capacity(self.transactions.len());
        for transaction in &self.transactions {
            let burst = match transaction.parents[..] {
                [only] if children.get(number(only)) == Some(&1) => burst_of.get(number(only)).copied(),
                _ => None,
            };
            let burst = burst.filter(|burst| {
                let burst = &mut transactions[number(*burst)];
                burst.agent == transaction.agent && extend_burst(&mut burst.patches, &transaction.patches, patches_max)
            });
            burst_of.push(burst.unwrap_or_else(|| {
                let parents = named(&burst_of, &transaction.parents);
                let mut patches = Vec::new();
                extend_burst(&mut patches, &transaction.patches, usize::MAX);
                transactions.push(Transaction { parents, agent: transaction.agent, patches });
                last(&transactions)
            }));
        }
        Self { transactions, ..self.clone() }
    }
}

impl History {
    /// Reads a file of conformance histories.
    ///
    /// # Errors
    /// When the bytes are not of that form, or a parent does not come before its child.
    pub fn parse_all(json: &[u8]) -> Result<Vec<Self>, TraceError> {
        let raw: Vec<RawHistory> = serde_json::from_slice(json)?;
        raw.into_iter().map(Self::from_raw).collect()
    }

    fn from_raw(raw: RawHistory) -> Result<Self, TraceError> {
        // Parents name single-character events, always the last of a transaction.
        let mut by_last_event = BTreeMap::new();
        let mut transactions = Vec::with_capacity(raw.txns.len());
        for (at, transaction) in (0_u32..).zip(raw.txns) {
            let find = |parent: &u32| {
                by_last_event.get(parent).copied().ok_or(TraceError::Parent { transaction: transactions.len(), parent: *parent })
            };
            let parents = transaction.parents.iter().map(find).collect::<Result<_, _>>()?;
            by_last_event.insert(transaction.span.1.saturating_sub(1), at);
            transactions.push(HistoryTransaction {
                parents,
                agent: transaction.agent,
                sequence: transaction.seq_start,
                patches: patches(transaction.ops),
            });
        }
        Ok(Self { transactions, end_content: raw.end_content })
    }
}

fn patches(raw: Vec<(u32, u32, Box<str>)>) -> Vec<TextPatch> {
    raw.into_iter().map(|(position, delete, insert)| TextPatch { position, delete, insert }).collect()
}

/// Appends patches to a burst, joined where they continue one another, unless it would have more than `max`.
fn extend_burst(burst: &mut Vec<TextPatch>, patches: &[TextPatch], max: usize) -> bool {
    let before = (burst.len(), burst.last().cloned());
    for patch in patches {
        let joined = burst.last_mut().is_some_and(|last| join(last, patch));
        if !joined {
            burst.push(patch.clone());
        }
    }
    let fits = burst.len() <= max;
    if !fits {
        burst.truncate(before.0.saturating_sub(1));
        burst.extend(before.1);
    }
    fits
}

/// Makes one patch of two, if the second types on, deletes on, or takes back some of what the first typed.
fn join(last: &mut TextPatch, next: &TextPatch) -> bool {
    let typed = u32::try_from(last.insert.chars().count()).unwrap_or(u32::MAX);
    let end = last.position.saturating_add(typed);
    if next.position == end {
        last.delete = last.delete.saturating_add(next.delete);
        last.insert = [&*last.insert, &*next.insert].concat().into();
        return true;
    }
    if next.insert.is_empty() && typed == 0 && next.position.saturating_add(next.delete) == last.position {
        (last.position, last.delete) = (next.position, last.delete.saturating_add(next.delete));
        return true;
    }
    if next.insert.is_empty() && next.position >= last.position && next.position.saturating_add(next.delete) == end {
        last.insert = last.insert.chars().take(number(typed.saturating_sub(next.delete))).collect();
        return true;
    }
    false
}

/// The new numbers of some parents. A trace that was not parsed may name parents that do not come before; those are left out.
fn named(numbers: &[u32], parents: &[u32]) -> Vec<u32> {
    parents.iter().filter_map(|parent| numbers.get(number(*parent)).copied()).collect()
}

const fn number(index: u32) -> usize {
    index as usize
}

fn last(transactions: &[Transaction]) -> u32 {
    u32::try_from(transactions.len().saturating_sub(1)).unwrap_or(u32::MAX)
}
