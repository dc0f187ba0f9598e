//! Making content deltas: from the text before and the text after to a few positional edits.
//!
//! An application that does not know its edits hands in two texts. [`DeltaCompressor`] finds what changed: lines first, because
//! lines are what people rearrange, then scalar values inside the changed lines, because a changed word should not cost its whole
//! line. When too little of the text survives, edits would be noise, and a full replacement is made instead.
//!
//! This runs at the author only, and its result is what is signed. So it is *not* protocol: the `similar` crate does the
//! comparing, and a release of it that finds another script for the same texts changes nothing for anyone else. (What runs on
//! every device is [`crate::merge3`], which is our own and frozen.) No deadline is used, since this crate has no clock: cost is
//! bounded by size.
//!
//! ```text
//! old, new --- trim equal ends, to whole lines
//!          --- line diff of the middle            (LINE_DIFF_BYTES_MAX)
//!          --- scalar diff of each changed block  (BLOCK_SCALARS_MAX, REFINED_SCALARS_MAX)
//!          --- rejoin edits a few scalars apart   (KEPT_RUN_MIN)
//!          --> patches, ascending, applied in sequence
//! ```
//!
//! Document section "Delta Compression"; [`ContentDelta`] is the form the document gives it.
//! Source of the diff: Myers, *An O(ND) Difference Algorithm and Its Variations*, Algorithmica 1986.

mod edits;
#[cfg(test)]
mod tests;
mod view;

pub use view::{ContentDelta, DELTA_JSON_BYTES_MAX, DeltaError, DeltaFormat, DeltaPatch};

use crate::text::{TextPatch, apply_patches};

/// The share of the text that must be kept for edits to be worth sending: the document's 30 %.
pub const KEPT_RATIO_MIN: f32 = 0.30;

/// Texts whose differing middles together exceed this many bytes are not compared by lines: the middle is one edit. Eight times the
/// hard cap on an operation, so only texts that span several operations ever meet it.
pub const LINE_DIFF_BYTES_MAX: usize = 8 << 20;

/// Likewise when the differing middles together have more lines than this: the time a line diff may take grows with lines, not
/// bytes. At the bound, two unrelated texts take some tenths of a second; edited ones a few milliseconds.
pub const LINE_DIFF_LINES_MAX: usize = 100_000;

/// A changed block of lines is compared by scalar values only up to this many of them (old and new together); a longer one is
/// replaced between its equal ends. Some 80 lines of prose: past that, a scalar diff finds coincidences rather than edits.
pub const BLOCK_SCALARS_MAX: usize = 8_192;

/// How many scalar values one delta compares in all blocks together; blocks after that are replaced between their equal ends. Keeps
/// the worst case of a whole rewritten book at a fraction of a second.
pub const REFINED_SCALARS_MAX: usize = 1 << 18;

/// Edits that keep fewer scalar values than this between them become one: a patch costs about as many bytes as it would save, and
/// letters that two different words happen to share are no reason to cut a word into pieces.
pub const KEPT_RUN_MIN: usize = 4;

/// What an update does to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextChange {
    /// Positional edits in Unicode scalar values, applied in sequence. Those made here ascend and do not touch.
    Edits(Vec<TextPatch>),
    /// The new text as a whole. Starts a new base: nothing of the old text is kept, so nothing concurrent merges into it.
    Replace(String),
}

impl TextChange {
    /// The text after this change.
    ///
    /// # Errors
    /// [`DeltaError::EditDoesNotFit`] when an edit reaches past the end of the text.
    pub fn apply(&self, old: &str) -> Result<String, DeltaError> {
        match self {
            Self::Replace(new) => Ok(new.clone()),
            Self::Edits(patches) => {
                let mut text = old.to_owned();
                apply_patches(&mut text, patches)?;
                Ok(text)
            }
        }
    }
}

/// Computes content deltas (the document's `DeltaCompressor`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeltaCompressor {
    /// Below this share of kept text a full replacement is made. Measured in scalar values against the *shorter* of the two
    /// texts, so that writing much more, or cutting much away, are edits for as long as what remains is the same text. 0 never
    /// replaces, anything above 1 always does.
    pub kept_ratio_min: f32,
}

impl Default for DeltaCompressor {
    fn default() -> Self {
        Self { kept_ratio_min: KEPT_RATIO_MIN }
    }
}

impl DeltaCompressor {
    /// What turns `old` into `new`; `None` when they are equal.
    #[must_use]
    pub fn change(&self, old: &str, new: &str) -> Option<TextChange> {
        if old == new {
            return None;
        }
        if u32::try_from(old.len().max(new.len())).is_err() {
            // Positions are 32 bits. Such a text is far past every limit, but it must not panic here.
            return Some(TextChange::Replace(new.to_owned()));
        }
        let edits = edits::between(old, new);
        if self.keeps_enough(edits.kept, old, new) {
            Some(TextChange::Edits(edits.into_patches(new)))
        } else {
            Some(TextChange::Replace(new.to_owned()))
        }
    }

    /// The document's form of a delta: every line with what happens to it, or the full replacement when too little is kept.
    ///
    /// For people and for applications that speak the document's language; [`DeltaCompressor::change`] is what operations carry.
    #[must_use]
    pub fn compute_content_delta(&self, original: &str, modified: &str) -> ContentDelta {
        let (delta, kept) = view::line_diff(original, modified);
        if self.keeps_enough(kept, original, modified) { delta } else { ContentDelta::replace(modified) }
    }

    fn keeps_enough(&self, kept: usize, old: &str, new: &str) -> bool {
        let shorter = old.chars().count().min(new.chars().count());
        // Nothing can be kept of an empty text; all of it is.
        shorter == 0 || kept as f64 >= f64::from(self.kept_ratio_min) * shorter as f64
    }
}
