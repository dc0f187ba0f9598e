//! The comparison behind a delta: lines, then scalar values, within bounds.

use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{BLOCK_SCALARS_MAX, KEPT_RUN_MIN, LINE_DIFF_BYTES_MAX, LINE_DIFF_LINES_MAX, REFINED_SCALARS_MAX};
use crate::text::TextPatch;

/// One replaced range, ends in scalar values of either text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    old: Range<usize>,
    new: Range<usize>,
}

/// What separates two texts.
#[derive(Debug, Default)]
pub(super) struct Edits {
    edits: Vec<Edit>,
    /// Scalar values of the old text outside every edit.
    pub(super) kept: usize,
}

impl Edits {
    /// Adds an edit behind the others, or widens the last one when hardly anything is kept between them.
    fn push(&mut self, edit: Edit) {
        if edit.old.is_empty() && edit.new.is_empty() {
            return;
        }
        match self.edits.last_mut() {
            Some(last) if edit.old.start - last.old.end < KEPT_RUN_MIN => {
                last.old.end = edit.old.end;
                last.new.end = edit.new.end;
            }
            _ => self.edits.push(edit),
        }
    }

    /// The edits as patches. Applied in sequence and ascending, so each stands where its text will stand in `new`.
    pub(super) fn into_patches(self, new: &str) -> Vec<TextPatch> {
        let mut rest = new;
        let mut at = 0;
        let mut patches = Vec::with_capacity(self.edits.len());
        for edit in self.edits {
            rest = skip(rest, edit.new.start - at);
            let after = skip(rest, edit.new.len());
            patches.push(TextPatch {
                position: scalars(edit.new.start),
                delete: scalars(edit.old.len()),
                insert: rest[..rest.len() - after.len()].into(),
            });
            rest = after;
            at = edit.new.end;
        }
        patches
    }
}

fn scalars(count: usize) -> u32 {
    u32::try_from(count).expect("the caller refuses texts of more than u32::MAX bytes")
}

/// The text after its first `count` scalar values.
fn skip(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or("", |(at, _)| &text[at..])
}

/// Compares two texts.
pub(super) fn between(old: &str, new: &str) -> Edits {
    let start = line_start(old, common_prefix(old, new));
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = line_end(old_rest, new_rest, common_suffix(old_rest, new_rest));
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end]);

    let at = old[..start].chars().count();
    let mut comparison = Comparison { edits: Edits::default(), old_at: at, new_at: at, budget: REFINED_SCALARS_MAX };
    comparison.middle(old_middle, new_middle);
    let mut edits = comparison.edits;
    let touched: usize = edits.edits.iter().map(|edit| edit.old.len()).sum();
    edits.kept = old.chars().count() - touched;
    edits
}

/// Bytes both texts begin with, ending between scalar values.
fn common_prefix(old: &str, new: &str) -> usize {
    let mut length = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
    while !old.is_char_boundary(length) || !new.is_char_boundary(length) {
        length -= 1;
    }
    length
}

/// Bytes both texts end with, beginning between scalar values.
fn common_suffix(old: &str, new: &str) -> usize {
    let mut length = old.bytes().rev().zip(new.bytes().rev()).take_while(|(a, b)| a == b).count();
    while !old.is_char_boundary(old.len() - length) || !new.is_char_boundary(new.len() - length) {
        length -= 1;
    }
    length
}

/// The start of the line that `at` lies in.
fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Shortens a common ending of `length` bytes to whole lines: what remains before it ends with a line break, or is all of the
/// text, on both sides.
fn line_end(old: &str, new: &str, length: usize) -> usize {
    let starts_line = |text: &str, at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
    if starts_line(old, old.len() - length) && starts_line(new, new.len() - length) {
        return length;
    }
    old[old.len() - length..].find('\n').map_or(0, |newline| length - newline - 1)
}

struct Comparison {
    edits: Edits,
    /// Scalar values of either text that were passed already.
    old_at: usize,
    new_at: usize,
    /// Scalar values that may still be compared one by one.
    budget: usize,
}

impl Comparison {
    fn middle(&mut self, old: &str, new: &str) {
        let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
        let new_lines: Vec<&str> = new.split_inclusive('\n').collect();
        if old.len() + new.len() > LINE_DIFF_BYTES_MAX || old_lines.len() + new_lines.len() > LINE_DIFF_LINES_MAX {
            return self.block(old, new);
        }
        for op in capture_diff_slices(Algorithm::Myers, &old_lines, &new_lines) {
            let old_lines = &old_lines[op.old_range()];
            if let DiffOp::Equal { .. } = op {
                let length: usize = old_lines.iter().map(|line| line.chars().count()).sum();
                self.old_at += length;
                self.new_at += length;
            } else {
                self.block(&old_lines.concat(), &new_lines[op.new_range()].concat());
            }
        }
    }

    /// A block of lines that differs.
    fn block(&mut self, old: &str, new: &str) {
        let old: Vec<char> = old.chars().collect();
        let new: Vec<char> = new.chars().collect();
        let size = old.len() + new.len();
        if old.is_empty() || new.is_empty() || size > BLOCK_SCALARS_MAX || size > self.budget {
            self.replace_between_equal_ends(&old, &new);
        } else {
            self.budget -= size;
            for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
                if !matches!(op, DiffOp::Equal { .. }) {
                    self.edit(op.old_range(), op.new_range());
                }
            }
        }
        self.old_at += old.len();
        self.new_at += new.len();
    }

    fn replace_between_equal_ends(&mut self, old: &[char], new: &[char]) {
        let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
        let suffix = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
        self.edit(prefix..old.len() - suffix, prefix..new.len() - suffix);
    }

    /// Ranges within the current block.
    fn edit(&mut self, old: Range<usize>, new: Range<usize>) {
        self.edits.push(Edit { old: self.old_at + old.start..self.old_at + old.end, new: self.new_at + new.start..self.new_at + new.end });
    }
}
