//! The nodes of a workload: what authors know of them, and what they do to them.

use std::collections::BTreeMap;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Domain;
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::op::{OpType, Payload, Place};
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Side;
use serde_json::json;

use super::scribe::{Scribe, Written};
use crate::sim::dice::Dice;

/// How many children a node gets on average: a hundred thousand nodes lie about five deep.
const CHILDREN: u32 = 10;
/// People mostly work on what is recent: how many of the latest nodes that is.
const RECENT: u32 = 1_000;
/// How much each kind of change weighs: edits, metadata, moves, mentions, deletes.
const WEIGHTS: [u64; 5] = [80, 8, 6, 5, 1];

const WORDS: [&str; 16] =
    ["sync", "node", "the", "of", "outline", "a", "device", "is", "writes", "offline", "and", "merges", "later", "with", "other", "people"];

/// What everybody knew of a node when the round began.
#[derive(Debug)]
struct Node {
    heads: Vec<Written>,
    /// Its text has at least so many characters.
    chars: u32,
    /// The operation that placed its last child.
    last_child: Option<Written>,
}

/// What one author made of a node in this round.
#[derive(Clone, Copy, Debug, Default)]
struct Mine {
    head: Option<Written>,
    chars: i64,
    last_child: Option<Written>,
}

#[derive(Debug)]
pub(super) struct Nodes {
    seed: u64,
    nodes: Vec<Node>,
    /// Nodes that were there when the round began.
    settled: u32,
    /// By node and author.
    round: BTreeMap<(u32, u32), Mine>,
}

impl Nodes {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, nodes: Vec::new(), settled: 0, round: BTreeMap::new() }
    }

    pub(super) fn made(&self) -> u32 {
        self.nodes.len() as u32
    }

    pub(super) const fn settled(&self) -> u32 {
        self.settled
    }

    /// A node's id: a UUID without regularity.
    pub(super) fn id(&self, node: u32) -> NodeId {
        let hash = Domain::Secret.hash_parts(&[b"testnet node", &self.seed.to_le_bytes(), &node.to_le_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        NodeId::Uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Makes the next node.
    pub(super) fn create(&mut self, scribe: &mut Scribe, author: u32, dice: &mut Dice, time: Timestamp) {
        let node = self.made();
        // The first ones lie at the top, the others each under one a tenth as old; one that is not known yet will not do.
        let parent = (node / CHILDREN).checked_sub(1).filter(|parent| *parent < self.settled);
        let (parent_id, anchor) = self.place(scribe, author, parent);
        let text = words(dice, 60, 100);
        let chars = text.chars().count() as u32;
        let payload = Payload {
            text: Some(TextChange::Replace(text)),
            node_type: Some("text".into()),
            place: Some(Place { parent: parent_id, anchor, side: Side::Right }),
            ..Payload::default()
        };
        let written = scribe.write(&self.id(node), OpType::Create, &[], &payload, time);
        self.nodes.push(Node { heads: Vec::new(), chars, last_child: None });
        self.round.insert((node, author), Mine { head: Some(written), ..Mine::default() });
        self.note_child(author, parent, written);
    }

    /// Changes some node that everybody knows.
    pub(super) fn change(&mut self, scribe: &mut Scribe, author: u32, dice: &mut Dice, time: Timestamp) {
        let recent = RECENT.min(self.settled);
        let drawn =
            if dice.chance(300) { self.settled - 1 - dice.below(recent.into()) as u32 } else { dice.below(self.settled.into()) as u32 };
        let mut mine = self.round.get(&(drawn, author)).copied().unwrap_or_default();
        let mut placed_under = None;
        let (kind, payload) = match dice.weighted(&WEIGHTS) {
            0 => (OpType::Update, self.edit(drawn, &mut mine, dice)),
            1 => {
                let metadata = json!({ "status": WORDS[dice.index(WORDS.len())], "priority": dice.below(5) });
                (OpType::Metadata, Payload { metadata: Some(metadata), ..Payload::default() })
            }
            2 => {
                let parent = dice.below(self.settled.into()) as u32;
                placed_under = Some(parent);
                let (parent, anchor) = self.place(scribe, author, Some(parent));
                (OpType::Move, Payload { place: Some(Place { parent, anchor, side: Side::Right }), ..Payload::default() })
            }
            3 => {
                let mentioned = self.id(dice.below(self.settled.into()) as u32);
                (OpType::Update, Payload { mentions_added: vec![mentioned], ..Payload::default() })
            }
            _ => (OpType::Delete, Payload { soft_delete: Some(true), ..Payload::default() }),
        };
        let heads = self.nodes[drawn as usize].heads.as_slice();
        let parents = mine.head.as_ref().map_or(heads, std::slice::from_ref);
        let written = scribe.write(&self.id(drawn), kind, parents, &payload, time);
        let entry = self.round.entry((drawn, author)).or_default();
        (entry.head, entry.chars) = (Some(written), mine.chars);
        if placed_under.is_some() {
            self.note_child(author, placed_under, written);
        }
    }

    /// Types a few words somewhere, now and then over a few characters.
    fn edit(&self, node: u32, mine: &mut Mine, dice: &mut Dice) -> Payload {
        // Deletions of others may overlap with ours: the text then has more than this.
        let chars = (i64::from(self.nodes[node as usize].chars) + mine.chars).max(0) as u64;
        let delete = if dice.chance(150) { dice.below(chars.min(4) + 1) } else { 0 };
        let position = dice.below(chars - delete + 1);
        let text = words(dice, 4, 14);
        mine.chars += text.chars().count() as i64 - delete as i64;
        Payload { text: Some(TextChange::Edits(vec![TextPatch::new(position as u32, delete as u32, text)])), ..Payload::default() }
    }

    /// Behind the last child of a parent, as far as the author knows.
    fn place(&self, scribe: &Scribe, author: u32, parent: Option<u32>) -> (Option<NodeId>, nodespace_protocol::op::PlaceAnchor) {
        let Some(parent) = parent else { return (None, scribe.anchor(None)) };
        let mine = self.round.get(&(parent, author)).and_then(|mine| mine.last_child);
        let last = mine.or(self.nodes[parent as usize].last_child);
        (Some(self.id(parent)), scribe.anchor(last.as_ref()))
    }

    fn note_child(&mut self, author: u32, parent: Option<u32>, placed: Written) {
        if let Some(parent) = parent {
            self.round.entry((parent, author)).or_default().last_child = Some(placed);
        }
    }

    /// Everybody learns what the others wrote.
    pub(super) fn end_round(&mut self) {
        let mut last = None;
        for ((node, _), mine) in std::mem::take(&mut self.round) {
            let entry = &mut self.nodes[node as usize];
            if let Some(head) = mine.head {
                // All who wrote in this round wrote after what was there before it.
                if last != Some(node) {
                    entry.heads.clear();
                    last = Some(node);
                }
                entry.heads.push(head);
            }
            entry.chars = (i64::from(entry.chars) + mine.chars).max(0) as u32;
            entry.last_child = mine.last_child.or(entry.last_child);
        }
        self.settled = self.made();
    }
}

/// Small words, `least` to `most` characters of them.
fn words(dice: &mut Dice, least: u64, most: u64) -> String {
    let chars = dice.between(least, most) as usize;
    let mut text = String::with_capacity(chars + 8);
    while text.len() < chars {
        text.push_str(WORDS[dice.index(WORDS.len())]);
        text.push(' ');
    }
    text.truncate(chars);
    text
}
