//! The path a document is imported under, and exported to: relative, checked, the same on every system.
//!
//! A path comes from another program and later becomes files on somebody's disk, so what could name another place (`..`, an absolute path,
//! a backslash) is refused here, once, and whoever holds a [`DocumentPath`] need not ask again.

use chrono::NaiveDate;
use nodespace_protocol::ids::NodeId;

use super::EXTENSIONS;

/// The most bytes of one part of a path: what common file systems take.
pub const PART_BYTES_MAX: usize = 255;

/// The most parts of a path. Deeper ones are refused: nobody keeps notes a hundred folders deep.
pub const PARTS_MAX: usize = 64;

/// Why a text is no document's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing between two separators, or at an end.
    #[error("the path `{0}` has an empty part; write it like notes/plan.md")]
    EmptyPart(String),
    /// `.` or `..`.
    #[error("the path `{0}` must not contain `.` or `..`")]
    Relative(String),
    /// A character that no part may have.
    #[error("the path `{path}` must not contain the character U+{character:04X}; parts are separated by `/`")]
    Character {
        /// The path.
        path: String,
        /// The character.
        character: u32,
    },
    /// A part longer than [`PART_BYTES_MAX`], or more parts than [`PARTS_MAX`].
    #[error("the path `{0}` is too long: at most {PARTS_MAX} parts of {PART_BYTES_MAX} bytes")]
    TooLong(String),
    /// Not the name of a Markdown file.
    #[error("`{0}` is not the name of a Markdown file: it must end in .md or .markdown")]
    NotMarkdown(String),
}

/// A checked path of a Markdown file. Ordered part by part, in byte order, as a folder is walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPath {
    text: String,
}

impl DocumentPath {
    /// Checks a path.
    ///
    /// # Errors
    /// When it could name something outside a folder, or is no Markdown file's.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        for part in text.split('/') {
            check_part(text, part)?;
        }
        if text.split('/').count() > PARTS_MAX {
            return Err(PathError::TooLong(text.to_owned()));
        }
        let path = Self { text: text.to_owned() };
        if path.title_and_extension().is_none() {
            return Err(PathError::NotMarkdown(text.to_owned()));
        }
        Ok(path)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The folders it lies in, outermost first, each as a path.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.text.match_indices('/').map(|(separator, _)| &self.text[..separator])
    }

    /// What lies in a folder (none: at the top) on the way to this document: the document itself or another folder, as a path. None when
    /// the document is elsewhere.
    pub(super) fn entry_of(&self, folder: Option<&str>) -> Option<&str> {
        let start = match folder {
            Some(folder) => self.text.strip_prefix(folder)?.starts_with('/').then_some(folder.len() + 1)?,
            None => 0,
        };
        let end = self.text[start..].find('/').map_or(self.text.len(), |separator| start + separator);
        Some(&self.text[..end])
    }

    /// The file's name without its extension.
    #[must_use]
    pub fn title(&self) -> &str {
        self.title_and_extension().map_or_else(|| self.name(), |(title, _)| title)
    }

    /// The file's extension as it was written.
    #[must_use]
    pub fn extension(&self) -> &str {
        self.title_and_extension().map_or("md", |(_, extension)| extension)
    }

    /// The date node it is, when its name is a date such as `2025-08-30`.
    #[must_use]
    pub fn date(&self) -> Option<NodeId> {
        date_id(self.title())
    }

    fn name(&self) -> &str {
        self.text.rsplit_once('/').map_or(self.text.as_str(), |(_, name)| name)
    }

    fn title_and_extension(&self) -> Option<(&str, &str)> {
        let (title, extension) = self.name().rsplit_once('.')?;
        let known = EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
        (known && !title.is_empty()).then_some((title, extension))
    }
}

impl PartialOrd for DocumentPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DocumentPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.split('/').cmp(other.text.split('/'))
    }
}

/// The last part of a folder's path.
#[must_use]
pub fn folder_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The id of a date node, when the text is a date in the form `2025-08-30`.
#[must_use]
pub fn date_id(text: &str) -> Option<NodeId> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    if date.format("%Y-%m-%d").to_string() != text {
        return None;
    }
    NodeId::parse(text).ok()
}

fn check_part(path: &str, part: &str) -> Result<(), PathError> {
    if part.is_empty() {
        return Err(PathError::EmptyPart(path.to_owned()));
    }
    if part == "." || part == ".." {
        return Err(PathError::Relative(path.to_owned()));
    }
    if let Some(character) = part.chars().find(|character| character.is_control() || *character == '\\') {
        return Err(PathError::Character { path: path.to_owned(), character: character.into() });
    }
    if part.len() > PART_BYTES_MAX {
        return Err(PathError::TooLong(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        let path = DocumentPath::parse("notes/2025/the plan.v2.MD").unwrap();
        assert_eq!(path.folders().collect::<Vec<_>>(), ["notes", "notes/2025"]);
        assert_eq!((path.title(), path.extension()), ("the plan.v2", "MD"));
        assert_eq!(path.date(), None);
        let entries = [None, Some("notes"), Some("notes/2025"), Some("note"), Some("other")].map(|folder| path.entry_of(folder));
        assert_eq!(entries, [Some("notes"), Some("notes/2025"), Some(path.as_str()), None, None]);
        assert_eq!(DocumentPath::parse("2025-08-30.md").unwrap().date(), Some(NodeId::parse("2025-08-30").unwrap()));
        for no_date in ["2025-02-30", "2025-8-30", "+2025-08-30", "2025-08-30 "] {
            assert_eq!(date_id(no_date), None, "{no_date}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for bad in
            ["", "/etc/x.md", "a//b.md", "a/", "../x.md", "a/./x.md", "a\\b.md", "C:\\x.md", "a\0.md", "a/\n.md", "x.txt", "x", ".md"]
        {
            assert!(DocumentPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(DocumentPath::parse(&format!("{}x.md", "a/".repeat(PARTS_MAX))).is_err());
        assert!(DocumentPath::parse(&format!("{}.md", "a".repeat(PART_BYTES_MAX))).is_err());
    }

    #[test]
    fn folders_stand_where_a_walk_finds_them() {
        let mut paths = ["a.md", "a/b.md", "a b.md", "a/a.md"].map(|text| DocumentPath::parse(text).unwrap());
        paths.sort();
        assert_eq!(paths.each_ref().map(DocumentPath::as_str), ["a/a.md", "a/b.md", "a b.md", "a.md"]);
    }
}
