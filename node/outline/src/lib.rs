//! Markdown as a tree of nodes, and back.
//!
//! The first half of importing: it reads files and turns each into an [`Outline`], a tree in the order of its source. It knows no
//! workspace and no store, so that one reader serves the program, the simulator and a dry run alike.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod files;
pub mod markdown;
pub mod outline;

pub use files::{EXTENSIONS, FILE_BYTES_MAX, ImportError, import_file, import_folder, is_markdown, markdown_files};
pub use outline::{LineRange, Outline, OutlineKind, OutlineNode};
