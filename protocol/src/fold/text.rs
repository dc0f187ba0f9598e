//! A node's text as operations arrive.
//!
//! While nobody is concurrent, edits are applied to the text as they come and nothing else is kept. When an operation arrives that
//! has not seen everything, the node's text is *opened*: the operations since the last one that everything descends from are
//! loaded into an Eg-walker merge ([`crate::text::TextMerge`]), which transforms what is new over what is there. When the histories have
//! met again, it is closed. Text whose merging is more than edits over one base (replacements, other strategies)
//! is computed by [`super::text_strategy`] instead.

use std::collections::BTreeMap;

use super::text_strategy;
use super::{Context, NodeState};
use crate::conflict::ResolutionStrategy;
use crate::delta::TextChange;
use crate::fold::step::Incoming;
use crate::graph::Parents;
use crate::ids::OpHash;
use crate::op::{Op, OpType};
use crate::store::{OpIndex, Store, StoreError};
use crate::text::{EventIndex, GapBuffer, TextMerge, TextPatch, apply_patches};

/// Up to this length patches are applied to the string itself; above it a gap buffer takes them first.
const IN_PLACE_BYTES_MAX: usize = 4096;

/// The state of a merge in progress.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is always boxed")]
pub(crate) enum OpenText {
    /// Edits over one base.
    Edits {
        merge: TextMerge<OpHash>,
        events: BTreeMap<OpIndex, EventIndex>,
        /// What lies below: parents that are not events stand for it.
        base: Parents,
    },
    /// Anything else: computed from the node's graph when it is asked for.
    Whole,
}

/// Whether the node's text is up to date after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextStep {
    Done,
    Pending,
}

impl NodeState {
    pub(super) fn apply_text<S: Store>(
        &mut self,
        context: &Context<'_, S>,
        incoming: &Incoming,
        change: Option<&TextChange>,
        open: &mut Option<Box<OpenText>>,
    ) -> Result<TextStep, StoreError> {
        if incoming.after_all {
            self.close_text(context, open)?;
            if self.heads.len() > 1 && context.text_strategy != Some(ResolutionStrategy::OperationalTransform) {
                let strategy = context.text_strategy_of(incoming.index, &incoming.op);
                self.set_text(text_strategy::text_at(context, &self.head_indices(), strategy)?.text);
            }
            self.apply_change(change);
            return Ok(TextStep::Done);
        }
        if !open.as_deref().is_some_and(|open| open.reaches(incoming)) {
            self.merge_text(context, open)?;
            *open = Some(Box::new(self.open_text(context, incoming)?));
        }
        if let Some(open) = open {
            open.push(incoming, change);
        }
        Ok(TextStep::Pending)
    }

    /// Applies a change to the text as it stands; edits that do not fit it are void.
    fn apply_change(&mut self, change: Option<&TextChange>) {
        match change {
            Some(TextChange::Replace(text)) => self.set_text(text.clone()),
            Some(TextChange::Edits(patches)) if apply_patches(&mut self.text, patches).is_ok() => {
                self.chars = length_after(self.chars, patches);
            }
            _ => {}
        }
    }

    pub(super) fn set_text(&mut self, text: String) {
        self.chars = text.chars().count() as u32;
        self.text = text;
    }

    /// Brings the text up to date and forgets the merge.
    pub(crate) fn close_text<S: Store>(&mut self, context: &Context<'_, S>, open: &mut Option<Box<OpenText>>) -> Result<(), StoreError> {
        self.merge_text(context, open)?;
        *open = None;
        Ok(())
    }

    /// Brings the text up to date with everything pushed; keeps the merge while histories are apart.
    pub(crate) fn merge_text<S: Store>(&mut self, context: &Context<'_, S>, open: &mut Option<Box<OpenText>>) -> Result<(), StoreError> {
        match open.as_deref_mut() {
            None => {}
            Some(OpenText::Edits { merge, .. }) => {
                let mut patches: Vec<TextPatch> = Vec::new();
                merge.merge(&mut Collect(&mut patches));
                self.apply_merged(&patches);
            }
            Some(OpenText::Whole) => {
                let strategy = context.text_strategy.unwrap_or_else(|| context.membership.policy().concurrent_edit);
                self.set_text(text_strategy::text_at(context, &self.head_indices(), strategy)?.text);
            }
        }
        Ok(())
    }

