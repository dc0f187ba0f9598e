//! Two texts side by side.
//!
//! Lines are aligned first (Myers' difference), then the words of lines that correspond; notes are often one long line, so that the words
//! tell more than the lines. Words that only one side has are coloured on a terminal and stand in brackets elsewhere.

use std::io;

use similar::{ChangeTag, DiffOp, TextDiff};

use super::super::output::Output;
use super::super::style::{Style, Tone};

/// What stands between the sides, in characters.
const GAP: usize = 3;

/// The longest text that is compared, in bytes; longer ones are shown one after the other, since comparing takes time that grows with the
/// square of how much they differ.
const COMPARED_BYTES_MAX: usize = 200_000;

/// A word and whether only this side has it.
type Word<'a> = (&'a str, bool);

/// The same for as long as its lines are compared.
type OwnedWord = (String, bool);

/// Prints the texts side by side.
pub(super) fn print(out: &mut Output, left: &str, right: &str) -> io::Result<()> {
    let (left, right) = (out.style.text(left).into_owned(), out.style.text(right).into_owned());
    if left.len().max(right.len()) > COMPARED_BYTES_MAX {
        out.line(&left)?;
        out.line("---")?;
        return out.line(&right);
    }
    for line in side_by_side(&out.style, &left, &right, out.width()) {
        out.line(line)?;
    }
    Ok(())
}

/// The lines of both texts in two columns, with a mark between them as `sdiff` has it.
fn side_by_side(style: &Style, left: &str, right: &str, width: usize) -> Vec<String> {
    let column = width.saturating_sub(GAP) / 2;
    let old: Vec<&str> = left.lines().collect();
    let new: Vec<&str> = right.lines().collect();
    let diff = TextDiff::from_slices(&old, &new);
    let mut shown = Vec::new();
    for op in diff.ops() {
        match *op {
            DiffOp::Equal { old_index, len, .. } => {
                old.iter().skip(old_index).take(len).for_each(|line| shown.extend(rows(style, column, &whole(line), ' ', &whole(line))));
            }
            DiffOp::Delete { old_index, old_len, .. } => {
                old.iter().skip(old_index).take(old_len).for_each(|line| shown.extend(rows(style, column, &whole(line), '<', &[])));
            }
            DiffOp::Insert { new_index, new_len, .. } => {
                new.iter().skip(new_index).take(new_len).for_each(|line| shown.extend(rows(style, column, &[], '>', &whole(line))));
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                for offset in 0..old_len.max(new_len) {
                    let left = old.get(old_index + offset).filter(|_| offset < old_len);
                    let right = new.get(new_index + offset).filter(|_| offset < new_len);
                    shown.extend(replaced(style, column, left.copied(), right.copied()));
                }
            }
        }
    }
    shown
}

/// A line and the one that stands in its place, if both are there.
fn replaced(style: &Style, column: usize, left: Option<&str>, right: Option<&str>) -> Vec<String> {
    match (left, right) {
        (Some(left), Some(right)) => {
            let (left, right) = words(left, right);
            rows(style, column, &borrowed(&left), '|', &borrowed(&right))
        }
        (left, None) => rows(style, column, &whole(left.unwrap_or_default()), '<', &[]),
        (None, Some(right)) => rows(style, column, &[], '>', &whole(right)),
    }
}

/// The words of a line that is shown as it is.
fn whole(line: &str) -> Vec<Word<'_>> {
    line.split_inclusive(' ').map(|word| (word, false)).collect()
}

fn borrowed(words: &[OwnedWord]) -> Vec<Word<'_>> {
    words.iter().map(|(word, own)| (word.as_str(), *own)).collect()
}

/// The words of two lines, each with whether only its side has it.
fn words(left: &str, right: &str) -> (Vec<OwnedWord>, Vec<OwnedWord>) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for change in TextDiff::from_words(left, right).iter_all_changes() {
        let word = change.value().to_owned();
        match change.tag() {
            ChangeTag::Equal => {
                old.push((word.clone(), false));
                new.push((word, false));
            }
            ChangeTag::Delete => old.push((word, true)),
            ChangeTag::Insert => new.push((word, true)),
        }
    }
    (old, new)
}

/// The rows that two lines take when they are broken to columns.
fn rows(style: &Style, column: usize, left: &[Word<'_>], mark: char, right: &[Word<'_>]) -> Vec<String> {
    let (left, right) = (broken(style, column, left), broken(style, column, right));
    let row = |index: usize| {
        let (text, length) = left.get(index).cloned().unwrap_or_default();
        let other = right.get(index).map(|(text, _)| text.as_str()).unwrap_or_default();
        let padding = column.saturating_sub(length);
        format!("{text}{:padding$} {mark} {other}", "").trim_end().to_owned()
    };
    (0..left.len().max(right.len()).max(1)).map(row).collect()
}

/// Breaks words into rows; each with its length as it is seen.
fn broken(style: &Style, column: usize, words: &[Word<'_>]) -> Vec<(String, usize)> {
    let mut rows = vec![(String::new(), 0)];
    for (word, own) in words {
        let marks = if *own && !style.colours && !word.trim().is_empty() { 2 } else { 0 };
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let used = rows.last().map_or(0, |(_, length)| *length);
            if used > 0 && used + rest.len() + marks > column {
                rows.push((String::new(), 0));
                continue;
            }
            let taken: String = rest.drain(..rest.len().min(column.saturating_sub(marks).max(1))).collect();
            if let Some((text, length)) = rows.last_mut() {
                *length += taken.chars().count() + marks;
                text.push_str(&marked(style, &taken, *own));
            }
        }
    }
    rows
}

fn marked(style: &Style, word: &str, own: bool) -> String {
    if !own || word.trim().is_empty() {
        return word.to_owned();
    }
    if style.colours { style.paint(Tone::Yellow, word).into_owned() } else { format!("[{word}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(left: &str, right: &str, width: usize) -> Vec<String> {
        side_by_side(&Style { is_terminal: false, colours: false }, left, right, width)
    }

    #[test]
    fn lines_are_aligned_and_words_marked() {
        let left = "same\nthe red fox\nonly left\nend";
        let right = "same\nthe brown fox\nend\nonly right";
        let expected = [
            "same                   same",
            "the [red] fox        | the [brown] fox",
            "only left            <",
            "end                    end",
            "                     > only right",
        ];
        assert_eq!(shown(left, right, 43), expected);
    }

    #[test]
    fn long_lines_are_broken_within_their_columns() {
        let left = format!("{} tail", "word ".repeat(30));
        let right = format!("{}X", "y".repeat(200));
        for width in [40, 41, 80, 100] {
            let rows = shown(&left, &right, width);
            assert!(rows.len() > 3);
            assert!(rows.iter().all(|row| row.chars().count() <= width), "{rows:#?}");
        }
    }

    #[test]
    fn equal_texts_have_no_marks() {
        assert!(shown("a\nb", "a\nb", 40).iter().all(|row| !row.contains(['|', '<', '>', '['])));
        assert_eq!(shown("", "", 40), Vec::<String>::new());
    }
}
