//! Taking nodes out of a workspace: as lines of JSON, and as Markdown files.
//!
//! There is one stream, nodes in outline order, read a few hundred at a time so that neither memory nor the writer is held ([`walk`]). As
//! lines of JSON it is complete: everything a node has, in an order in which the lines can be made again one after the other ([`batch`]).
//! [`markdown`] makes files of the same stream, wherever it is read: in the device, or by whoever asked for it over the network.
//!
//! An export is no snapshot: what others write meanwhile may be in it or not. Each node is in it at most once, after its parent.

pub mod batch;
pub mod markdown;
pub mod names;
mod outline;
#[cfg(test)]
mod tests;
pub mod walk;

pub use batch::batch_items;
pub use markdown::{MarkdownExport, MarkdownFile};
pub use walk::{PAGE_NODES_DEFAULT, Walk};
