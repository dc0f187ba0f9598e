//! The routes, by what they are about.

pub(super) mod batch;
pub(super) mod changes;
pub(super) mod conflicts;
pub(super) mod devices;
pub(super) mod invites;
pub(super) mod join;
pub(super) mod members;
pub(super) mod meta;
pub(super) mod network;
pub(super) mod nodes;
pub(super) mod outline;
pub(super) mod relays;
pub(super) mod search;
pub(super) mod status;
pub(super) mod sync;
pub(super) mod tasks;
pub(super) mod workspaces;
