//! Files and folders of Markdown.
//!
//! A folder is walked in the byte order of its names, so that two machines read the same folder alike. Hidden entries (a leading dot) and
//! symbolic links are passed over: the first are other programs' files, the second can lead round in a circle.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use crate::markdown;
use crate::outline::Outline;

/// The largest Markdown file that is imported, in bytes. A larger one is refused with [`ImportError::TooLarge`], before it is read whole:
/// notes are written by hand, and whatever passes this size is data that took the wrong extension.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The file name extensions that are taken for Markdown, compared without regard to case.
pub const EXTENSIONS: [&str; 2] = ["md", "markdown"];

/// Why a file or folder was not imported. Each names the path that was at fault.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The operating system did not let us read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file holds bytes that are not UTF-8. Nothing is guessed: a wrong guess would be shared with everybody.
    #[error("{} is not UTF-8: it is valid up to byte {}", path.display(), source.valid_up_to())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the encoding breaks.
        #[source]
        source: Utf8Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Reads one Markdown file. Its title is the file name without its extension.
///
/// # Errors
///
/// When the file cannot be read, is not UTF-8, or is larger than [`FILE_BYTES_MAX`].
pub fn import_file(path: &Path) -> Result<Outline, ImportError> {
    let text = read_text(path)?;
    let title = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(markdown::parse(&title, &text))
}

/// Reads every Markdown file below a folder, in the order of [`markdown_files`].
///
/// # Errors
///
/// At the first file or folder that cannot be read: an import is whole or it does not happen.
pub fn import_folder(folder: &Path) -> Result<Vec<Outline>, ImportError> {
    markdown_files(folder)?.iter().map(|path| import_file(path)).collect()
}

/// The Markdown files below a folder, sorted by path component in byte order.
///
/// # Errors
///
/// When a folder cannot be listed.
pub fn markdown_files(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        let read_error = |source| ImportError::Read { path: current.clone(), source };
        for entry in fs::read_dir(&current).map_err(read_error)? {
            let entry = entry.map_err(read_error)?;
            let kind = entry.file_type().map_err(read_error)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_markdown(&entry.path()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a path has one of the [`EXTENSIONS`].
#[must_use]
pub fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// Reads at most one byte more than allowed, so that neither a huge file nor one that grows meanwhile is held in memory.
fn read_text(path: &Path) -> Result<String, ImportError> {
    let read_error = |source| ImportError::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read_error)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ImportError::TooLarge { path: path.to_path_buf() });
    }
    String::from_utf8(bytes).map_err(|error| ImportError::NotUtf8 { path: path.to_path_buf(), source: error.utf8_error() })
}
