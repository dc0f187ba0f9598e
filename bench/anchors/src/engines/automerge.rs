//! automerge 0.12: every agent's document typed into, one change a transaction; timed is applying all decoded changes to a fresh one.

use std::any::Any;

use anyhow::Context as _;
use automerge::transaction::Transactable as _;
use automerge::{ActorId, AutoCommit, Change, ObjType, ROOT, ReadDoc as _, TextEncoding};
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::text::trace::Trace;

use super::{Engine, Prepared};
use crate::history::{Site, act};

/// The engine.
pub(crate) struct AutomergeEngine;

struct Changes {
    changes: Vec<Change>,
    stored: usize,
}

struct Document {
    doc: AutoCommit,
    text: automerge::ObjId,
}

impl Site for Document {
    type Update = Option<Change>;

    fn edit(&mut self, patches: &[TextPatch], alone: bool) -> anyhow::Result<Option<Change>> {
        for patch in patches {
            self.doc.splice_text(&self.text, patch.position as usize, patch.delete as isize, &patch.insert)?;
        }
        self.doc.commit();
        Ok(if alone { None } else { self.doc.get_last_local_change() })
    }

    fn take(&mut self, updates: &[&Option<Change>]) -> anyhow::Result<()> {
        let changes: Vec<Change> = updates.iter().filter_map(|change| (*change).clone()).collect();
        self.doc.apply_changes(changes)?;
        Ok(())
    }
}

/// All documents begin with the same change, which makes the text.
fn beginning() -> anyhow::Result<Vec<u8>> {
    let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([0_u8; 16]));
    doc.put_object(ROOT, "text", ObjType::Text)?;
    Ok(doc.save())
}

fn document(beginning: &[u8], actor: u32) -> anyhow::Result<Document> {
    let mut id = [1_u8; 16];
    id[..4].copy_from_slice(&actor.to_be_bytes());
    let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
    doc.load_incremental(beginning)?;
    let mut doc = doc.with_actor(ActorId::from(id));
    let (_, text) = doc.get(ROOT, "text")?.context("the text was made")?;
    doc.commit();
    Ok(Document { doc, text })
}

impl Engine for AutomergeEngine {
    fn prepare(&self, trace: &Trace) -> anyhow::Result<Box<dyn Prepared>> {
        let beginning = beginning()?;
        let mut all = act(trace, |agent| document(&beginning, agent + 1))?.doc;
        Ok(Box::new(Changes { changes: all.get_changes(&[]), stored: all.save().len() }))
    }
}

impl Prepared for Changes {
    fn input(&self) -> Box<dyn Any> {
        Box::new(self.changes.clone())
    }

    fn apply(&self, input: Box<dyn Any>) -> String {
        let changes = *input.downcast::<Vec<Change>>().expect("what `input` makes");
        let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
        doc.apply_changes(changes).expect("its own changes");
        let (_, text) = doc.get(ROOT, "text").expect("the text was made").expect("the text was made");
        doc.text(text).expect("it is a text")
    }

    fn stored_bytes(&self) -> Option<usize> {
        Some(self.stored)
    }
}
