//! The text at any version.
//!
//! A version's text is what its past alone merges to, so it is replayed alone.

use super::events::index;
use super::gap_buffer::GapBuffer;
use super::merge::TextMerge;
use super::{EventIndex, TextPatch};

/// Why there is no text to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// The base text is not the one the events were made on.
    #[error("the base text has {found} characters, the events were made on {expected}")]
    BaseLength {
        /// The length given to [`TextMerge::new`].
        expected: u32,
        /// The length of the text given.
        found: usize,
    },
    /// A head that was not pushed.
    #[error("no event {}", .0.0)]
    UnknownHead(EventIndex),
}

impl<K: Ord + Clone> TextMerge<K> {
    /// The text at `heads`, given the text of the base. Costs a replay of their past.
    ///
    /// # Errors
    /// When a head is unknown or the base text has the wrong length.
    pub fn checkout(&self, base: &str, heads: &[EventIndex]) -> Result<String, CheckoutError> {
        let mut text = GapBuffer::from(base);
        if text.len() != index(self.base_len) {
            return Err(CheckoutError::BaseLength { expected: self.base_len, found: text.len() });
        }
        let past = self.past(heads)?;
        let mut alone = Self::new(self.base_len);
        let mut names = vec![EventIndex(u32::MAX); past.len()];
        for event in (0..self.events.len()).filter(|event| past.get(index(*event)) == Some(&true)) {
            let parents: Vec<EventIndex> = self.events.parents(event).iter().map(|parent| names[index(*parent)]).collect();
            let patches: Vec<TextPatch> = self
                .events
                .patches(event)
                .iter()
                .map(|patch| TextPatch::new(patch.position, patch.delete, self.events.insert_text(patch)))
                .collect();
            names[index(event)] =
                alone.push(&parents, self.events.key(event).clone(), &patches).expect("what fits the whole history fits a part of it");
        }
        alone.merge(&mut text);
        Ok(text.to_string())
    }

    /// For each event up to the newest head, whether it is a head or in a head's past.
    fn past(&self, heads: &[EventIndex]) -> Result<Vec<bool>, CheckoutError> {
        if let Some(unknown) = heads.iter().find(|head| head.0 >= self.events.len()) {
            return Err(CheckoutError::UnknownHead(*unknown));
        }
        let newest = heads.iter().map(|head| index(head.0) + 1).max().unwrap_or(0);
        let mut past = vec![false; newest];
        for head in heads {
            past[index(head.0)] = true;
        }
        for event in (0..newest).rev() {
            if past[event] {
                for parent in self.events.parents(u32::try_from(event).expect("numbered by u32")) {
                    past[index(*parent)] = true;
                }
            }
        }
        Ok(past)
    }
}
