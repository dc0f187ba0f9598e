//! The part of a text that shows why it was found.

/// How many characters a snippet has at most, without the marks that something was left out.
const SNIPPET_CHARS_MAX: usize = 160;

/// How many characters of context a snippet shows before the word that was found.
const CONTEXT_CHARS: usize = 40;

/// The most bytes of a text that are looked at for a word; a word further on is found by the index, but the snippet is the text's beginning.
const SEARCHED_BYTES: usize = 64 << 10;

/// A part of `content` on one line, around the first occurrence of a word of `words`, or its beginning.
pub(crate) fn snippet(content: &str, words: Option<&str>) -> String {
    let content = &content[..floor_boundary(content, SEARCHED_BYTES)];
    let found = words.and_then(|words| find(content, words)).unwrap_or(0);
    let context: usize = content[..found].chars().rev().take(CONTEXT_CHARS).map(char::len_utf8).sum();
    let start = if found <= context { 0 } else { word_start(content, found - context, found) };
    let rest = &content[start..];
    let length = rest.char_indices().nth(SNIPPET_CHARS_MAX).map_or(rest.len(), |(index, _)| index);
    let part = rest[..length].split_whitespace().collect::<Vec<_>>().join(" ");
    let before = if start > 0 { "… " } else { "" };
    let after = if length < rest.len() { " …" } else { "" };
    format!("{before}{part}{after}")
}

/// Where the first of the words stands, whatever the case.
fn find(content: &str, words: &str) -> Option<usize> {
    let words: Vec<String> =
        words.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    let starts = content.char_indices().scan(false, |within, (index, letter)| {
        let start = letter.is_alphanumeric() && (!*within || !letter.is_ascii());
        *within = letter.is_alphanumeric();
        Some(start.then_some(index))
    });
    starts.flatten().find(|start| words.iter().any(|word| begins_with(&content[*start..], word)))
}

fn begins_with(text: &str, lower_word: &str) -> bool {
    let mut letters = text.chars().flat_map(char::to_lowercase);
    lower_word.chars().all(|letter| letters.next() == Some(letter))
}

/// The first start of a word in a range of `content`, or the range's beginning.
fn word_start(content: &str, from: usize, until: usize) -> usize {
    let space = content[from..until].char_indices().find(|(_, letter)| letter.is_whitespace());
    space.map_or(from, |(index, letter)| from + index + letter.len_utf8())
}

fn floor_boundary(text: &str, bytes: usize) -> usize {
    text.floor_char_boundary(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_the_word_that_was_found() {
        let content = format!("{}the needle\nis  here {}", "hay ".repeat(100), "straw ".repeat(100));
        let shown = snippet(&content, Some("zzz NEEDLE"));
        assert!(shown.contains("hay the needle is here straw"), "{shown}");
        assert!(shown.starts_with("… hay") && shown.ends_with(" …"), "{shown}");
    }

    #[test]
    fn it_begins_at_the_beginning_when_nothing_is_found() {
        assert_eq!(snippet("short text", Some("other")), "short text");
        assert_eq!(snippet("", None), "");
        assert_eq!(snippet(&"x".repeat(500), None).chars().count(), SNIPPET_CHARS_MAX + 2);
    }

    #[test]
    fn it_cuts_no_character_in_two() {
        for length in 0..200 {
            let content = format!("{}数据库 Übermaß", "é".repeat(length));
            for words in ["数据", "übermass", "übermaß", "é"] {
                assert!(snippet(&content, Some(words)).chars().count() <= SNIPPET_CHARS_MAX + 4);
            }
        }
        assert!(snippet(&"日本語".repeat(40_000), Some("本")).starts_with("日本語"));
    }
}
