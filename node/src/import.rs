//! Bringing existing files into a workspace.
//!
//! Importing has two halves. The first, a crate of its own, reads files and turns each into an [`Outline`], a tree in the order of its
//! source. The second, [`job`], writes outlines into a workspace, and can do it again when the files have changed:
//!
//! ```text
//! file --markdown--> outline --known, align--> plan --apply--> operations
//!                                  ^                              |
//!                                  +----------- record <----------+
//! ```

mod align;
mod apply;
mod found;
pub mod identity;
pub mod job;
pub mod kind;
mod known;
mod likeness;
pub mod path;
mod plan;
pub mod record;
#[cfg(test)]
pub(crate) mod tests;

pub use job::{Import, Step};
pub use nodespace_outline::{
    EXTENSIONS, FILE_BYTES_MAX, ImportError, LineRange, Outline, OutlineKind, OutlineNode, import_file, import_folder, is_markdown,
    markdown, markdown_files, outline,
};
