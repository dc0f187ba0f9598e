//! Carrying out a plan, a few hundred nodes at a time, each as things stand when its turn comes.
//!
//! Three texts decide over a node: what the file had before, what it has now, and what the node has here.
//!
//! | file | here | what is done |
//! |---|---|---|
//! | same | same | nothing |
//! | same | changed | nothing: the local text stays |
//! | changed | same | the file's text, as edits of the same node |
//! | changed | changed | the file's text; the local one is in the history |
//!
//! Kind, place and deletion go the same way. Nodes are visited in outline order, so a parent is in its place before its children come, and a
//! node that the file moved is put after the nearest preceding sibling that is in place.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{NewNode, Replica, WriteError};
use nodespace_protocol::store::Store;
use nodespace_protocol::tree::{PlaceError, Position};
use serde_json::Value;

use super::OutlineKind;
use super::found::{self, Found};
use super::kind;
use super::plan::{Before, Plan, Planned};
use crate::model::ImportCounts;

/// Where a new document is put.
#[derive(Debug, Clone)]
pub(super) struct DocumentPlace {
    pub(super) parent: Option<NodeId>,
    pub(super) position: Position,
}

/// A plan that is being carried out.
#[derive(Debug)]
pub(super) struct Applying {
    pub(super) plan: Plan,
    pub(super) counts: ImportCounts,
    place: DocumentPlace,
    /// The next node of the file, then the next vanished one.
    next: usize,
    /// For each node of the file its last child that is in place.
    last_children: Vec<Option<NodeId>>,
}

impl Applying {
    pub(super) fn new(plan: Plan, place: DocumentPlace) -> Self {
        let last_children = vec![None; plan.nodes.len()];
        Self { plan, counts: ImportCounts::default(), place, next: 0, last_children }
    }

    /// How many nodes have been looked at.
    pub(super) const fn done(&self) -> usize {
        self.next
    }

