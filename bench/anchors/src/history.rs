//! A trace acted out: every agent has a document of its own and sees what its transactions say it had seen.
//!
//! Engines that name positions by their own identifiers cannot be given another engine's positions against a merged past. So each
//! transaction is typed into its agent's document, after that document took in exactly what the transaction's parents include.

use std::collections::BTreeMap;

use anyhow::bail;
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::text::trace::Trace;

/// One agent's document in some engine.
pub(crate) trait Site {
    /// What one transaction sends to others.
    type Update;

    /// Types a transaction and answers what to send. `alone`: nobody will ask for it.
    fn edit(&mut self, patches: &[TextPatch], alone: bool) -> anyhow::Result<Self::Update>;

    /// Takes in what others sent, parents first.
    fn take(&mut self, updates: &[&Self::Update]) -> anyhow::Result<()>;
}

/// Acts out a trace; answers a document that has all of it.
pub(crate) fn act<S: Site>(trace: &Trace, new: impl Fn(u32) -> anyhow::Result<S>) -> anyhow::Result<S> {
    let count = trace.transactions.len();
    let alone = trace.transactions.iter().all(|transaction| transaction.agent == trace.transactions[0].agent);
    let mut sites: BTreeMap<u32, (S, Vec<bool>)> = BTreeMap::new();
    let mut updates: Vec<S::Update> = Vec::with_capacity(count);
    for (number, transaction) in trace.transactions.iter().enumerate() {
        if let std::collections::btree_map::Entry::Vacant(entry) = sites.entry(transaction.agent) {
            entry.insert((new(transaction.agent)?, vec![false; count]));
        }
        let Some((site, has)) = sites.get_mut(&transaction.agent) else { bail!("no document for agent {}", transaction.agent) };
        let news = unseen(trace, &transaction.parents, has);
        take(site, &updates, &news)?;
        has[number] = true;
        updates.push(site.edit(&transaction.patches, alone)?);
    }
    let Some((_, (mut site, mut has))) = sites.pop_first() else { bail!("an empty trace") };
    let all: Vec<u32> = (0..u32::try_from(count)?).collect();
    let rest = unseen(trace, &all, &mut has);
    take(&mut site, &updates, &rest)?;
    Ok(site)
}

fn take<S: Site>(site: &mut S, updates: &[S::Update], numbers: &[u32]) -> anyhow::Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let news: Vec<&S::Update> = numbers.iter().map(|number| &updates[*number as usize]).collect();
    site.take(&news)
}

/// The transactions in the past of `tips` that are not there yet, in order; marks them.
fn unseen(trace: &Trace, tips: &[u32], has: &mut [bool]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut stack = tips.to_vec();
    while let Some(number) = stack.pop() {
        if !std::mem::replace(&mut has[number as usize], true) {
            found.push(number);
            stack.extend_from_slice(&trace.transactions[number as usize].parents);
        }
    }
    found.sort_unstable();
    found
}
