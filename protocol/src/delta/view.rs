//! The document's form of a content delta, and its JSON text.
//!
//! `content_delta` of the document is a string. It carries this structure as JSON:
//! `{"format":"LineDiff","patches":[{"Keep":"a\n"}, ..]}`. The document has lines ([`DeltaFormat::LineDiff`]) and full
//! replacements; `TextEdits` is ours, and is what operations really hold.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{DeltaCompressor, LINE_DIFF_BYTES_MAX, LINE_DIFF_LINES_MAX, TextChange};
use crate::text::{DoesNotFit, TextPatch};

/// The longest JSON text of a delta that is parsed, in bytes; longer ones are refused unread. Room for the hard cap on an
/// operation with every character escaped.
pub const DELTA_JSON_BYTES_MAX: usize = 8 << 20;

/// Which patches a [`ContentDelta`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaFormat {
    /// `Keep`, `Delete` and `Insert`, which together pass over every line of the old text, in order.
    LineDiff,
    /// Exactly one `Replace`.
    FullReplace,
    /// Any number of `Edit`, applied in sequence.
    TextEdits,
}

/// One step of a [`ContentDelta`].
///
/// A line is a line with its line break; only the last line of a text may lack one. That a text ends with a line break is part of
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaPatch {
    /// The next line of the old text, which stays.
    Keep(String),
    /// The next line of the old text, which goes.
    Delete(String),
    /// A line of the new text.
    Insert(String),
    /// The whole new text.
    Replace(String),
    /// A positional edit; see [`TextPatch`], whose fields these are.
    Edit {
        /// Where, in Unicode scalar values of the text as the edits before this one left it.
        position: u32,
        /// How many scalar values go.
        delete: u32,
        /// What comes in their place.
        insert: String,
    },
}

/// A content delta as the document shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentDelta {
    /// What kind of patches follow; [`ContentDelta::apply`] refuses any other kind.
    pub format: DeltaFormat,
    /// The steps, in order.
    pub patches: Vec<DeltaPatch>,
}

