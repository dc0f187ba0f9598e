//! The engine: one writer that owns a workspace's state, and everything that hangs on it.
//!
//! ```text
//!   API, CLI, peers ──jobs──▶ OperationLogger (a thread of its own: apply, append, one fsync for all that waited, answer)
//!                                   │ what changed
//!                                   ├──▶ Feed        positions in the change stream; subscribers pull, so nothing is dropped for them
//!                                   └──▶ Projector   LanceDB, in batches behind the journal
//! ```
//!
//! A single owner needs no locks around the state, and turns many waiting writers into one fsync (group commit). Reads go the same way:
//! they see everything that was acknowledged before they were asked, and nothing that is not durable.

mod changes;
mod checkpoints;
mod clock;
mod device;
mod feed;
mod hindsight;
mod late;
mod logger;
mod metrics;
mod network;
mod projector;
mod rows;
mod workspace;

pub use clock::Clock;
pub(crate) use clock::wall_ms;
pub use device::{CreateOptions, Created, Device, DeviceError, OpenOptions, PROJECTION_FOLDER};
pub(crate) use feed::Feed;
pub use feed::{Cursor, Position};
pub(crate) use late::{Lacking, Stretch, attachment as attachment_of, is_what_was_announced};
pub use logger::{GROUP_JOBS_MAX, QUEUE_JOBS_MAX};
pub use metrics::Metrics;
pub use network::{JoinProgress, Joining, Network, TicketAddresses};
pub(crate) use projector::Phase;
pub(crate) use rows::{embeddings_of, row as row_of};
pub use workspace::Workspace;

use nodespace_protocol::replica::Replica;
use nodespace_store::DiskStore;

/// The setting by which a doctor asks for the journal to be folded anew at the next start.
pub(crate) const OPEN_ANEW_KEY: &str = "doctor/open-anew";

/// A workspace's state on this device.
pub type DeviceReplica = Replica<DiskStore>;
