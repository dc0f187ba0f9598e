//! Which files are imported, and under which names.
//!
//! A document is known by its path relative to the imported folder, the folder's own name in front: the same folder imported again, from
//! wherever it lies then, is the same documents.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nodespace_node::import::{self, FILE_BYTES_MAX};

use super::super::exit::Failure;
use super::super::source;

/// A file to be imported.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// What it is known by.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// How large it is.
    pub(super) bytes: u64,
}

impl Source {
    /// Its text.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        if self.bytes > FILE_BYTES_MAX {
            return Err(Failure::usage(format!("{} is larger than {FILE_BYTES_MAX} bytes", self.path.display())));
        }
        source::file(&self.path)
    }
}

/// All files that the paths name, in the order of the paths and of their names.
pub(super) fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        // `.` and `..` have a name too, which is only known once they are resolved.
        let whole = std::fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
        let parent = whole.parent().unwrap_or(&whole).to_path_buf();
        let files = if metadata.is_dir() { import::markdown_files(&whole)? } else { vec![whole.clone()] };
        if files.is_empty() {
            return Err(Failure::usage(format!("no Markdown files below {}", path.display())));
        }
        for file in files {
            sources.push(one(&parent, file)?);
        }
    }
    refuse_twins(&sources)?;
    Ok(sources)
}

fn one(parent: &Path, path: PathBuf) -> anyhow::Result<Source> {
    let relative = path.strip_prefix(parent).unwrap_or(&path);
    let steps: Option<Vec<&str>> = relative.iter().map(|step| step.to_str()).collect();
    let Some(steps) = steps else {
        return Err(Failure::usage(format!("the name of {} is not UTF-8; rename it first", path.display())));
    };
    let name = steps.join("/");
    let bytes = std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
    Ok(Source { name, path, bytes })
}

/// Two folders of one name would be taken for one document after the other.
fn refuse_twins(sources: &[Source]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    match sources.iter().find(|source| !names.insert(source.name.as_str())) {
        Some(twin) => {
            Err(Failure::usage(format!("several files would be known as {}; import them one after the other with --under", twin.name)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn documents_are_named_from_the_folder_on() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        fs::create_dir_all(notes.join("2025")).unwrap();
        fs::write(notes.join("2025/plan.md"), "plan").unwrap();
        fs::write(notes.join("a.md"), "a").unwrap();
        let names = |path: &Path| sources(&[path.to_path_buf()]).unwrap().into_iter().map(|source| source.name).collect::<Vec<_>>();
        assert_eq!(names(&notes), ["notes/2025/plan.md", "notes/a.md"]);
        assert_eq!(names(&notes.join("2025/..")), ["notes/2025/plan.md", "notes/a.md"]);
        assert_eq!(names(&notes.join("a.md")), ["a.md"]);
        let twice = sources(&[notes.clone(), notes]).unwrap_err().to_string();
        assert!(twice.contains("notes/2025/plan.md"), "{twice}");
    }

    #[test]
    fn nothing_to_import_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sources(&[folder.path().to_path_buf()]).unwrap_err().to_string().contains("no Markdown files"));
        assert!(sources(&[folder.path().join("none")]).is_err());
    }
}
