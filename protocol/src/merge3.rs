//! Three-way merge: what two texts made of their common ancestor.
//!
//! The idea of diff3 (Khanna, Kunal, Pierce, *A Formal Investigation of Diff3*, FSTTCS 2007): compare the ancestor with either
//! side; where only one side changed it, take that change; where both did, and not to the same text, there is a conflict. Changes
//! conflict also when they only touch, as with git: somebody who rewrote one line and somebody who rewrote the next were writing
//! about the same thing.
//!
//! ```text
//! base, left, right --- tokens (lines, words or characters), equal ones numbered alike
//! base -> left      --- shortest edit script (Myers), groups slid to where they read best --> changes
//! base -> right     --- the same                                                          --> changes
//! both              --- woven: runs of touching changes are taken, or are a conflict      --> hunks
//! ```
//!
//! Runs on every device inside the fold, so it is **protocol**: its answer never depends on anything but its four arguments, it
//! has no heuristic and no deadline, and it never changes in place. Another answer is another [`MERGE3_VERSION`]; the cases of
//! `tests/vectors/merge3.json` hold the present one fast. Conflicts are structure: the text never holds markers.
//!
//! Agreement with `git merge-file` is measured by the tests. Three things differ by intent: git drops frequent lines from the
//! comparison of larger files and gives up early on expensive ones; it shows a conflict without the lines that both sides have in
//! common, where [`Hunk::Conflict`] holds both sides whole; and it completes a missing last line break inside a conflict.

mod compact;
mod myers;
#[cfg(test)]
mod tests;
mod tokens;
mod weave;

use serde::{Deserialize, Serialize};

use tokens::Tokens;

/// The version of everything in this module; stored with whatever depends on a merge. A change of any result needs the next number,
/// new vectors, and the old code kept for the old number.
pub const MERGE3_VERSION: u32 = 1;

/// Bounds one comparison: edit distance times compared tokens (those that occur on both sides, between the equal ends). Past it the
/// whole differing middle counts as one change of that side, which conflicts with any change of the other side in there.
///
/// Both factors are properties of the texts, not of how they are compared, so every implementation draws the line at the same
/// place. Two texts that together have 8,192 tokens never meet it; of two with 20,000 lines each, 1,677 lines may have moved,
/// gone or come (lines that occur on one side only do not count). At the bound a comparison takes some 60 ms.
pub const EDIT_COST_MAX: u64 = 1 << 26;

/// What a merge takes as indivisible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Granularity {
    /// Lines, each with its line break (`\n`).
    Line,
    /// Words, single punctuation characters, runs of blanks, line breaks. See `tokens.rs` for what a word is: no table of
    /// Unicode's is asked, since those change.
    Word,
    /// Unicode scalar values.
    Char,
}

/// One of the two sides of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The second argument of [`merge3`].
    Left,
    /// The third.
    Right,
}

/// A piece of a merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hunk {
    /// Text that is not in question: unchanged, or changed on one side only, or on both sides alike. Never empty, never two in a
    /// row.
    Clean(String),
    /// Text that both sides changed, each in another way. Any of the three may be empty; `left` and `right` differ.
    Conflict {
        /// What the ancestor has here.
        base: String,
        /// What the left side has here.
        left: String,
        /// What the right side has here.
        right: String,
    },
}

/// The result of a three-way merge: its pieces in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Merge3 {
    /// The pieces. An empty merge has none.
    pub hunks: Vec<Hunk>,
}

impl Merge3 {
    /// Whether nothing conflicts.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.hunks.iter().any(|hunk| matches!(hunk, Hunk::Conflict { .. }))
    }

    /// The merged text, if nothing conflicts.
    #[must_use]
    pub fn clean_text(&self) -> Option<String> {
        self.is_clean().then(|| self.text_preferring(Side::Left))
    }

    /// The merged text with every conflict decided for one side: the other side's changes outside the conflicts are still in it.
    #[must_use]
    pub fn text_preferring(&self, side: Side) -> String {
        let piece = |hunk: &'_ Hunk| match (hunk, side) {
            (Hunk::Clean(text), _) => text.clone(),
            (Hunk::Conflict { left, .. }, Side::Left) => left.clone(),
            (Hunk::Conflict { right, .. }, Side::Right) => right.clone(),
        };
        self.hunks.iter().map(piece).collect()
    }

    /// The pieces that conflict.
    pub fn conflicts(&self) -> impl Iterator<Item = &Hunk> {
        self.hunks.iter().filter(|hunk| matches!(hunk, Hunk::Conflict { .. }))
    }

    /// Adds text that is not in question.
    fn clean(&mut self, text: &str) {
        match self.hunks.last_mut() {
            _ if text.is_empty() => {}
            Some(Hunk::Clean(last)) => last.push_str(text),
            _ => self.hunks.push(Hunk::Clean(text.to_owned())),
        }
    }
}

/// Merges `left` and `right`, which were both made of `base`.
///
/// Swapping the sides swaps the sides of the conflicts and changes nothing else. Equal sides, or one side equal to the base, are
/// always clean.
#[must_use]
pub fn merge3(base: &str, left: &str, right: &str, granularity: Granularity) -> Merge3 {
    let mut merge = Merge3::default();
    if left == right || base == right {
        merge.clean(left);
    } else if base == left {
        merge.clean(right);
    } else {
        let [base, left, right] = Tokens::of([base, left, right], granularity);
        weave::weave(&base, &left, &right, &mut merge);
    }
    merge
}
