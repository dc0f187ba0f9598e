//! The tree at rest, in a checkpoint.
//!
//! What is kept is what came in: ids by number, and placements by number with the numbers they refer to. Order and parents follow from
//! it and are made anew when it is read: one sort and one replay. Both lists only grow, but for the rare placement that is
//! removed, so they are kept in chunks and a checkpoint writes those that changed: mostly the last one of each.

use super::arena::{NONE, Operations, Place, State, TOP};
use super::order::Work;
use super::{Side, Tree};
use crate::clock::{Stamp, Timestamp};
use crate::fold::record::{put_node_id, read_node_id};
use crate::ids::{NodeId, OpHash};
use crate::wire::{DecodeError, Reader, put_int, put_uint};

/// Ids or placements in one chunk.
pub(super) const CHUNK: usize = 512;

/// A placement is held, beside being mentioned.
const HELD: u8 = 1;
/// It stands on the left of its anchor.
const LEFT: u8 = 2;
/// It has an anchor.
const ANCHORED: u8 = 4;

/// What a checkpoint takes up of a tree: chunks by number.
#[derive(Debug, Default)]
pub(crate) struct TreeAtRest {
    pub(crate) nodes: Vec<(u32, Vec<u8>)>,
    pub(crate) places: Vec<(u32, Vec<u8>)>,
}

impl Tree {
    /// What the last checkpoint lacks.
    pub(crate) fn begin_save(&mut self) -> TreeAtRest {
        let (nodes, operations) = (self.nodes.unsaved.begin().to_vec(), self.operations.unsaved.begin().to_vec());
        TreeAtRest {
            nodes: nodes.into_iter().map(|chunk| (chunk, self.node_chunk(chunk))).collect(),
            places: operations.into_iter().map(|chunk| (chunk, self.place_chunk(chunk))).collect(),
        }
    }

    /// A checkpoint was kept, or was not.
    pub(crate) fn finish_save(&mut self, saved: bool) {
        self.nodes.unsaved.finish(saved);
        self.operations.unsaved.finish(saved);
    }

    fn node_chunk(&self, chunk: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(CHUNK * 17);
        let first = chunk as usize * CHUNK + 1;
        for node in first..(first + CHUNK).min(self.nodes.len() + 1) {
            put_node_id(&mut out, &self.nodes.id(node as u32));
        }
        out
    }

    fn place_chunk(&self, chunk: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(CHUNK * 48);
        let first = chunk as usize * CHUNK;
        let mut before = Before::default();
        for number in first..(first + CHUNK).min(self.operations.places.len()) {
            put_place(&mut out, number, &self.operations, &mut before);
        }
        out
    }
}

/// What numbers are written as differences to.
#[derive(Default)]
struct Before {
    timestamp: u64,
    version: u64,
    node: u32,
}

fn put_place(out: &mut Vec<u8>, number: usize, operations: &Operations, before: &mut Before) {
    let (stamp, place) = (&operations.stamps[number], &operations.places[number]);
    if place.state == State::Absent {
        out.push(0);
        out.extend_from_slice(&stamp.hash.0);
        return;
    }
    let side = if place.side == Side::Left { LEFT } else { 0 };
    out.push(HELD | side | if place.anchor == NONE { 0 } else { ANCHORED });
    out.extend_from_slice(&stamp.hash.0);
    put_int(out, stamp.timestamp.0.wrapping_sub(before.timestamp) as i64);
    put_int(out, stamp.version.wrapping_sub(before.version) as i64);
    put_int(out, i64::from(place.node) - i64::from(before.node));
    put_uint(out, place.parent.into());
    if place.anchor != NONE {
        put_int(out, number as i64 - i64::from(place.anchor));
    }
    *before = Before { timestamp: stamp.timestamp.0, version: stamp.version, node: place.node };
}

/// A tree that is being read.
#[derive(Debug, Default)]
pub(crate) struct TreeReader(Tree);

impl TreeReader {
    /// Makes room for so many ids and placements. A hint: what is read is bounded by the bytes that are there.
    pub(crate) fn reserve(&mut self, nodes: usize, places: usize) {
        self.0.nodes.reserve(nodes);
        self.0.operations.reserve(places);
        self.0.log.reserve_exact(places);
    }

