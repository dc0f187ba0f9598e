//! Finding the conflicts between histories that meet.
//!
//! Given several operations of a node's graph, none in another's past, the operations since their common history are loaded.
//! Each gets a mask of the sides that have seen it; two operations are on different sides when their masks are disjoint, and
//! only such pairs can collide. Of each side, the last operation on a field speaks for it. The work is linear in what is concurrent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Conflict, ConflictType, Policy, ResolutionStrategy};
use crate::delta::TextChange;
use crate::fold::metadata::{Assignment, assignments};
use crate::fold::{Context, text_strategy};
use crate::graph::Window;
use crate::ids::OpHash;
use crate::op::{Op, OpType, Payload, Place};
use crate::store::{OpIndex, Store, StoreError};
use crate::text::{CHARS_MAX, EventIndex, TextMerge};

/// The most sides that are told apart; of more heads the first ones by hash are compared.
pub const SIDES_MAX: usize = 64;

/// An operation that not every side has seen.
struct Apart {
    place: usize,
    mask: u64,
    op: Arc<Op>,
    payload: Payload,
}

/// The conflicts between `sides`, each met by the strategy that `policy` says. Ascending by id.
pub(crate) fn detect<S: Store>(context: &Context<'_, S>, sides: &[OpIndex], policy: &Policy) -> Result<Vec<Conflict>, StoreError> {
    let mut sides: Vec<(OpHash, OpIndex)> =
        sides.iter().map(|side| Ok((context.graph.op(*side)?.hash, *side))).collect::<Result<_, StoreError>>()?;
    sides.sort_unstable();
    sides.truncate(SIDES_MAX);
    let sides: Vec<OpIndex> = sides.into_iter().map(|(_, side)| side).collect();
    if sides.len() < 2 {
        return Ok(Vec::new());
    }
    let each: Vec<&[OpIndex]> = sides.iter().map(std::slice::from_ref).collect();
    let window = context.graph.window_above(&sides, &each)?;
    let heads = window.places(&sides);
    if heads.len() < sides.len() {
        // One side is in another's past: a writer named a parent it need not have. Nothing met there.
        let kept: Vec<OpIndex> = heads.iter().map(|place| window.ops[*place].index).collect();
        return if kept.len() < 2 { Ok(Vec::new()) } else { detect(context, &kept, policy) };
    }
    let masks = masks(&window, &heads);
    let everybody = if heads.len() == SIDES_MAX { u64::MAX } else { (1 << heads.len()) - 1 };
    let mut apart = Vec::new();
    for (place, entry) in window.ops.iter().enumerate() {
        if masks[place] != everybody
            && let Some(payload) = context.payload_of(entry.index, &entry.op)?
        {
            apart.push(Apart { place, mask: masks[place], op: Arc::clone(&entry.op), payload });
        }
    }
    let meeting = Meeting { context, window: &window, heads: &heads, apart: &apart, policy };
    let mut conflicts = Vec::new();
    conflicts.extend(meeting.text()?);
    conflicts.extend(meeting.node_type());
    conflicts.extend(meeting.structure());
    conflicts.extend(meeting.life());
    conflicts.extend(meeting.place());
    conflicts.extend(meeting.metadata());
    conflicts.sort_unstable_by_key(|conflict| conflict.id);
    conflicts.dedup_by_key(|conflict| conflict.id);
    Ok(conflicts)
}

/// For each operation of the window, which heads have it in their past (or are it).
fn masks(window: &Window, heads: &[usize]) -> Vec<u64> {
    let mut masks = vec![0_u64; window.ops.len()];
    for (side, place) in heads.iter().enumerate() {
        masks[*place] |= 1 << side;
    }
    for place in (0..window.ops.len()).rev() {
        let mask = masks[place];
        for parent in &window.ops[place].parents {
            masks[*parent] |= mask;
        }
    }
    masks
}

/// Whether any two masks are disjoint.
fn any_disjoint(masks: &BTreeSet<u64>) -> bool {
    masks.iter().any(|a| masks.iter().any(|b| a & b == 0))
}

struct Meeting<'a, S> {
    context: &'a Context<'a, S>,
    window: &'a Window,
    heads: &'a [usize],
    apart: &'a [Apart],
    policy: &'a Policy,
}

