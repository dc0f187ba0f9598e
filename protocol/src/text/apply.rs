//! Patches applied to a plain string.
//!
//! A `String` has no index by character, so each patch costs a walk from the start; that is the cheapest way for a paragraph and a
//! handful of patches. Longer scripts on longer texts go through a [`GapBuffer`].

use super::gap_buffer::GapBuffer;
use super::{TextPatch, TextSink};

/// Beyond this many bytes walked in total (text length times patches) a gap buffer is cheaper than walking.
const WALK_BYTES_MAX: usize = 64 * 1024;

/// A patch reaches past the end of the text it was to apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("patch {patch} ends at {end}, past the end of a text of {len} characters")]
pub struct DoesNotFit {
    /// The number of the patch in the script.
    pub patch: usize,
    /// Where the patch's deletion ends.
    pub end: u64,
    /// The length of the text when the patch's turn came.
    pub len: u64,
}

/// Applies patches in sequence, each to the text the previous one left.
///
/// # Errors
/// When any of them does not fit; the text is then unchanged.
pub fn apply_patches(text: &mut String, patches: &[TextPatch]) -> Result<(), DoesNotFit> {
    let chars = check(text, patches)?;
    if text.len().saturating_mul(patches.len()) > WALK_BYTES_MAX && patches.len() > 1 {
        let mut buffer = GapBuffer::from(text.as_str());
        for patch in patches {
            buffer.patch(patch.position, patch.delete, &patch.insert);
        }
        *text = buffer.to_string();
        return Ok(());
    }
    // In a text of ASCII alone positions are byte offsets: no walk.
    let mut ascii = chars == text.len() as u64;
    for patch in patches {
        let start = byte_at(text, 0, patch.position, ascii);
        let end = byte_at(text, start, patch.delete, ascii);
        text.replace_range(start..end, &patch.insert);
        ascii &= patch.insert.is_ascii();
    }
    Ok(())
}

/// Whether every patch fits, by lengths alone; answers the length of the text before.
fn check(text: &str, patches: &[TextPatch]) -> Result<u64, DoesNotFit> {
    let count = |text: &str| u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let chars = count(text);
    let mut len = chars;
    for (number, patch) in patches.iter().enumerate() {
        let end = u64::from(patch.position) + u64::from(patch.delete);
        if end > len {
            return Err(DoesNotFit { patch: number, end, len });
        }
        len = len - u64::from(patch.delete) + count(&patch.insert);
    }
    Ok(chars)
}

/// The byte offset `chars` characters after byte offset `from`, or the end of the text.
fn byte_at(text: &str, from: usize, chars: u32, ascii: bool) -> usize {
    let chars = usize::try_from(chars).unwrap_or(usize::MAX);
    if ascii {
        return from.saturating_add(chars).min(text.len());
    }
    let rest = &text[from..];
    from + rest.char_indices().nth(chars).map_or(rest.len(), |(byte, _)| byte)
}