    /// Reads a chunk of ids; all in order.
    pub(crate) fn read_nodes(&mut self, chunk: u32, bytes: &[u8]) -> Result<(), DecodeError> {
        let nodes = &mut self.0.nodes;
        if nodes.len() != chunk as usize * CHUNK {
            return Err(DecodeError::Invalid("the ids of a tree are not in order"));
        }
        let mut reader = Reader::new(bytes);
        while reader.remaining() > 0 {
            let id: NodeId = read_node_id(&mut reader)?;
            if nodes.intern(&id) as usize != nodes.len() {
                return Err(DecodeError::Invalid("an id comes twice in a tree"));
            }
        }
        Ok(())
    }

    /// Reads a chunk of placements; all in order.
    pub(crate) fn read_places(&mut self, chunk: u32, bytes: &[u8]) -> Result<(), DecodeError> {
        let operations = &mut self.0.operations;
        if operations.places.len() != chunk as usize * CHUNK {
            return Err(DecodeError::Invalid("the placements of a tree are not in order"));
        }
        let mut reader = Reader::new(bytes);
        let mut before = Before::default();
        while reader.remaining() > 0 {
            read_place(&mut reader, operations, &mut before)?;
        }
        Ok(())
    }

    /// The tree, with nothing to report by [`Tree::take_changed`] and nothing that a checkpoint lacks.
    pub(crate) fn finish(self) -> Result<Tree, DecodeError> {
        let mut tree = self.0;
        let (nodes, places) = (tree.nodes.len() as u32 + 1, tree.operations.places.len() as u32);
        let mut fresh: Vec<u32> = Vec::with_capacity(places as usize);
        for (number, place) in (0..).zip(&tree.operations.places) {
            if place.state == State::Absent {
                continue;
            }
            let anchored = place.anchor == NONE || place.anchor < places;
            if place.node >= nodes || place.node == TOP || place.parent >= nodes || !anchored {
                return Err(DecodeError::Invalid("a placement refers to what is not there"));
            }
            fresh.push(number);
        }
        let mut work = Work::default();
        fresh.sort_by_key(|&place| tree.operations.stamps[place as usize].version);
        for &place in &fresh {
            tree.link(place, &mut work);
        }
        tree.settle(&work);
        fresh.sort_by(|&a, &b| tree.operations.stamp(a).cmp(tree.operations.stamp(b)));
        tree.replay(&fresh);
        tree.pending = super::Pending::default();
        tree.nodes.unsaved.take();
        tree.operations.unsaved.take();
        Ok(tree)
    }
}

fn read_place(reader: &mut Reader<'_>, operations: &mut Operations, before: &mut Before) -> Result<(), DecodeError> {
    const WHAT: &str = "a placement";
    const RANGE: DecodeError = DecodeError::Invalid("a placement refers to what is not there");
    let flags = reader.byte(WHAT)?;
    let hash = OpHash(reader.array(WHAT)?);
    let (number, known) = operations.intern(hash);
    if known || flags & !(HELD | LEFT | ANCHORED) != 0 {
        return Err(DecodeError::Invalid("a placement comes twice in a tree, or is of no known form"));
    }
    if flags & HELD == 0 {
        return Ok(());
    }
    let timestamp = before.timestamp.wrapping_add(reader.int(WHAT)? as u64);
    let version = before.version.wrapping_add(reader.int(WHAT)? as u64);
    let node = i64::from(before.node).checked_add(reader.int(WHAT)?).and_then(|node| u32::try_from(node).ok()).ok_or(RANGE)?;
    let parent = u32::try_from(reader.uint(WHAT)?).map_err(|_| RANGE)?;
    let anchor = match flags & ANCHORED {
        0 => NONE,
        _ => i64::from(number).checked_sub(reader.int(WHAT)?).and_then(|anchor| u32::try_from(anchor).ok()).ok_or(RANGE)?,
    };
    operations.stamps[number as usize] = Stamp { timestamp: Timestamp(timestamp), version, hash };
    let place: &mut Place = &mut operations.places[number as usize];
    (place.node, place.parent, place.anchor, place.state) = (node, parent, anchor, State::Fresh);
    place.side = if flags & LEFT == 0 { Side::Right } else { Side::Left };
    *before = Before { timestamp, version, node };
    Ok(())
}
