//! Merging concurrent edits of one text.
//!
//! Every operation on a text carries positional edits ([`TextPatch`]) against the text at the operation's parents. Those positions
//! mean nothing in another version, so [`TextMerge`] replays the graph of edits: it keeps a sequence of all characters ever
//! inserted in a *tracker*, moves the tracker to the version an edit was made against, finds the place there, and reads off where
//! that place is in the merged text. While nobody is concurrent no tracker exists and edits pass straight through, so a text
//! costs what its concurrency costs.
//!
//! Two inserts at one place are ordered by the Fugue rule and then by a key the caller gives, smaller first. The result is a
//! function of the graph and the keys: neither the order of arrival nor how events were batched can change it.
//!
//! ```text
//!   push(parents, key, patches) ──► Events ──► merge ─┬─ everything before is in its past: straight through ─┬─► TextSink
//!                                                     └─ else Tracker: retreat, advance, apply, transform ────┘
//! ```
//!
//! An event whose edits do not fit the text at its parents is *void*: it stays in the graph and changes nothing, and every device
//! reaches that verdict because it depends on the event's past alone.
//!
//! Everything here decides what a text *is*, so it is protocol: changing a rule needs a new version beside the old one.
//!
//! Sources: J. Gentle and M. Kleppmann, *Collaborative Text Editing with Eg-walker: Better, Faster, Smaller*, EuroSys 2025;
//! M. Weidner and M. Kleppmann, *The Art of the Fugue: Minimizing Interleaving in Collaborative Text Editing*, 2023.

mod apply;
mod bounds;
mod checkout;
mod emit;
mod events;
mod gap_buffer;
mod merge;
mod order;
mod overlap;
mod span;
mod span_index;
mod span_search;
mod span_tree;
#[cfg(test)]
mod tests;
pub mod trace;
mod tracker;
mod version;

pub use self::apply::{DoesNotFit, apply_patches};
pub use self::checkout::CheckoutError;
pub use self::events::{CHARS_MAX, PushError};
pub use self::gap_buffer::GapBuffer;
pub use self::merge::TextMerge;
pub use self::overlap::OVERLAP_HEADS_MAX;

/// One positional edit: at `position`, remove `delete` characters, then insert `insert`.
///
/// Positions and counts are in Unicode scalar values. The patches of one event apply in sequence: each refers to the text as the
/// previous one left it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TextPatch {
    /// Where, from the start of the text.
    pub position: u32,
    /// How many characters to remove from there on.
    pub delete: u32,
    /// What to put in their place.
    pub insert: Box<str>,
}

impl TextPatch {
    /// A patch that removes `delete` characters at `position` and puts `insert` there.
    pub fn new(position: u32, delete: u32, insert: impl Into<Box<str>>) -> Self {
        Self { position, delete, insert: insert.into() }
    }
}

/// The name of an event within one [`TextMerge`]: its number in the order they were pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventIndex(pub u32);

/// What takes the merged edits: a text, or whatever shadows one.
pub trait TextSink {
    /// Removes `delete` characters at `position`, then inserts `insert` there. Calls follow one another: each position refers to
    /// the text as the previous call left it.
    fn patch(&mut self, position: u32, delete: u32, insert: &str);
}
