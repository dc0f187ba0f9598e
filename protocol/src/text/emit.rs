//! Where transformed edits go: nowhere, or to the caller's sink with neighbouring edits joined.

use std::ops::Range;

use super::TextSink;
use super::events::{Patch, index};

/// What a replay does to the merged text, in sequence. Positions are in the merged text.
pub(super) trait Effects {
    /// The insert of `patch`, at a position.
    fn insert(&mut self, position: u32, patch: &Patch);
    /// The removal of `count` characters at a position.
    fn delete(&mut self, position: u32, count: u32);
}

/// A replay whose effects are known already.
#[derive(Debug)]
pub(super) struct Silent;

impl Effects for Silent {
    fn insert(&mut self, _: u32, _: &Patch) {}

    fn delete(&mut self, _: u32, _: u32) {}
}

/// Passes effects on, joining runs of typing and of deletion: a sink's call costs more than what it moves.
#[derive(Debug)]
pub(super) struct Emitter<'a, S: TextSink> {
    text: &'a str,
    sink: &'a mut S,
    position: u32,
    delete: u32,
    /// The characters of `insert`.
    chars: u32,
    /// What to insert, as a range of `text`: inserts that follow one another there are one.
    insert: Range<u32>,
}

impl<'a, S: TextSink> Emitter<'a, S> {
    pub(super) const fn new(text: &'a str, sink: &'a mut S) -> Self {
        Self { text, sink, position: 0, delete: 0, chars: 0, insert: 0..0 }
    }

    /// Passes on what is held back. To be called at the end.
    pub(super) fn flush(&mut self) {
        if self.delete > 0 || self.chars > 0 {
            self.sink.patch(self.position, self.delete, &self.text[index(self.insert.start)..index(self.insert.end)]);
        }
        (self.delete, self.chars, self.insert) = (0, 0, 0..0);
    }
}

impl<S: TextSink> Effects for Emitter<'_, S> {
    fn insert(&mut self, position: u32, patch: &Patch) {
        let follows = self.chars == 0 || self.insert.end == patch.byte_start;
        if !follows || position != self.position + self.chars || (self.chars == 0 && self.delete == 0) {
            self.flush();
            self.position = position;
        }
        if self.chars == 0 {
            self.insert.start = patch.byte_start;
        }
        self.chars += patch.chars;
        self.insert.end = patch.byte_end;
    }

    fn delete(&mut self, position: u32, count: u32) {
        let nothing = self.chars == 0 && self.delete == 0;
        if !nothing && position == self.position + self.chars {
            self.delete += count;
        } else if self.chars == 0 && self.delete > 0 && position + count == self.position {
            (self.position, self.delete) = (position, self.delete + count);
        } else {
            self.flush();
            (self.position, self.delete) = (position, count);
        }
    }
}
