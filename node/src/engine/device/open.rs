//! Opening workspaces: those that are there, a new one, and an empty one to be joined.

use std::sync::Arc;

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::membership::action::check_name as check_workspace_name;
use nodespace_protocol::replica::{Author, Founding, Replica, WriteError};
use nodespace_store::{DiskStore, Home, StoreOptions};

use super::super::clock::Clock;
use super::super::feed::Feed;
use super::super::hindsight::Hindsight;
use super::super::logger::{CheckpointPolicy, Keeping, OperationLogger, RESET_KEY};
use super::super::metrics::Metrics;
use super::super::projector::ProjectorOptions;
use super::super::workspace::{Inner, Workspace};
use super::super::{DeviceReplica, OPEN_ANEW_KEY};
use super::{DeviceError, OpenOptions, PROJECTION_FOLDER};

/// A workspace that is open, and the thread of its writer.
pub(super) type Opened = (Workspace, std::thread::JoinHandle<()>);

/// Opens a home and all its workspaces.
pub(super) fn open_all(options: &OpenOptions, metrics: &Metrics) -> Result<(Home, Vec<Opened>), DeviceError> {
    let home = Home::open(&options.home)?;
    let open = |id| start(&home, open_replica(&home, id, options)?, options, metrics);
    let opened = home.workspaces()?.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    Ok((home, opened))
}

/// Opens the replica of a workspace of this home; makes an empty one when there is none.
pub(super) fn open_replica(home: &Home, id: WorkspaceId, options: &OpenOptions) -> Result<DeviceReplica, DeviceError> {
    let failed = |source| DeviceError::Store { workspace: id, source };
    let store_options = StoreOptions { op_cache_bytes: options.op_cache_bytes, ..StoreOptions::default() };
    let store = DiskStore::open(&home.create_workspace(id)?, id, &store_options).map_err(failed)?;
    let anew = store.value(OPEN_ANEW_KEY).map_err(failed)?.is_some();
    let now = Hindsight::read(&store).map_err(failed)?.opening(options.clock.now());
    let author = author(home);
    if !anew {
        return Replica::open(id, store, Some(author), now).map_err(failed);
    }
    tracing::warn!(workspace = %id.short(), "a doctor asked for it: the journal is folded anew");
    let mut replica = Replica::open_anew(id, store, Some(author), now).map_err(failed)?;
    // Only when what replaces the doubtful checkpoint is durable.
    replica.checkpoint().map_err(failed)?;
    replica.store().put_values(&[(OPEN_ANEW_KEY, None)]).map_err(failed)?;
    Ok(replica)
}

/// Founds a workspace in a home, durably.
pub(super) fn found(home: &Home, founding: Founding, clock: Clock) -> Result<DeviceReplica, DeviceError> {
    let (author, certificate, now) = (author(home), home.certificate(), clock.now());
    let workspace = founding.workspace_id(&author, certificate, now);
    let failed = |source| DeviceError::Store { workspace, source };
    let store = DiskStore::open(&home.create_workspace(workspace)?, workspace, &StoreOptions::default()).map_err(failed)?;
    let mut replica = Replica::found(store, author, certificate, founding, now)?;
    replica.commit().map_err(failed)?;
    Ok(replica)
}

/// What a new workspace starts with; its secret is drawn here.
pub(super) fn founding(name: &str, policy: Policy) -> Result<Founding, DeviceError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Founding { name: name.to_owned(), policy, secret })
}

/// Whether a workspace may have this name, before anything is made for it.
pub(super) fn check_name(name: &str) -> Result<(), DeviceError> {
    check_workspace_name(name).map_err(|why| WriteError::Invalid(why).into())
}

fn author(home: &Home) -> Author {
    Author { key: home.device_key().clone(), epoch: home.incarnation() }
}

/// Starts the writer of a replica.
pub(super) fn start(home: &Home, mut replica: DeviceReplica, options: &OpenOptions, metrics: &Metrics) -> Result<Opened, DeviceError> {
    let id = replica.workspace();
    let failed = |source| DeviceError::Store { workspace: id, source };
    replica.set_cache_bytes(options.node_cache_bytes);
    let changed = replica.take_changed().map_err(failed)?;
    let hindsight = Hindsight::read(replica.store()).map_err(failed)?;
    let released = hindsight.was_released(replica.held_ops());
    let reset = replica.store().value(RESET_KEY).map_err(failed)?;
    let reset = reset.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let ops = nodespace_protocol::store::Store::op_count(replica.store());
    let epoch = home.incarnation();
    let feed = match released {
        false => Feed::new(epoch, ops, reset),
        true => {
            replica.store().put_value(RESET_KEY, &ops.to_le_bytes()).map_err(failed)?;
            Feed::released(epoch, ops, changed)
        }
    };
    let feed = Arc::new(feed);
    let policy = CheckpointPolicy { journal_bytes: options.checkpoint_bytes, changed_nodes_bytes: options.changed_nodes_bytes };
    let keeping = Keeping { feed: Arc::clone(&feed), hindsight, policy };
    let (logger, thread) = OperationLogger::start(replica, keeping, options.clock, metrics.store.clone())?;
    let folder = home.workspace_folder(id);
    let projection = options.projection.then(|| ProjectorOptions {
        folder: folder.join(PROJECTION_FOLDER),
        interval: options.projection_interval,
        settings: options.projection_settings.clone(),
    });
    Ok((Workspace::new(Inner::new(id, folder, epoch, logger, feed, projection)), thread))
}

/// Runs what waits for a disk where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, DeviceError> + Send + 'static) -> Result<T, DeviceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| std::io::Error::other(error.to_string()))?
}