impl<S: Store> Meeting<'_, S> {
    /// Of every side, the last operation that `touches` the field; the operations speak for their sides.
    fn speakers(&self, touches: impl Fn(&Apart) -> bool) -> Vec<&Apart> {
        let mut by_side: BTreeMap<usize, &Apart> = BTreeMap::new();
        for entry in self.apart.iter().filter(|entry| touches(entry)) {
            for side in (0..self.heads.len()).filter(|side| entry.mask >> side & 1 == 1) {
                let last = by_side.entry(side).or_insert(entry);
                if last.op.stamp() < entry.op.stamp() {
                    *last = entry;
                }
            }
        }
        let mut speakers: Vec<&Apart> = by_side.into_values().collect();
        speakers.sort_unstable_by_key(|entry| entry.op.hash);
        speakers.dedup_by_key(|entry| entry.op.hash);
        speakers
    }

    fn conflict(&self, kind: ConflictType, field: &str, speakers: &[&Apart]) -> Conflict {
        let participants = speakers.iter().map(|entry| entry.op.hash).collect();
        Conflict::new(kind, field.to_owned(), participants, self.policy.strategy(kind))
    }

    fn text(&self) -> Result<Option<Conflict>, StoreError> {
        let speakers = self.speakers(|entry| entry.payload.text.is_some());
        let masks: BTreeSet<u64> = speakers.iter().map(|entry| entry.mask).collect();
        if speakers.len() < 2 || !any_disjoint(&masks) {
            return Ok(None);
        }
        let strategy = self.policy.concurrent_edit;
        let collide = if strategy == ResolutionStrategy::OperationalTransform {
            self.text_collides()?
        } else {
            let heads: Vec<OpIndex> = self.heads.iter().map(|place| self.window.ops[*place].index).collect();
            !text_strategy::text_at(self.context, &heads, strategy)?.clean
        };
        Ok(collide.then(|| self.conflict(ConflictType::ConcurrentEdit, "content", &speakers)))
    }

    /// Whether edits of different sides touch, or a replacement stands against another change of the text.
    fn text_collides(&self) -> Result<bool, StoreError> {
        let texts: Vec<&Apart> = self.apart.iter().filter(|entry| entry.payload.text.is_some()).collect();
        for entry in &texts {
            let Some(TextChange::Replace(text)) = &entry.payload.text else { continue };
            let against = texts.iter().filter(|other| other.mask & entry.mask == 0);
            // Two who wrote the same whole text agree, and what they type after it merges.
            let differs = |other: &&&Apart| match &other.payload.text {
                Some(TextChange::Replace(other)) => other != text,
                _ => !self.agreed_below(other.place, text),
            };
            if against.filter(differs).count() > 0 {
                return Ok(true);
            }
        }
        if texts.iter().any(|entry| matches!(entry.payload.text, Some(TextChange::Replace(_)))) {
            return Ok(false);
        }
        // Where edits touch does not depend on how long the text below is, and that is not known on every device: it depends on what
        // arrived first where another branch runs beside the base.
        let base_len = if self.window.base.is_empty() { 0 } else { CHARS_MAX / 2 };
        let mut merge = TextMerge::new(base_len);
        for entry in &self.window.ops {
            let change = crate::fold::text::change_of(self.context, entry.index, &entry.op)?;
            let patches = match &change {
                Some(TextChange::Edits(patches)) => patches.as_slice(),
                Some(TextChange::Replace(_)) => return self.collides_after_replacement(),
                None => &[],
            };
            let parents: Vec<EventIndex> = entry.parents.iter().map(|place| EventIndex(*place as u32)).collect();
            if merge.push(&parents, entry.op.hash, patches).is_err() {
                return Ok(true);
            }
        }
        let heads: Vec<EventIndex> = self.heads.iter().map(|place| EventIndex(*place as u32)).collect();
        Ok(merge.overlaps(&heads))
    }

    /// Whether an operation lies above a replacement by the same text.
    fn agreed_below(&self, place: usize, text: &str) -> bool {
        let mut stack = vec![place];
        let mut seen = BTreeSet::new();
        while let Some(place) = stack.pop() {
            if !seen.insert(place) {
                continue;
            }
            let found = self.apart.iter().find(|entry| entry.place == place);
            if let Some(Apart { payload: Payload { text: Some(TextChange::Replace(below)), .. }, .. }) = found {
                return below == text;
            }
            stack.extend(self.window.ops[place].parents.iter().copied());
        }
        false
    }

    /// The window reaches below a replacement that all sides have seen; what matters is whether the sides' texts merge cleanly.
    fn collides_after_replacement(&self) -> Result<bool, StoreError> {
        let heads: Vec<OpIndex> = self.heads.iter().map(|place| self.window.ops[*place].index).collect();
        Ok(!text_strategy::text_at(self.context, &heads, ResolutionStrategy::MergeWhenPossible)?.clean)
    }

    fn node_type(&self) -> Option<Conflict> {
        let speakers = self.speakers(|entry| entry.payload.node_type.is_some());
        let differ = speakers.iter().any(|a| speakers.iter().any(|b| a.mask & b.mask == 0 && a.payload.node_type != b.payload.node_type));
        differ.then(|| {
            let mut conflict = self.conflict(ConflictType::ConcurrentEdit, "type", &speakers);
            // A type is not text: where text would be transformed, the later type holds.
            if !self.policy.concurrent_edit.leaves_open() {
                conflict.status = super::ConflictStatus::AutoResolved(ResolutionStrategy::LastWriteWins);
            }
            conflict
        })
    }

    fn structure(&self) -> Option<Conflict> {
        let changes_type = |entry: &Apart| entry.payload.node_type.is_some() && entry.op.header.kind != OpType::Create;
        let changes_text = |entry: &Apart| entry.payload.text.is_some() && entry.op.header.kind != OpType::Create;
        let collide =
            self.apart.iter().filter(|a| changes_type(a)).any(|a| self.apart.iter().any(|b| a.mask & b.mask == 0 && changes_text(b)));
        let speakers = self.speakers(|entry| changes_type(entry) || changes_text(entry));
        (collide && speakers.len() > 1).then(|| self.conflict(ConflictType::StructuralConflict, "type", &speakers))
    }

    fn life(&self) -> Option<Conflict> {
        let heads: Vec<&Apart> = self.apart.iter().filter(|entry| self.heads.contains(&entry.place)).collect();
        let deletes = |entry: &&&Apart| entry.op.header.kind == OpType::Delete;
        let deleted = heads.iter().filter(deletes).count();
        (deleted > 0 && deleted < heads.len()).then(|| self.conflict(ConflictType::DeleteConflict, "life", &heads))
    }

    fn place(&self) -> Option<Conflict> {
        let moved = |entry: &Apart| -> Option<Place> { entry.payload.place.clone().filter(|_| entry.op.header.kind == OpType::Move) };
        let speakers = self.speakers(|entry| moved(entry).is_some());
        let differ = speakers.iter().any(|a| {
            speakers.iter().any(|b| a.mask & b.mask == 0 && moved(a).map(|place| place.parent) != moved(b).map(|place| place.parent))
        });
        differ.then(|| self.conflict(ConflictType::MoveConflict, "place", &speakers))
    }

    fn metadata(&self) -> Vec<Conflict> {
        let mut writers: BTreeMap<Vec<String>, Vec<(usize, Option<Value>)>> = BTreeMap::new();
        for (number, entry) in self.apart.iter().enumerate() {
            for (path, assignment) in entry.payload.metadata.as_ref().map(assignments).unwrap_or_default() {
                if let Assignment::Value(value) = assignment {
                    writers.entry(path).or_default().push((number, value));
                }
            }
        }
        let mut conflicts = Vec::new();
        for (path, own) in &writers {
            // A value set above this path removes what is set at it.
            let above = (1..path.len()).filter_map(|len| writers.get(&path[..len])).flatten();
            let all: Vec<&(usize, Option<Value>)> = own.iter().chain(above).collect();
            let numbers: BTreeSet<usize> = all.iter().map(|(number, _)| *number).collect();
            let place_of: BTreeMap<usize, usize> = numbers.iter().map(|number| (self.apart[*number].place, *number)).collect();
            let speakers = self.speakers(|entry| place_of.contains_key(&entry.place));
            let value_of = |entry: &Apart| {
                let number = place_of.get(&entry.place);
                all.iter().find(|(n, _)| Some(n) == number).map(|(_, value)| value)
            };
            let differ = speakers.iter().any(|a| speakers.iter().any(|b| a.mask & b.mask == 0 && value_of(a) != value_of(b)));
            if differ {
                let pointer: String = path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect();
                conflicts.push(self.conflict(ConflictType::MetadataConflict, &format!("metadata{pointer}"), &speakers));
            }
        }
        conflicts
    }
}
