//! What an import will do to one document: for each node of the file the node it is here, or that it is new.
//!
//! ```text
//! last import (or the tree) --+
//!                             +--align--> each node of the file: which node here, changed by the file or not, elsewhere or not
//! file --parse--> outline ----+           and which nodes have vanished
//! ```
//!
//! A plan is made from a snapshot and carried out later, in parts, while others write. So it says what the *file* did; what is to be
//! written is decided node by node when its turn comes ([`super::apply`]).

use std::collections::{HashMap, HashSet};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Store, StoreError};

use super::align::{align, longest_ascending};
use super::found;
use super::identity::{ContentHash, Minter, content_hash};
use super::known::{Known, KnownDocument, known};
use super::likeness::Words;
use super::path::DocumentPath;
use super::record::{Record, RecordedNode};
use super::{Outline, OutlineKind};

/// How alike a heading and a paragraph must be, say, to be taken for one node whose kind was changed.
const OTHER_KIND_LIKENESS_MIN: f32 = 0.5;

/// What a node was in the file before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) kind: OutlineKind,
    pub(super) text: ContentHash,
    /// Whether the file certainly had that, and not somebody here.
    pub(super) certain: bool,
}

/// A node of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) id: NodeId,
    /// The hash of its text in the file.
    pub(super) text: ContentHash,
    /// None when it is new in the file.
    pub(super) before: Option<Before>,
    /// Whether the file has it elsewhere now.
    pub(super) moves: bool,
}

/// What to do to a document.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) path: DocumentPath,
    pub(super) outline: Outline,
    /// One for each node of the outline.
    pub(super) nodes: Vec<Planned>,
    /// Nodes that are not in the file any more, in outline order.
    pub(super) vanished: Vec<Known>,
}

/// What tells whether two nodes are the same: one that was recognised by its id, or kind and text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Token {
    Claimed(usize),
    Block(&'static str, ContentHash),
}

impl Plan {
    /// Plans a document. `document` is its node's id when nothing is recorded of it.
    pub(super) fn make<S: Store>(
        replica: &Replica<S>,
        minter: &Minter,
        path: DocumentPath,
        document: NodeId,
        outline: Outline,
        record: Option<Record>,
    ) -> Result<Self, StoreError> {
        let old = known(replica, minter, &path, &document, record)?;
        let document = old.nodes.first().map_or(document, |node| node.id.clone());
        let texts: Vec<ContentHash> = outline.nodes.iter().map(|node| content_hash(&node.content)).collect();
        let file = File { path: &path, outline: &outline, texts: &texts, minter };
        let claims = if old.recorded { HashMap::new() } else { file.claims(replica)? };
        let matched = matched(replica, &old, &file, &claims)?;
        let nodes = file.planned(document, &old, &matched, &claims);
        let used: HashSet<&NodeId> = nodes.iter().map(|node| &node.id).collect();
        let vanished = old.nodes.into_iter().skip(1).filter(|node| !used.contains(&node.id)).collect();
        Ok(Self { nodes, vanished, path, outline })
    }

    /// What to keep of this import for the next.
    pub(super) fn record(&self) -> Record {
        let recorded = |(node, planned): (&super::OutlineNode, &Planned)| RecordedNode {
            id: planned.id.clone(),
            kind: node.kind.clone(),
            text: planned.text,
            parent: node.parent,
        };
        Record { nodes: self.outline.nodes.iter().zip(&self.nodes).map(recorded).collect() }
    }
}

/// The file, taken apart.
struct File<'a> {
    path: &'a DocumentPath,
    outline: &'a Outline,
    texts: &'a [ContentHash],
    minter: &'a Minter,
}

