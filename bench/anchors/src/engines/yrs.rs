//! yrs 0.28: every agent's document typed into; timed is applying one decoded update with everything to a fresh document. It drops
//! what was deleted, so it keeps no history.

use std::any::Any;

use anyhow::ensure;
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::text::trace::Trace;
use yrs::block::ClientID;
use yrs::updates::decoder::Decode as _;
use yrs::{Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, Transact as _, Update};

use super::{Engine, Prepared};
use crate::history::{Site, act};

/// The engine.
pub(crate) struct Yrs;

struct Everything {
    update: Vec<u8>,
}

struct Document(Doc);

fn document(client: u64) -> Doc {
    Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(ClientID::new(client)) })
}

impl Site for Document {
    type Update = Vec<u8>;

    fn edit(&mut self, patches: &[TextPatch], _alone: bool) -> anyhow::Result<Vec<u8>> {
        let text = self.0.get_or_insert_text("text");
        let mut transaction = self.0.transact_mut();
        for patch in patches {
            let end = u64::from(patch.position) + u64::from(patch.delete);
            ensure!(end <= u64::from(text.len(&transaction)), "a position lies outside its merged text");
            if patch.delete > 0 {
                text.remove_range(&mut transaction, patch.position, patch.delete);
            }
            if !patch.insert.is_empty() {
                text.insert(&mut transaction, patch.position, &patch.insert);
            }
        }
        Ok(transaction.encode_update_v1())
    }

    fn take(&mut self, updates: &[&Vec<u8>]) -> anyhow::Result<()> {
        let mut transaction = self.0.transact_mut();
        for update in updates {
            transaction.apply_update(Update::decode_v1(update)?)?;
        }
        Ok(())
    }
}

impl Engine for Yrs {
    fn prepare(&self, trace: &Trace) -> anyhow::Result<Box<dyn Prepared>> {
        // Its offsets count UTF-16 units; they are characters as long as nothing lies beyond the first plane.
        let patches = trace.transactions.iter().flat_map(|transaction| &transaction.patches);
        ensure!(patches.flat_map(|patch| patch.insert.chars()).all(|c| c.len_utf16() == 1), "characters of two UTF-16 units");
        let Document(all) = act(trace, |agent| Ok(Document(document(u64::from(agent) + 1))))?;
        let update = all.transact().encode_state_as_update_v1(&StateVector::default());
        Ok(Box::new(Everything { update }))
    }
}

impl Prepared for Everything {
    fn input(&self) -> Box<dyn Any> {
        Box::new(Update::decode_v1(&self.update).expect("its own update"))
    }

    fn apply(&self, input: Box<dyn Any>) -> String {
        let update = *input.downcast::<Update>().expect("what `input` makes");
        let doc = document(1_000);
        let text = doc.get_or_insert_text("text");
        let mut transaction = doc.transact_mut();
        transaction.apply_update(update).expect("its own update");
        text.get_string(&transaction)
    }

    fn stored_bytes(&self) -> Option<usize> {
        Some(self.update.len())
    }
}
