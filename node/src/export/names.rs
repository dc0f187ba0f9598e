//! File names for what is exported: safe to be joined to a folder, and no two the same.
//!
//! Titles are anybody's text. What would lead to another folder or hide the file becomes `_`; two names that differ only in case get a number,
//! since some file systems take them for one. Everything else stays, so that an imported file is exported under its own name.

use std::collections::HashSet;

/// The most bytes of a name without its extension: leaves room for a number and the extension within the usual 255. A longer title is cut.
pub const NAME_BYTES_MAX: usize = 240;

/// The paths that have been given out.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A path in a folder (empty: the top) for a title, which nothing else has.
    pub fn path(&mut self, folder: &str, title: &str, extension: Option<&str>) -> String {
        let name = safe_name(title);
        let separator = if folder.is_empty() { "" } else { "/" };
        let extension = extension.map(|extension| format!(".{extension}")).unwrap_or_default();
        let mut path = format!("{folder}{separator}{name}{extension}");
        let mut number = 2;
        while !self.taken.insert(path.to_lowercase()) {
            path = format!("{folder}{separator}{name} {number}{extension}");
            number += 1;
        }
        path
    }
}

/// A title as a file's name: its first line, and what an imported file had for its name as it was.
#[must_use]
pub fn safe_name(title: &str) -> String {
    let line = title.lines().next().unwrap_or_default();
    let safe: String = line.chars().map(|found| if found.is_control() || matches!(found, '/' | '\\') { '_' } else { found }).collect();
    let cut = &safe[..safe.floor_char_boundary(NAME_BYTES_MAX)];
    match cut.strip_prefix('.') {
        // A dot in front hides a file, and an import passes hidden ones over.
        Some(rest) => format!("_{rest}"),
        None if cut.trim().is_empty() => "untitled".to_owned(),
        None => cut.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::path::DocumentPath;

    #[test]
    fn every_title_becomes_a_name() {
        assert_eq!(safe_name("the plan"), "the plan");
        assert_eq!(safe_name("a/b: c?\nmore"), "a_b: c?");
        assert_eq!(safe_name(".."), "_.");
        assert_eq!(safe_name("etc. "), "etc. ");
        assert_eq!(safe_name(".git"), "_git");
        assert_eq!(safe_name("  "), "untitled");
        assert!(safe_name(&"é".repeat(500)).len() <= NAME_BYTES_MAX);
        for title in ["x", "..", "a\\b", "\0", &"é".repeat(500)] {
            let path = Names::default().path("folder", title, Some("md"));
            assert!(DocumentPath::parse(&path).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn no_two_names_are_the_same() {
        let mut names = Names::default();
        let paths = ["Plan", "plan", "plan", "plan 2"].map(|title| names.path("", title, Some("md")));
        assert_eq!(paths, ["Plan.md", "plan 2.md", "plan 3.md", "plan 2 2.md"]);
        assert_eq!(names.path("f", "plan", Some("md")), "f/plan.md");
    }
}
