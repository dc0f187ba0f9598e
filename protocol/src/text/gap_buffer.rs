//! A text that is edited often: a gap buffer of characters.
//!
//! The characters lie in one vector with a gap at the last edit. Editing near the last edit moves little; editing elsewhere moves
//! the characters between. Four bytes a character buy indexing by character, which is what patches are made of.

use std::fmt::{self, Write as _};

use super::TextSink;

/// The gap made when an insert finds none, in characters: large enough that typing seldom reallocates.
const GAP_CHARS_MIN: usize = 256;

/// A text with cheap edits near the previous edit, addressed by character.
#[derive(Clone, Default)]
pub struct GapBuffer {
    /// Text before the gap, the gap, text after it. The gap's content is unspecified.
    chars: Vec<char>,
    gap_start: usize,
    gap_end: usize,
}

impl GapBuffer {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The length in characters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chars.len() - (self.gap_end - self.gap_start)
    }

    /// Whether the text has no character.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The characters from first to last.
    pub fn chars(&self) -> impl Iterator<Item = char> + '_ {
        self.chars[..self.gap_start].iter().chain(&self.chars[self.gap_end..]).copied()
    }

    fn move_gap(&mut self, position: usize) {
        if position < self.gap_start {
            let moved = self.gap_start - position;
            self.chars.copy_within(position..self.gap_start, self.gap_end - moved);
            self.gap_end -= moved;
        } else if position > self.gap_start {
            let moved = position - self.gap_start;
            self.chars.copy_within(self.gap_end..self.gap_end + moved, self.gap_start);
            self.gap_end += moved;
        }
        self.gap_start = position;
    }

    /// Makes room for at least `room` characters in the gap, doubling so that growth is paid for by what was inserted.
    fn reserve(&mut self, room: usize) {
        if self.gap_end - self.gap_start >= room {
            return;
        }
        let grown = room.max(self.len()).max(GAP_CHARS_MIN);
        let tail = self.chars.len() - self.gap_end;
        self.chars.resize(self.chars.len() + grown, '\0');
        self.chars.copy_within(self.gap_end..self.gap_end + tail, self.gap_end + grown);
        self.gap_end += grown;
    }
}

impl TextSink for GapBuffer {
    /// A patch that does not fit changes nothing.
    fn patch(&mut self, position: u32, delete: u32, insert: &str) {
        let (Ok(position), Ok(delete)) = (usize::try_from(position), usize::try_from(delete)) else { return };
        if position.checked_add(delete).is_none_or(|end| end > self.len()) {
            return;
        }
        if position != self.gap_start && position + delete == self.gap_start {
            // A backspace: the gap grows to the left and nothing moves.
            self.gap_start = position;
        } else {
            self.move_gap(position);
            self.gap_end += delete;
        }
        if insert.is_empty() {
            return;
        }
        self.reserve(insert.len());
        for c in insert.chars() {
            self.chars[self.gap_start] = c;
            self.gap_start += 1;
        }
    }
}

impl From<&str> for GapBuffer {
    fn from(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let end = chars.len();
        Self { chars, gap_start: end, gap_end: end }
    }
}

impl fmt::Display for GapBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

impl fmt::Debug for GapBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GapBuffer").field("len", &self.len()).finish_non_exhaustive()
    }
}
