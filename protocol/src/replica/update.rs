//! One change of several things of a node: checked whole before any of it is written.

use serde_json::Value;

use super::Replica;
use super::write::{Draft, WriteError, check_name, check_payload};
use crate::clock::Timestamp;
use crate::delta::TextChange;
use crate::ids::{NodeId, OpHash};
use crate::op::{INLINE_BYTES_DEFAULT, OpType, Payload};
use crate::store::Store;
use crate::text::{TextPatch, apply_patches};

/// A new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextUpdate {
    /// All of it; what is written is the difference.
    Whole(String),
    /// Positional edits, each against the text as the one before left it.
    Edits(Vec<TextPatch>),
}

/// What to change of a node; what is `None` or empty stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeUpdate {
    /// The text.
    pub text: Option<TextUpdate>,
    /// The type.
    pub node_type: Option<String>,
    /// A JSON merge patch (RFC 7396) for the metadata, an object.
    pub metadata: Option<Value>,
    /// Mentions to add.
    pub mentions_added: Vec<NodeId>,
    /// Mentions to take away.
    pub mentions_removed: Vec<NodeId>,
}

impl<S: Store> Replica<S> {
    /// Changes several things of a node. Answers the last operation written; `None` when everything is like that already.
    ///
    /// # Errors
    /// When the node is not there, edits do not fit its text, or a value cannot be written; nothing was written then, unless it was the
    /// store that failed.
    pub fn update(&mut self, now: Timestamp, id: &NodeId, update: NodeUpdate) -> Result<Option<OpHash>, WriteError> {
        let text = self.text_change(id, update.text)?;
        let node_type = self.new_type(id, update.node_type)?;
        let others =
            Payload { node_type, mentions_added: update.mentions_added, mentions_removed: update.mentions_removed, ..Payload::default() };
        check(&others)?;
        let metadata = update.metadata.map(|patch| Payload { metadata: Some(patch), ..Payload::default() });
        if let Some(payload) = &metadata {
            if !payload.metadata.as_ref().is_some_and(Value::is_object) {
                return Err(WriteError::Invalid("a metadata patch is a JSON object"));
            }
            check(payload)?;
        }
        let mut written = None;
        match text {
            Some(change) => written = Some(self.write_text(now, id, change, others)?),
            None if others != Payload::default() => written = Some(self.write(now, Draft::on(id, OpType::Update, others))?),
            None => {}
        }
        if let Some(payload) = metadata {
            written = Some(self.write(now, Draft::on(id, OpType::Metadata, payload))?);
        }
        Ok(written)
    }

    fn text_change(&self, id: &NodeId, text: Option<TextUpdate>) -> Result<Option<TextChange>, WriteError> {
        self.existing(id)?;
        match text {
            None => Ok(None),
            Some(TextUpdate::Whole(text)) => self.preview_change(id, &text),
            Some(TextUpdate::Edits(patches)) => {
                let mut text = self.node(id)?.map(|state| state.content().to_owned()).unwrap_or_default();
                apply_patches(&mut text, &patches).map_err(|_| WriteError::EditsDoNotFit(id.clone()))?;
                Ok((!patches.is_empty()).then_some(TextChange::Edits(patches)))
            }
        }
    }

    fn new_type(&self, id: &NodeId, node_type: Option<String>) -> Result<Option<String>, WriteError> {
        let Some(node_type) = node_type else { return Ok(None) };
        check_name("a node type", &node_type)?;
        let same = self.node(id)?.is_some_and(|state| state.node_type() == Some(node_type.as_str()));
        Ok((!same).then_some(node_type))
    }
}

/// What [`Replica::write`] checks of a payload without its text, before anything is written.
fn check(payload: &Payload) -> Result<(), WriteError> {
    check_payload(payload)?;
    let found = payload.encode().len();
    if found > INLINE_BYTES_DEFAULT {
        return Err(WriteError::TooLarge { what: "an operation's payload", found, max: INLINE_BYTES_DEFAULT });
    }
    Ok(())
}
