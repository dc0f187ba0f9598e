//! The text of a node at any heads, under any strategy, computed from its graph.
//!
//! This is the definition; [`super::text`] is the quick way for the common case. The text *at an operation* is the text at its
//! parents with its own change applied. The text at several heads is merged by the strategy:
//!
//! - **OperationalTransform**: every operation belongs to a *base*: the text of the last replacement below it. One base wins (see
//!   [`Evaluation::winner`]); the edits on it are merged by [`crate::text`], the others stay readable in the conflict record.
//! - **ThreeWayMerge**, **MergeWhenPossible**: diff3 by lines of the heads in the order of their hashes, each against the text at the
//!   common history. Overlapping hunks take the later side, or, for MergeWhenPossible, the whole later text holds.
//! - **LastWriteWins**, **UserChooses**: the later head's text.
//!
//! Under the last four, an operation that follows several heads starts a base of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use super::text::change_of;
use crate::clock::Stamp;
use crate::conflict::ResolutionStrategy;
use crate::crypto::Domain;
use crate::delta::TextChange;
use crate::graph::Window;
use crate::ids::OpHash;
use crate::merge3::{Granularity, Side, merge3};
use crate::op::OpType;
use crate::store::{OpIndex, Store, StoreError};
use crate::text::{EventIndex, TextMerge, apply_patches};

/// How deep common histories of common histories are followed; beyond it the base of a three-way merge is the window's.
pub(crate) const NESTING_MAX: usize = 32;

/// The name of a base: its predecessor and its text. Equal replacements of equal bases are one base.
type BaseId = [u8; 32];

/// A text, and whether every side's changes are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) text: String,
    pub(crate) clean: bool,
}

/// The text at `heads` under `strategy`.
pub(crate) fn text_at<S: Store>(context: &Context<'_, S>, heads: &[OpIndex], strategy: ResolutionStrategy) -> Result<Merged, StoreError> {
    let evaluation = Evaluation::new(context, heads)?;
    if let ([], Some(text)) = (evaluation.window.ops.as_slice(), &evaluation.base_text) {
        return Ok(Merged { text: text.clone(), clean: true });
    }
    let version = evaluation.window.places(heads);
    Ok(evaluation.merged(&version, strategy, 0))
}

/// Everything known about a window's texts.
struct Evaluation {
    window: Window,
    /// The text below the window; empty at the beginning of a node.
    base_text: Option<String>,
    /// By place in the window.
    at: Vec<AtOp>,
    /// The text a base starts with.
    base_texts: BTreeMap<BaseId, String>,
}

/// An operation's text.
struct AtOp {
    text: String,
    base: BaseId,
    /// Its edits, when they fit.
    edits: Option<Vec<crate::text::TextPatch>>,
    /// Whether it starts its base.
    starts: bool,
    /// Bases in its past, its own included.
    seen: BTreeSet<BaseId>,
}

const ROOT: BaseId = [0; 32];

impl Evaluation {
    fn new<S: Store>(context: &Context<'_, S>, heads: &[OpIndex]) -> Result<Self, StoreError> {
        // A base whose text is in its own payload.
        let whole = |op: &crate::op::Op| {
            matches!(op.header.kind, OpType::Create | OpType::Update)
                && op.decode_payload().is_ok_and(|payload| matches!(payload.text, Some(TextChange::Replace(_))))
        };
        let mut window = context.graph.window(heads, whole)?;
        let mut base_text = None;
        if let Some(index) = window.base.first() {
            match change_of(context, *index, &*context.graph.op(*index)?)? {
                Some(TextChange::Replace(text)) => base_text = Some(text),
                // It has no effect after all: start from the beginning.
                _ => window = context.graph.window(heads, |_| false)?,
            }
        }
        let mut base_texts = BTreeMap::new();
        base_texts.insert(ROOT, base_text.clone().unwrap_or_default());
        let mut evaluation = Self { window, base_text, at: Vec::new(), base_texts };
        for place in 0..evaluation.window.ops.len() {
            let op = &evaluation.window.ops[place];
            let change = change_of(context, op.index, &op.op)?;
            let strategy = context.text_strategy_of(op.index, &op.op);
            evaluation.step(place, change, strategy);
        }
        Ok(evaluation)
    }

