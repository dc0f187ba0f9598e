//! What changed since the last checkpoint, by number: nodes, or chunks of long lists.
//!
//! A checkpoint is saved in another thread while changes go on. So a mark has two stages: *dirty* until a checkpoint takes it up,
//! *saving* until that checkpoint is known to be kept. What changes meanwhile is dirty again, and in the next one. When saving failed,
//! everything it took up is dirty as before.

/// Changed since the last checkpoint that took it up.
const DIRTY: u8 = 1;
/// In a checkpoint that is being saved.
const SAVING: u8 = 2;

/// Numbers that changed. Marking costs a few instructions, whatever the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    flags: Vec<u8>,
    dirty: Vec<u32>,
    saving: Vec<u32>,
}

impl Marks {
    /// Notes a change. Answers whether it is the first since the last checkpoint took up what there was.
    pub(crate) fn mark(&mut self, number: u32) -> bool {
        let at = number as usize;
        if self.flags.len() <= at {
            self.flags.resize(at + 1, 0);
        }
        let first = self.flags[at] & DIRTY == 0;
        if first {
            self.flags[at] |= DIRTY;
            self.dirty.push(number);
        }
        first
    }

    /// Whether the last checkpoint that is known to be kept lacks a change of this number.
    pub(crate) fn is_marked(&self, number: u32) -> bool {
        self.flags.get(number as usize).is_some_and(|flags| *flags != 0)
    }

    /// How many numbers that holds for, at most: one that changed while it was being saved counts twice.
    pub(crate) const fn len(&self) -> usize {
        self.dirty.len() + self.saving.len()
    }

    /// A checkpoint takes up what is dirty; ascending. One at a time.
    pub(crate) fn begin(&mut self) -> &[u32] {
        debug_assert!(self.saving.is_empty(), "one checkpoint is saved at a time");
        self.saving = std::mem::take(&mut self.dirty);
        self.saving.sort_unstable();
        for number in &self.saving {
            self.flags[*number as usize] = SAVING;
        }
        &self.saving
    }

    /// The checkpoint was kept, or was not. Answers the numbers it had taken up.
    pub(crate) fn finish(&mut self, saved: bool) -> Vec<u32> {
        let taken = std::mem::take(&mut self.saving);
        for number in &taken {
            self.flags[*number as usize] &= !SAVING;
        }
        if !saved {
            for number in &taken {
                self.mark(*number);
            }
        }
        taken
    }

    /// All that is dirty, and from now on is not; for who needs no checkpoint.
    pub(crate) fn take(&mut self) -> Vec<u32> {
        let taken = std::mem::take(&mut self.dirty);
        for number in &taken {
            self.flags[*number as usize] &= !DIRTY;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;

    #[test]
    fn what_changes_while_it_is_saved_is_saved_again() {
        let mut marks = Marks::default();
        assert_eq!([5, 2, 5].map(|number| marks.mark(number)), [true, true, false]);
        assert_eq!(marks.begin(), [2, 5]);
        marks.mark(5);
        marks.mark(7);
        assert_eq!(marks.finish(true), [2, 5]);
        assert!(!marks.is_marked(2) && marks.is_marked(5) && marks.is_marked(7));
        assert_eq!(marks.begin(), [5, 7]);
    }

    #[test]
    fn what_was_not_kept_is_dirty_as_before() {
        let mut marks = Marks::default();
        marks.mark(1);
        marks.mark(3);
        marks.begin();
        marks.mark(3);
        assert_eq!(marks.finish(false), [1, 3]);
        assert_eq!(marks.begin(), [1, 3]);
        assert_eq!(marks.finish(true).len(), 2);
        assert_eq!((marks.len(), marks.is_marked(3)), (0, false));
    }
}