/// Why a delta does not apply, or a text is no delta. Holds positions only, never content: errors get logged.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// A kept or deleted line is not what the text has there: the delta belongs to another text.
    #[error("line {line} of the text is not the line the delta expects there")]
    LineDiffers {
        /// Counted from 1.
        line: usize,
    },
    /// The delta says nothing about the end of the text.
    #[error("the delta ends before line {line} of the text")]
    LinesLeft {
        /// The first line not spoken of, counted from 1.
        line: usize,
    },
    /// An edit reaches past the end of the text.
    #[error("an edit reaches past the end of the text")]
    EditDoesNotFit(#[from] DoesNotFit),
    /// A patch of a kind that this format does not have.
    #[error("patch {index} does not belong into a delta of format {format:?}")]
    PatchOfOtherFormat {
        /// The format announced.
        format: DeltaFormat,
        /// The patch, counted from 0.
        index: usize,
    },
    /// A full replacement holds exactly one patch.
    #[error("a full replacement has one patch, this one has {0}")]
    ReplacementCount(usize),
    /// Longer than [`DELTA_JSON_BYTES_MAX`].
    #[error("the json text of a delta has at most {DELTA_JSON_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Not the JSON text of a delta.
    #[error("not the json text of a content delta")]
    Json(#[source] serde_json::Error),
}

impl ContentDelta {
    /// The full replacement by a text.
    pub fn replace(new: &str) -> Self {
        Self { format: DeltaFormat::FullReplace, patches: vec![DeltaPatch::Replace(new.to_owned())] }
    }

    /// Every line of two texts with what happens to it, however little they share.
    pub fn lines(old: &str, new: &str) -> Self {
        line_diff(old, new).0
    }

    /// The text after this delta.
    ///
    /// # Errors
    /// When the delta was made for another text, or its patches are not of its format.
    pub fn apply(&self, old: &str) -> Result<String, DeltaError> {
        match self.format {
            DeltaFormat::LineDiff => self.apply_lines(old),
            DeltaFormat::FullReplace => self.replacement().map(str::to_owned),
            DeltaFormat::TextEdits => TextChange::Edits(self.edits()?).apply(old),
        }
    }

    /// What an operation carries for this delta against `old`; `None` when it changes nothing. Lines are turned into edits by
    /// `compressor`.
    ///
    /// # Errors
    /// As [`ContentDelta::apply`].
    pub fn to_change(&self, old: &str, compressor: &DeltaCompressor) -> Result<Option<TextChange>, DeltaError> {
        let new = self.apply(old)?;
        Ok(match self.format {
            _ if new == old => None,
            DeltaFormat::LineDiff => compressor.change(old, &new),
            DeltaFormat::FullReplace => Some(TextChange::Replace(new)),
            DeltaFormat::TextEdits => Some(TextChange::Edits(self.edits()?)),
        })
    }

    /// The text that the document's `content_delta` field holds.
    #[must_use]
    pub fn to_json_text(&self) -> String {
        serde_json::to_string(self).expect("strings and integers always have a json form")
    }

    /// Reads what [`ContentDelta::to_json_text`] wrote. That the patches fit the format is left to [`ContentDelta::apply`].
    ///
    /// # Errors
    /// When the text is too long or is no delta.
    pub fn parse(json_text: &str) -> Result<Self, DeltaError> {
        if json_text.len() > DELTA_JSON_BYTES_MAX {
            return Err(DeltaError::TooLong(json_text.len()));
        }
        serde_json::from_str(json_text).map_err(DeltaError::Json)
    }

    fn apply_lines(&self, old: &str) -> Result<String, DeltaError> {
        let mut lines = old.split_inclusive('\n').zip(1..);
        let mut end = 1;
        let mut new = String::with_capacity(old.len());
        for (index, patch) in self.patches.iter().enumerate() {
            let (line, kept) = match patch {
                DeltaPatch::Insert(line) => {
                    new.push_str(line);
                    continue;
                }
                DeltaPatch::Keep(line) => (line, true),
                DeltaPatch::Delete(line) => (line, false),
                _ => return Err(self.other_format(index)),
            };
            match lines.next() {
                Some((found, number)) if found == line => end = number + 1,
                Some((_, number)) => return Err(DeltaError::LineDiffers { line: number }),
                None => return Err(DeltaError::LineDiffers { line: end }),
            }
            if kept {
                new.push_str(line);
            }
        }
        match lines.next() {
            Some((_, line)) => Err(DeltaError::LinesLeft { line }),
            None => Ok(new),
        }
    }

    fn replacement(&self) -> Result<&str, DeltaError> {
        match self.patches.as_slice() {
            [DeltaPatch::Replace(new)] => Ok(new),
            [_] => Err(self.other_format(0)),
            patches => Err(DeltaError::ReplacementCount(patches.len())),
        }
    }

    fn edits(&self) -> Result<Vec<TextPatch>, DeltaError> {
        let edit = |(index, patch): (usize, &DeltaPatch)| match patch {
            DeltaPatch::Edit { position, delete, insert } => {
                Ok(TextPatch { position: *position, delete: *delete, insert: insert.as_str().into() })
            }
            _ => Err(self.other_format(index)),
        };
        self.patches.iter().enumerate().map(edit).collect()
    }

    fn other_format(&self, index: usize) -> DeltaError {
        DeltaError::PatchOfOtherFormat { format: self.format, index }
    }
}

impl From<&TextChange> for ContentDelta {
    fn from(change: &TextChange) -> Self {
        match change {
            TextChange::Replace(new) => Self::replace(new),
            TextChange::Edits(patches) => {
                let edit = |patch: &TextPatch| DeltaPatch::Edit {
                    position: patch.position,
                    delete: patch.delete,
                    insert: patch.insert.as_ref().into(),
                };
                Self { format: DeltaFormat::TextEdits, patches: patches.iter().map(edit).collect() }
            }
        }
    }
}

/// The delta of two texts by lines, and how many scalar values stand in kept lines.
pub(super) fn line_diff(old: &str, new: &str) -> (ContentDelta, usize) {
    let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new.split_inclusive('\n').collect();
    let mut patches = Vec::with_capacity(old_lines.len().max(new_lines.len()));
    let mut kept = 0;
    for (keeps, old_range, new_range) in line_ranges(&old_lines, &new_lines) {
        if keeps {
            kept += old_lines[old_range.clone()].iter().map(|line| line.chars().count()).sum::<usize>();
            patches.extend(old_lines[old_range].iter().map(|line| DeltaPatch::Keep((*line).to_owned())));
        } else {
            patches.extend(old_lines[old_range].iter().map(|line| DeltaPatch::Delete((*line).to_owned())));
            patches.extend(new_lines[new_range].iter().map(|line| DeltaPatch::Insert((*line).to_owned())));
        }
    }
    (ContentDelta { format: DeltaFormat::LineDiff, patches }, kept)
}

/// Ranges of lines that are kept (`true`) or replaced, within the bounds of the line diff.
fn line_ranges(old: &[&str], new: &[&str]) -> Vec<(bool, Range<usize>, Range<usize>)> {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let suffix = old[prefix..].iter().rev().zip(new[prefix..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (&old[prefix..old.len() - suffix], &new[prefix..new.len() - suffix]);
    let mut ranges = vec![(true, 0..prefix, 0..prefix)];
    let bytes: usize = old_middle.iter().chain(new_middle).map(|line| line.len()).sum();
    if bytes > LINE_DIFF_BYTES_MAX || old_middle.len() + new_middle.len() > LINE_DIFF_LINES_MAX {
        ranges.push((false, prefix..prefix + old_middle.len(), prefix..prefix + new_middle.len()));
    } else {
        let moved = |range: Range<usize>| range.start + prefix..range.end + prefix;
        ranges.extend(
            capture_diff_slices(Algorithm::Myers, old_middle, new_middle)
                .into_iter()
                .map(|op| (matches!(op, DiffOp::Equal { .. }), moved(op.old_range()), moved(op.new_range()))),
        );
    }
    ranges.push((true, old.len() - suffix..old.len(), new.len() - suffix..new.len()));
    ranges
}