    /// Looks at up to `budget` nodes and writes what is to be written; what is left of the budget is given back. Done when some is.
    pub(super) fn step<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp, budget: &mut usize) -> Result<bool, WriteError> {
        let in_file = self.plan.nodes.len();
        let total = in_file + self.plan.vanished.len();
        while self.next < total {
            if *budget == 0 {
                return Ok(false);
            }
            if self.next < in_file {
                self.node(replica, now, self.next)?;
            } else {
                // From the last to the first, so that children go before their parents.
                self.vanish(replica, now, total - 1 - self.next)?;
            }
            self.next += 1;
            *budget -= 1;
        }
        Ok(true)
    }

    fn node<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp, at: usize) -> Result<(), WriteError> {
        let planned = self.plan.nodes[at].clone();
        match found::find(replica, &planned.id)? {
            Some(found) if planned.before.is_some() || !found.deleted => self.meet(replica, now, at, &planned, &found)?,
            None | Some(_) => {
                self.create(replica, now, at, &planned)?;
                self.counts.created += 1;
            }
        }
        if let Some(parent) = self.plan.outline.nodes[at].parent
            && replica.tree().parent(&planned.id).flatten().as_ref() == Some(&self.plan.nodes[parent].id)
        {
            self.last_children[parent] = Some(planned.id);
        }
        Ok(())
    }

    fn create<S: Store>(&self, replica: &mut Replica<S>, now: Timestamp, at: usize, planned: &Planned) -> Result<(), WriteError> {
        let node = &self.plan.outline.nodes[at];
        let (parent, position) = self.place_of(at);
        let is_date = node.kind == OutlineKind::Document && self.plan.path.date().as_ref() == Some(&planned.id);
        replica.create(
            now,
            NewNode {
                id: planned.id.clone(),
                node_type: if is_date { kind::DATE } else { node.kind.name() }.to_owned(),
                content: node.content.clone(),
                metadata: kind::metadata(self.detail(&node.kind)),
                mentions: Vec::new(),
                parent,
                position,
            },
        )?;
        Ok(())
    }

    /// A node of the file that is there already.
    fn meet<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        now: Timestamp,
        at: usize,
        planned: &Planned,
        found: &Found,
    ) -> Result<(), WriteError> {
        let kind = self.plan.outline.nodes[at].kind.clone();
        let in_place = self.is_in_place(replica, at, planned);
        // New in the file, and here all the same: another device imported it, or an import was cut short.
        let adopted = planned.before.is_none();
        let before = planned.before.clone().unwrap_or_else(|| Before { kind: kind.clone(), text: planned.text, certain: true });
        let changed_here = found.deleted || found.text != before.text || found.kind.as_ref() != Some(&before.kind);
        let changed_in_file = before.text != planned.text || before.kind != kind;
        let mut wrote = false;
        if changed_in_file && !found.gone {
            wrote = self.change(replica, now, at, planned, found, &before)?;
            self.counts.updated += u64::from(wrote);
            self.counts.overwritten += u64::from(wrote && before.certain && changed_here);
        }
        let moves = if adopted { !in_place } else { planned.moves };
        let moved = moves && !found.deleted && self.move_there(replica, now, at, planned)?;
        self.counts.moved += u64::from(moved);
        if !wrote && !moved {
            let kept = changed_here && !changed_in_file || found.gone || !in_place;
            self.counts.kept += u64::from(kept);
            self.counts.unchanged += u64::from(!kept);
        }
        Ok(())
    }

    /// Makes text and kind those of the file. Whether anything had to be written.
    fn change<S: Store>(
        &self,
        replica: &mut Replica<S>,
        now: Timestamp,
        at: usize,
        planned: &Planned,
        found: &Found,
        before: &Before,
    ) -> Result<bool, WriteError> {
        let node = &self.plan.outline.nodes[at];
        let mut wrote = false;
        if before.text != planned.text && found.text != planned.text {
            wrote |= replica.set_text(now, &planned.id, &node.content)?.is_some();
        }
        if before.kind != node.kind && found.kind.as_ref() != Some(&node.kind) {
            if found.kind.as_ref().map(OutlineKind::name) != Some(node.kind.name()) {
                replica.set_type(now, &planned.id, node.kind.name())?;
            }
            replica.patch_metadata(now, &planned.id, kind::patch(found.kind.as_ref(), &node.kind))?;
            wrote = true;
        }
        if found.deleted && !wrote {
            replica.restore_node(now, &planned.id)?;
            wrote = true;
        }
        Ok(wrote)
    }

    /// Puts a node where the file has it. Whether it had to be, and could be, moved.
    fn move_there<S: Store>(&self, replica: &mut Replica<S>, now: Timestamp, at: usize, planned: &Planned) -> Result<bool, WriteError> {
        let (parent, position) = self.place_of(at);
        let before = match &position {
            Position::After(sibling) => Some(sibling),
            Position::First | Position::Last => None,
        };
        if self.is_in_place(replica, at, planned) && replica.tree().before_sibling(&planned.id).as_ref() == before {
            return Ok(false);
        }
        match replica.move_node(now, &planned.id, parent.as_ref(), &position) {
            Ok(_) => Ok(true),
            // Somebody here put its new parent below it: that stays.
            Err(WriteError::Place(PlaceError::WouldCycle { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a node is below the parent that the file gives it. A document may lie wherever it was put.
    fn is_in_place<S: Store>(&self, replica: &Replica<S>, at: usize, planned: &Planned) -> bool {
        let Some(parent) = self.plan.outline.nodes[at].parent else { return true };
        replica.tree().parent(&planned.id).flatten().as_ref() == Some(&self.plan.nodes[parent].id)
    }

    /// Where the file has a node.
    fn place_of(&self, at: usize) -> (Option<NodeId>, Position) {
        let Some(parent) = self.plan.outline.nodes[at].parent else { return (self.place.parent.clone(), self.place.position.clone()) };
        let position = self.last_children[parent].clone().map_or(Position::First, Position::After);
        (Some(self.plan.nodes[parent].id.clone()), position)
    }

    fn detail(&self, of: &OutlineKind) -> Value {
        match of {
            OutlineKind::Document => kind::document_detail(self.plan.path.extension()),
            other => kind::detail(other),
        }
    }

    /// Deletes a node that is not in the file any more, unless somebody here made something of it.
    fn vanish<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp, at: usize) -> Result<(), WriteError> {
        let known = &self.plan.vanished[at];
        let Some(found) = found::find(replica, &known.id)?.filter(|found| !found.deleted) else { return Ok(()) };
        let untouched = known.certain && found.plain && found.text == known.text && found.kind.as_ref() == Some(&known.kind);
        if untouched && !found::has_living_children(replica, &known.id) {
            replica.delete(now, &known.id, true)?;
            self.counts.deleted += 1;
        } else {
            self.counts.kept += 1;
        }
        Ok(())
    }
}
