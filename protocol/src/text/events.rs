//! The events of one text as columns: parents, keys, patches, and all inserted text in one string.
//!
//! A keystroke is an event of its own in the worst case, so nothing here is allocated per event. Every inserted character has a
//! number, given in the order events are pushed; the characters one event inserts are consecutive.

use super::{EventIndex, TextPatch};

/// How many characters a base and all text ever inserted since may have together. Reaching it makes [`push`] fail: a log of
/// operations is cut into segments and given a new base long before.
///
/// [`push`]: super::TextMerge::push
pub const CHARS_MAX: u32 = i32::MAX as u32 - 1;

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// A parent that was not pushed before.
    #[error("parent {} is not among the {events} events pushed so far", parent.0)]
    UnknownParent {
        /// The parent named.
        parent: EventIndex,
        /// How many events there are.
        events: u32,
    },
    /// The text would pass [`CHARS_MAX`], or its events 2^31.
    #[error("base and inserts together would pass {CHARS_MAX} characters")]
    Full,
}

/// A stored patch. Its insert is `bytes` of the shared text and takes the numbers from `first` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    pub(super) position: u32,
    pub(super) delete: u32,
    /// The number of the first inserted character, or of the next one to be inserted if this patch inserts none.
    pub(super) first: u32,
    pub(super) chars: u32,
    pub(super) byte_start: u32,
    pub(super) byte_end: u32,
}

/// A range of character numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CharRange {
    pub(super) first: u32,
    pub(super) len: u32,
}

#[derive(Debug)]
pub(super) struct Events<K> {
    keys: Vec<K>,
    parents: Vec<u32>,
    /// Where each event's parents end in `parents`.
    parent_ends: Vec<u32>,
    patches: Vec<Patch>,
    /// Where each event's patches end in `patches`.
    patch_ends: Vec<u32>,
    text: String,
    /// The number the next inserted character takes.
    next_char: u32,
}

impl<K> Events<K> {
    pub(super) const fn new() -> Self {
        Self {
            keys: Vec::new(),
            parents: Vec::new(),
            parent_ends: Vec::new(),
            patches: Vec::new(),
            patch_ends: Vec::new(),
            text: String::new(),
            next_char: 0,
        }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.keys.len()).expect("push refuses the 2^31st event")
    }

    /// Takes an event. `parents` are sorted and distinct.
    pub(super) fn push(&mut self, base_len: u32, parents: &[u32], key: K, patches: &[TextPatch]) -> Result<(), PushError> {
        self.check_room(base_len, parents.len(), patches)?;
        self.parents.extend_from_slice(parents);
        self.parent_ends.push(narrow(self.parents.len()));
        for patch in patches {
            let byte_start = narrow(self.text.len());
            let first = self.next_char;
            self.text.push_str(&patch.insert);
            let chars = count_chars(&patch.insert);
            self.next_char += chars;
            let (position, delete, byte_end) = (patch.position, patch.delete, narrow(self.text.len()));
            self.patches.push(Patch { position, delete, first, chars, byte_start, byte_end });
        }
        self.patch_ends.push(narrow(self.patches.len()));
        self.keys.push(key);
        Ok(())
    }

    /// Fails before anything is stored, so that every later count and offset fits its column.
    fn check_room(&self, base_len: u32, parents: usize, patches: &[TextPatch]) -> Result<(), PushError> {
        let bytes: usize = patches.iter().map(|patch| patch.insert.len()).sum();
        let limit = usize::try_from(CHARS_MAX).unwrap_or(usize::MAX);
        // Bytes are at least characters, and cheaper to count; only a text near the limit needs the exact figure.
        let chars = if bytes < 1 << 16 { bytes } else { patches.iter().map(|patch| patch.insert.chars().count()).sum() };
        let total = chars.saturating_add(index(base_len)).saturating_add(index(self.next_char));
        let columns = [total, self.keys.len(), self.parents.len() + parents, self.patches.len() + patches.len()];
        if columns.into_iter().any(|len| len >= limit) || self.text.len().saturating_add(bytes) > index(u32::MAX) {
            return Err(PushError::Full);
        }
        Ok(())
    }

    pub(super) fn parents(&self, event: u32) -> &[u32] {
        &self.parents[column(&self.parent_ends, event)]
    }

    pub(super) fn patches(&self, event: u32) -> &[Patch] {
        &self.patches[column(&self.patch_ends, event)]
    }

    pub(super) fn key(&self, event: u32) -> &K {
        &self.keys[index(event)]
    }

    /// All text ever inserted, in the order of character numbers.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn insert_text(&self, patch: &Patch) -> &str {
        &self.text[index(patch.byte_start)..index(patch.byte_end)]
    }

    /// The number the first character inserted by `event` or a later event has.
    pub(super) fn first_char_from(&self, event: u32) -> u32 {
        let patch = if event == 0 { 0 } else { self.patch_ends[index(event) - 1] };
        self.patches.get(index(patch)).map_or(self.next_char, |patch| patch.first)
    }

    /// All characters an event inserts; they are consecutive.
    pub(super) fn inserted(&self, event: u32) -> CharRange {
        match self.patches(event) {
            [first, .., last] => CharRange { first: first.first, len: last.first + last.chars - first.first },
            [only] => CharRange { first: only.first, len: only.chars },
            [] => CharRange { first: 0, len: 0 },
        }
    }

    /// The event that inserted a character.
    pub(super) fn inserter(&self, char: u32) -> u32 {
        let patch = self.patches.partition_point(|patch| patch.first <= char).saturating_sub(1);
        narrow(self.patch_ends.partition_point(|end| index(*end) <= patch))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let words = self.parents.capacity() + self.parent_ends.capacity() + self.patch_ends.capacity();
        words * size_of::<u32>()
            + self.keys.capacity() * size_of::<K>()
            + self.patches.capacity() * size_of::<Patch>()
            + self.text.capacity()
    }
}

/// The length after an event's patches, or `None` when one of them reaches past the end: the rule that makes an event void.
pub(super) fn length_after(patches: &[Patch], len: u32) -> Option<u32> {
    let mut len = u64::from(len);
    for patch in patches {
        if u64::from(patch.position) + u64::from(patch.delete) > len {
            return None;
        }
        len = len - u64::from(patch.delete) + u64::from(patch.chars);
    }
    u32::try_from(len).ok()
}

fn column(ends: &[u32], event: u32) -> std::ops::Range<usize> {
    let event = index(event);
    let start = if event == 0 { 0 } else { index(ends[event - 1]) };
    start..index(ends[event])
}

fn count_chars(text: &str) -> u32 {
    narrow(if text.len() == 1 { 1 } else { text.chars().count() })
}

/// A column's offset as an index.
pub(super) const fn index(value: u32) -> usize {
    value as usize
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("check_room keeps every column within 32 bits")
}