    fn root_text(&self) -> &str {
        self.base_text.as_deref().unwrap_or_default()
    }

    /// Computes the text at the operation at `place`; those before it are done.
    fn step(&mut self, place: usize, change: Option<TextChange>, strategy: ResolutionStrategy) {
        let parents = self.window.ops[place].parents.clone();
        let mut seen: BTreeSet<BaseId> = parents.iter().flat_map(|parent| self.at[*parent].seen.iter().copied()).collect();
        seen.insert(ROOT);
        let (mut text, mut base, mut starts) = match parents.as_slice() {
            [] => (self.root_text().to_owned(), ROOT, false),
            [only] => (self.at[*only].text.clone(), self.at[*only].base, false),
            several => {
                let merged = self.merged(several, strategy, 0);
                if strategy == ResolutionStrategy::OperationalTransform {
                    (merged.text, self.winner(several), false)
                } else {
                    let hashes: Vec<OpHash> = several.iter().map(|parent| self.window.ops[*parent].op.hash).collect();
                    (merged.text, merged_base(hashes), true)
                }
            }
        };
        if starts {
            self.base_texts.insert(base, text.clone());
        }
        let mut edits = None;
        match change {
            Some(TextChange::Replace(new)) => {
                base = Domain::TextBase.hash_parts(&[&base, new.as_bytes()]);
                self.base_texts.insert(base, new.clone());
                (text, starts) = (new, true);
            }
            Some(TextChange::Edits(patches)) if apply_patches(&mut text, &patches).is_ok() => edits = Some(patches),
            _ => {}
        }
        seen.insert(base);
        self.at.push(AtOp { text, base, edits, starts, seen });
    }

    /// The text at several operations, none of which is in another's past.
    fn merged(&self, version: &[usize], strategy: ResolutionStrategy, depth: usize) -> Merged {
        match version {
            [] => return Merged { text: self.root_text().to_owned(), clean: true },
            [only] => return Merged { text: self.at[*only].text.clone(), clean: true },
            _ => {}
        }
        match strategy {
            ResolutionStrategy::OperationalTransform => self.transformed(version),
            ResolutionStrategy::LastWriteWins | ResolutionStrategy::UserChooses => {
                let same = version.windows(2).all(|pair| self.at[pair[0]].text == self.at[pair[1]].text);
                Merged { text: self.at[self.latest(version)].text.clone(), clean: same }
            }
            ResolutionStrategy::ThreeWayMerge | ResolutionStrategy::MergeWhenPossible => self.three_way(version, strategy, depth),
        }
    }

    fn stamp(&self, place: usize) -> Stamp {
        self.window.ops[place].op.stamp()
    }

    /// The place whose operation is last in the total order.
    fn latest(&self, version: &[usize]) -> usize {
        version.iter().copied().max_by_key(|place| self.stamp(*place)).unwrap_or_default()
    }

    fn three_way(&self, version: &[usize], strategy: ResolutionStrategy, depth: usize) -> Merged {
        let mut order = version.to_vec();
        order.sort_unstable_by_key(|place| self.window.ops[*place].op.hash);
        let mut joined = vec![order[0]];
        let mut result = Merged { text: self.at[order[0]].text.clone(), clean: true };
        for head in order.into_iter().skip(1) {
            let base = if depth < NESTING_MAX {
                let common = self.common(&joined, head);
                self.merged(&common, strategy, depth + 1).text
            } else {
                self.root_text().to_owned()
            };
            let other = &self.at[head].text;
            let merge = merge3(&base, &result.text, other, Granularity::Line);
            let later_is_other = self.stamp(head) > self.stamp(self.latest(&joined));
            result.clean &= merge.is_clean();
            result.text = if merge.is_clean() || strategy == ResolutionStrategy::ThreeWayMerge {
                merge.text_preferring(if later_is_other { Side::Right } else { Side::Left })
            } else if later_is_other {
                other.clone()
            } else {
                result.text
            };
            joined.push(head);
        }
        if !result.clean && strategy == ResolutionStrategy::MergeWhenPossible {
            result.text = self.at[self.latest(version)].text.clone();
        }
        result
    }

