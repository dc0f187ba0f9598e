//! From an operation's hash to its index, in about ten bytes an operation.
//!
//! For each operation a 32-bit tag of its hash is kept; a table of indices, addressed by the tag, leads to candidates. A candidate
//! is verified by reading the operation, so a false one costs time and never a wrong answer; with n operations a hash that is not
//! there meets one with probability n / 2^32. The tag is keyed with a number that never leaves the device: somebody who can choose
//! operations cannot choose tags.

use nodespace_protocol::ids::OpHash;

const EMPTY: u32 = u32::MAX;
const SLOTS_MIN: usize = 64;
const CHUNK: usize = 1 << 16;

/// The table.
#[derive(Debug)]
pub(crate) struct Lookup {
    key: u64,
    /// Tags by index, in chunks so that growing copies nothing.
    tags: Vec<Vec<u32>>,
    count: u32,
    /// Indices, by linear probing from where the tag points.
    slots: Vec<u32>,
}

impl Lookup {
    /// An empty table with room for `ops` operations.
    pub(crate) fn new(key: u64, ops: usize) -> Self {
        Self { key, tags: Vec::new(), count: 0, slots: vec![EMPTY; slots_for(ops)] }
    }

    /// The tag of a hash.
    pub(crate) fn tag(&self, hash: &OpHash) -> u32 {
        let mut head = [0; 8];
        head.copy_from_slice(&hash.0[..8]);
        ((u64::from_le_bytes(head) ^ self.key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
    }

    /// Gives the next index to an operation with this tag.
    pub(crate) fn push(&mut self, tag: u32) {
        if (self.count as usize + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        if self.tags.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.tags.push(Vec::new());
        }
        if let Some(chunk) = self.tags.last_mut() {
            chunk.push(tag);
        }
        self.place(tag, self.count);
        self.count += 1;
    }

    fn place(&mut self, tag: u32, index: u32) {
        let mut slot = self.home(tag);
        while self.slots[slot] != EMPTY {
            slot = if slot + 1 == self.slots.len() { 0 } else { slot + 1 };
        }
        self.slots[slot] = index;
    }

    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn grow(&mut self) {
        self.slots = Vec::new();
        self.slots = vec![EMPTY; slots_for(self.count as usize * 3 / 2)];
        for index in 0..self.count {
            self.place(self.tag_of(index), index);
        }
    }

    /// The tag of an operation that was pushed.
    pub(crate) fn tag_of(&self, index: u32) -> u32 {
        self.tags[index as usize / CHUNK][index as usize % CHUNK]
    }

    /// The indices that may be those of a hash with this tag.
    pub(crate) fn candidates(&self, tag: u32) -> impl Iterator<Item = u32> + '_ {
        let (before, from) = self.slots.split_at(self.home(tag));
        let run = from.iter().chain(before).copied().take_while(|index| *index != EMPTY);
        run.filter(move |index| self.tag_of(*index) == tag)
    }

    /// Bytes of memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * 4 + self.tags.iter().map(|chunk| chunk.capacity() * 4).sum::<usize>()
    }
}

fn slots_for(ops: usize) -> usize {
    (ops * 4 / 3 + 1).max(SLOTS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> OpHash {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_le_bytes());
        OpHash(bytes)
    }

    #[test]
    fn every_operation_is_among_its_candidates() {
        let mut table = Lookup::new(7, 0);
        for number in 0..100_000 {
            table.push(table.tag(&hash(number)));
        }
        for number in (0..100_000).step_by(77) {
            assert!(table.candidates(table.tag(&hash(number))).any(|index| index == number));
        }
        let bytes = table.memory_bytes() as f64 / 100_000.0;
        assert!(bytes < 14.0, "{bytes} bytes an operation");
    }
}
