//! What can be asked of a workspace or a device: each request as a method of [`Workspace`](crate::engine::Workspace) or
//! [`Device`](crate::engine::Device), in the words of [`crate::model`].
//!
//! The HTTP API and, through it, the command line are thin over this. Reads and writes are plain functions over a replica, so that a
//! single request and an item of a batch are the same code.

mod backup;
mod changes;
mod conflicts;
mod devices;
mod doctor;
mod embeddings;
mod export;
mod import;
mod invites;
mod join;
mod list;
mod members;
mod nodes;
pub(crate) mod parse;
mod relays;
mod search;
mod status;
mod sync;
mod tree;
mod workspaces;
mod writes;

pub use export::Export;
pub use join::check_ticket;
pub use list::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, ListQuery};
pub use nodes::NodeAt;
pub(crate) use nodes::now as node_now;
pub(crate) use search::refusal as search_refusal;
pub use sync::RELAY_NAME;
pub use tree::TreeQuery;