    /// Operations before-or-equal any of `tips`.
    fn past(&self, tips: &[usize]) -> BTreeSet<usize> {
        let mut past: BTreeSet<usize> = BTreeSet::new();
        let mut stack = tips.to_vec();
        while let Some(place) = stack.pop() {
            if past.insert(place) {
                stack.extend(self.window.ops[place].parents.iter().copied());
            }
        }
        past
    }

    /// The heads of the history that `joined` and `head` share.
    fn common(&self, joined: &[usize], head: usize) -> Vec<usize> {
        let shared: BTreeSet<usize> = self.past(joined).intersection(&self.past(&[head])).copied().collect();
        let parents: BTreeSet<usize> = shared.iter().flat_map(|place| self.window.ops[*place].parents.iter().copied()).collect();
        shared.difference(&parents).copied().collect()
    }

    /// The base that holds where several meet: one that no other has replaced knowingly; among those, the one whose latest
    /// replacement is last in the total order.
    fn winner(&self, version: &[usize]) -> BaseId {
        let bases: BTreeSet<BaseId> = version.iter().map(|place| self.at[*place].base).collect();
        if let (1, Some(only)) = (bases.len(), bases.first()) {
            return *only;
        }
        let mut seen_by: BTreeMap<BaseId, BTreeSet<BaseId>> = BTreeMap::new();
        let mut latest: BTreeMap<BaseId, Stamp> = BTreeMap::new();
        for place in self.past(version) {
            let at = &self.at[place];
            if at.starts && bases.contains(&at.base) {
                seen_by.entry(at.base).or_default().extend(at.seen.iter().copied().filter(|seen| *seen != at.base));
                let stamp = self.stamp(place);
                latest.entry(at.base).and_modify(|known| *known = stamp.max(*known)).or_insert(stamp);
            }
        }
        let replaced = |base: &BaseId| seen_by.iter().any(|(by, seen)| by != base && seen.contains(base));
        let standing: Vec<BaseId> = bases.iter().copied().filter(|base| !replaced(base)).collect();
        let candidates = if standing.is_empty() { bases.into_iter().collect() } else { standing };
        candidates.into_iter().max_by_key(|base| latest.get(base).copied()).unwrap_or(ROOT)
    }

    fn transformed(&self, version: &[usize]) -> Merged {
        let base = self.winner(version);
        let base_text = self.base_texts.get(&base).cloned().unwrap_or_default();
        let mut merge = TextMerge::new(base_text.chars().count() as u32);
        let mut events: BTreeMap<usize, EventIndex> = BTreeMap::new();
        for place in self.past(version) {
            let at = &self.at[place];
            let parents: Vec<EventIndex> = self.window.ops[place].parents.iter().filter_map(|parent| events.get(parent).copied()).collect();
            let patches = at.edits.as_deref().filter(|_| at.base == base).unwrap_or_default();
            if let Ok(event) = merge.push(&parents, self.window.ops[place].op.hash, patches) {
                events.insert(place, event);
            }
        }
        let mut text = crate::text::GapBuffer::from(base_text.as_str());
        merge.merge(&mut text);
        let clean = version.iter().all(|place| self.at[*place].base == base);
        Merged { text: text.to_string(), clean }
    }
}

fn merged_base(mut hashes: Vec<OpHash>) -> BaseId {
    hashes.sort_unstable();
    let parts: Vec<&[u8]> = std::iter::once(b"merged".as_slice()).chain(hashes.iter().map(|hash| hash.0.as_slice())).collect();
    Domain::TextBase.hash_parts(&parts)
}
