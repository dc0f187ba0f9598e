//! loro 1.17: every agent's document typed into; timed is the import of all updates into a fresh one, decoding included (its
//! interface does not part them).

use std::any::Any;

use loro::{ExportMode, LoroDoc};
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::text::trace::Trace;

use super::{Engine, Prepared};
use crate::history::{Site, act};

/// The engine.
pub(crate) struct Loro;

struct Updates {
    bytes: Vec<u8>,
    stored: usize,
}

struct Document(LoroDoc);

impl Site for Document {
    type Update = Vec<u8>;

    fn edit(&mut self, patches: &[TextPatch], alone: bool) -> anyhow::Result<Vec<u8>> {
        let before = self.0.oplog_vv();
        let text = self.0.get_text("text");
        for patch in patches {
            if patch.delete > 0 {
                text.delete(patch.position as usize, patch.delete as usize)?;
            }
            if !patch.insert.is_empty() {
                text.insert(patch.position as usize, &patch.insert)?;
            }
        }
        self.0.commit();
        if alone {
            return Ok(Vec::new());
        }
        Ok(self.0.export(ExportMode::updates(&before))?)
    }

    fn take(&mut self, updates: &[&Vec<u8>]) -> anyhow::Result<()> {
        let updates: Vec<Vec<u8>> = updates.iter().map(|update| (*update).clone()).collect();
        self.0.import_batch(&updates)?;
        Ok(())
    }
}

impl Engine for Loro {
    fn prepare(&self, trace: &Trace) -> anyhow::Result<Box<dyn Prepared>> {
        let Document(all) = act(trace, |agent| {
            let doc = LoroDoc::new();
            doc.set_peer_id(u64::from(agent) + 1)?;
            Ok(Document(doc))
        })?;
        Ok(Box::new(Updates { bytes: all.export(ExportMode::all_updates())?, stored: all.export(ExportMode::Snapshot)?.len() }))
    }
}

impl Prepared for Updates {
    fn apply(&self, _input: Box<dyn Any>) -> String {
        let doc = LoroDoc::new();
        doc.import(&self.bytes).expect("its own export");
        doc.get_text("text").to_string()
    }

    fn stored_bytes(&self) -> Option<usize> {
        Some(self.stored)
    }
}