impl File<'_> {
    /// Nodes that exist under the very id this file's text gives them: imported before, here or elsewhere, whatever became of them since.
    fn claims<S: Store>(&self, replica: &Replica<S>) -> Result<HashMap<NodeId, usize>, StoreError> {
        let mut claims = HashMap::new();
        let mut occurrences: HashMap<(&str, ContentHash), u32> = HashMap::new();
        for (at, node) in self.outline.nodes.iter().enumerate().skip(1) {
            let occurrence = occurrences.entry((node.kind.name(), self.texts[at])).or_default();
            let id = self.minter.block(self.path.as_str(), node.kind.name(), &self.texts[at], *occurrence);
            *occurrence += 1;
            if found::exists(replica, &id)? {
                claims.insert(id, at);
            }
        }
        Ok(claims)
    }

    /// Puts together what was found out about each node, and gives ids to new ones.
    fn planned(&self, document: NodeId, old: &KnownDocument, matched: &[Option<usize>], claims: &HashMap<NodeId, usize>) -> Vec<Planned> {
        let claimed_by: HashMap<usize, &NodeId> = claims.iter().map(|(id, at)| (*at, id)).collect();
        let mut taken: HashSet<NodeId> = old.nodes.iter().map(|node| node.id.clone()).chain(claims.keys().cloned()).collect();
        let mut occurrences: HashMap<(&str, ContentHash), u32> = HashMap::new();
        let stays = self.stays(old, matched);
        let mut nodes = Vec::with_capacity(self.outline.nodes.len());
        for (at, node) in self.outline.nodes.iter().enumerate() {
            let text = self.texts[at];
            let as_in_file = Some(Before { kind: node.kind.clone(), text, certain: true });
            let (id, before) = if at == 0 {
                let before = old.nodes.first().filter(|_| old.recorded).map(before);
                (document.clone(), before.or(as_in_file))
            } else if let Some(id) = claimed_by.get(&at) {
                // Marker and level are no part of the id: whether they changed in the file can be seen.
                let kind = matched[at].map_or(&node.kind, |from| &old.nodes[from].kind).clone();
                ((*id).clone(), Some(Before { kind, text, certain: true }))
            } else if let Some(from) = matched[at] {
                (old.nodes[from].id.clone(), Some(before(&old.nodes[from])))
            } else {
                (self.fresh(at, &mut occurrences, &mut taken), None)
            };
            nodes.push(Planned { id, text, before, moves: at > 0 && !stays[at] });
        }
        nodes
    }

    /// The first id for this text that is not taken.
    fn fresh<'a>(&'a self, at: usize, occurrences: &mut HashMap<(&'a str, ContentHash), u32>, taken: &mut HashSet<NodeId>) -> NodeId {
        let kind = self.outline.nodes[at].kind.name();
        let occurrence = occurrences.entry((kind, self.texts[at])).or_default();
        loop {
            let id = self.minter.block(self.path.as_str(), kind, &self.texts[at], *occurrence);
            *occurrence += 1;
            if taken.insert(id.clone()) {
                return id;
            }
        }
    }

    /// Which nodes are where they were: under the same parent, and in the order in which most of its children still are.
    fn stays(&self, old: &KnownDocument, matched: &[Option<usize>]) -> Vec<bool> {
        let mut families: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        for (at, node) in self.outline.nodes.iter().enumerate() {
            if let (Some(parent), Some(from)) = (node.parent, matched[at])
                && matched[parent].is_some()
                && matched[parent] == old.nodes[from].parent
            {
                families.entry(parent).or_default().push((at, from));
            }
        }
        let mut stays = vec![false; matched.len()];
        for family in families.values() {
            let marks = longest_ascending(&family.iter().map(|(_, from)| *from).collect::<Vec<_>>());
            family.iter().zip(marks).for_each(|((at, _), mark)| stays[*at] = mark);
        }
        stays
    }
}

fn before(node: &Known) -> Before {
    Before { kind: node.kind.clone(), text: node.text, certain: node.certain }
}

/// For each node of the file the index of the known one it is.
fn matched<S: Store>(
    replica: &Replica<S>,
    old: &KnownDocument,
    file: &File<'_>,
    claims: &HashMap<NodeId, usize>,
) -> Result<Vec<Option<usize>>, StoreError> {
    let claimed: HashSet<usize> = claims.values().copied().collect();
    let old_token = |node: &Known| claims.get(&node.id).map_or_else(|| Token::Block(node.kind.name(), node.text), |at| Token::Claimed(*at));
    let new_token = |at: usize| match claimed.contains(&at) {
        true => Token::Claimed(at),
        false => Token::Block(file.outline.nodes[at].kind.name(), file.texts[at]),
    };
    let old_tokens: Vec<Token> = old.nodes.iter().skip(1).map(old_token).collect();
    let new_tokens: Vec<Token> = (1..file.outline.nodes.len()).map(new_token).collect();
    let mut comparison = Comparison { replica, old, file, words: HashMap::new(), failure: None };
    let mut likeness = |from: usize, to: usize| match (&old_tokens[from], &new_tokens[to]) {
        (Token::Block(..), Token::Block(..)) => comparison.likeness(from + 1, to + 1),
        _ => None,
    };
    let aligned = align(&old_tokens, &new_tokens, &mut likeness);
    if let Some(failure) = comparison.failure {
        return Err(failure);
    }
    let document = (!old.nodes.is_empty()).then_some(0);
    Ok(std::iter::once(document).chain(aligned.into_iter().map(|from| from.map(|from| from + 1))).collect())
}

/// Compares texts here with texts of the file.
struct Comparison<'a, S> {
    replica: &'a Replica<S>,
    old: &'a KnownDocument,
    file: &'a File<'a>,
    /// By side and index: a text is compared with many.
    words: HashMap<(bool, usize), Words>,
    failure: Option<StoreError>,
}

impl<S: Store> Comparison<'_, S> {
    fn likeness(&mut self, from: usize, to: usize) -> Option<f32> {
        let (old, new) = (&self.old.nodes[from].kind, &self.file.outline.nodes[to].kind);
        let same_kind = old.name() == new.name();
        if !same_kind && [old, new].contains(&&OutlineKind::FrontMatter) {
            return None;
        }
        self.load(from, to);
        let likeness = self.words.get(&(false, from))?.likeness(self.words.get(&(true, to))?);
        if same_kind { Some(likeness) } else { (likeness >= OTHER_KIND_LIKENESS_MIN).then_some(likeness / 2.0) }
    }

    fn load(&mut self, from: usize, to: usize) {
        if !self.words.contains_key(&(false, from)) {
            match found::words(self.replica, &self.old.nodes[from].id) {
                Ok(words) => drop(self.words.insert((false, from), words)),
                Err(failure) => self.failure = Some(failure),
            }
        }
        let text = || Words::of(&self.file.outline.nodes[to].content);
        self.words.entry((true, to)).or_insert_with(text);
    }
}