    fn apply_merged(&mut self, patches: &[TextPatch]) {
        if self.text.len() <= IN_PLACE_BYTES_MAX || patches.len() <= 2 {
            let fits = apply_patches(&mut self.text, patches);
            debug_assert!(fits.is_ok(), "transformed patches fit the merged text");
        } else {
            let mut buffer: GapBuffer = GapBuffer::from(self.text.as_str());
            for patch in patches {
                crate::text::TextSink::patch(&mut buffer, patch.position, patch.delete, &patch.insert);
            }
            self.text = buffer.to_string();
        }
        self.chars = length_after(self.chars, patches);
    }

    /// Loads what is concurrent with an operation that is to come. The text as it stands is what the loaded operations amount to.
    fn open_text<S: Store>(&self, context: &Context<'_, S>, incoming: &Incoming) -> Result<OpenText, StoreError> {
        if context.text_strategy != Some(ResolutionStrategy::OperationalTransform) || incoming.parents.is_empty() {
            return Ok(OpenText::Whole);
        }
        let window = context.graph.window_above(&self.head_indices(), &[&incoming.parents])?;
        let Some(base_len) = context.text_lens.at_base(&window) else { return Ok(OpenText::Whole) };
        let mut merge = TextMerge::new(base_len);
        let mut events = BTreeMap::new();
        for op in &window.ops {
            let patches = match change_of(context, op.index, &op.op)? {
                Some(TextChange::Replace(_)) => return Ok(OpenText::Whole),
                Some(TextChange::Edits(patches)) => patches,
                None => Vec::new(),
            };
            let parents: Vec<EventIndex> = op.parents.iter().map(|place| EventIndex(*place as u32)).collect();
            let Ok(event) = merge.push(&parents, op.op.hash, &patches) else { return Ok(OpenText::Whole) };
            events.insert(op.index, event);
        }
        merge.merge(&mut Ignore);
        Ok(OpenText::Edits { merge, events, base: window.base })
    }
}

impl OpenText {
    /// Whether everything an operation names as parents is loaded.
    fn reaches(&self, incoming: &Incoming) -> bool {
        match self {
            Self::Whole => true,
            Self::Edits { events, base, .. } => {
                // Above the base: an event among its parents, or all of the base.
                let above = incoming.parents.iter().any(|parent| events.contains_key(parent));
                let known = |parent: &OpIndex| events.contains_key(parent) || base.contains(parent);
                let rests = above || base.iter().all(|index| incoming.parents.contains(index));
                !incoming.parents.is_empty() && rests && incoming.parents.iter().all(known)
            }
        }
    }

    /// Adds an operation.
    fn push(&mut self, incoming: &Incoming, change: Option<&TextChange>) {
        let Self::Edits { merge, events, .. } = self else { return };
        let patches: &[TextPatch] = match change {
            Some(TextChange::Replace(_)) => {
                *self = Self::Whole;
                return;
            }
            Some(TextChange::Edits(patches)) => patches,
            None => &[],
        };
        let parents: Vec<EventIndex> = incoming.parents.iter().filter_map(|parent| events.get(parent).copied()).collect();
        match merge.push(&parents, incoming.op.hash, patches) {
            Ok(event) => {
                events.insert(incoming.index, event);
            }
            Err(_) => *self = Self::Whole,
        }
    }
}

/// What an operation does to the text, for walks that only need that.
pub(crate) fn change_of<S: Store>(context: &Context<'_, S>, index: OpIndex, op: &Op) -> Result<Option<TextChange>, StoreError> {
    if matches!(op.header.kind, OpType::Move | OpType::Delete | OpType::Metadata | OpType::Workspace) {
        return Ok(None);
    }
    Ok(context.payload_of(index, op)?.and_then(|payload| payload.text))
}

fn length_after(chars: u32, patches: &[TextPatch]) -> u32 {
    patches.iter().fold(chars, |chars, patch| chars.saturating_sub(patch.delete).saturating_add(patch.insert.chars().count() as u32))
}

struct Collect<'a>(&'a mut Vec<TextPatch>);

impl crate::text::TextSink for Collect<'_> {
    fn patch(&mut self, position: u32, delete: u32, insert: &str) {
        self.0.push(TextPatch::new(position, delete, insert));
    }
}

struct Ignore;

impl crate::text::TextSink for Ignore {
    fn patch(&mut self, _position: u32, _delete: u32, _insert: &str) {}
}
