//! A network in memory: devices of one process that hold the protocol's own sessions over nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use nodespace_node::engine::{Device, JoinProgress, Joining, Network, Workspace};
use nodespace_node::model::{ErrorCode, NetworkStatus, PeerStatus, Progress, ServiceError};
use nodespace_node::sync::{DeviceStatus, Target};
use nodespace_protocol::replica::PendingBuffer;
use nodespace_protocol::session::{Role, Session, SessionConfig, SyncState};

/// Connects one device with others that it was told of.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    others: Mutex<Vec<Device>>,
    added: Mutex<BTreeSet<String>>,
    /// What the tickets said that came here.
    pub(crate) heard: Mutex<Vec<String>>,
}

impl Wire {
    /// A device that is connected with these, and with these only.
    pub(crate) fn attach(device: &Device, others: &[&Device]) -> Arc<Self> {
        let wire = Arc::new(Self::default());
        wire.others.lock().unwrap().extend(others.iter().map(|device| (*device).clone()));
        let network: Arc<dyn Network> = Arc::clone(&wire) as Arc<dyn Network>;
        assert!(device.attach_network(network));
        wire
    }

    fn others_in(&self, workspace: &Workspace) -> Vec<Workspace> {
        self.others.lock().unwrap().iter().filter_map(|device| device.open_workspace(workspace.id())).collect()
    }

    /// Syncs with all, and answers how many have confirmed.
    async fn sync_all(&self, workspace: &Workspace) -> Result<usize, ServiceError> {
        let mut synced = 0;
        for other in self.others_in(workspace) {
            synced += usize::from(talk(workspace, SessionConfig::member(1, [2; 16]), &other).await? == SyncState::Synced);
        }
        Ok(synced)
    }
}

impl Network for Wire {
    fn fetch_membership<'a>(
        &'a self,
        workspace: Workspace,
        joining: Joining,
        progress: JoinProgress,
    ) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(async move {
            self.heard.lock().unwrap().extend(joining.addresses.clone());
            for other in self.others_in(&workspace) {
                progress(Progress { step: "asking".to_owned(), done: 1, total: None });
                talk(&workspace, joining.session_config(1, [1; 16]), &other).await?;
                let arrived = joining.clone();
                if workspace.read(move |replica| arrived.has_arrived(replica.membership())).await? {
                    return Ok(());
                }
            }
            Err(ServiceError::new(ErrorCode::Unavailable, "no member answers"))
        })
    }

    fn confirm<'a>(&'a self, workspace: Workspace, _: JoinProgress) -> BoxFuture<'a, Result<bool, ServiceError>> {
        Box::pin(async move { Ok(self.sync_all(&workspace).await? > 0) })
    }

    fn sync_now<'a>(&'a self, workspace: Workspace, _: Option<Target>) -> BoxFuture<'a, Result<DeviceStatus, ServiceError>> {
        Box::pin(async move {
            self.sync_all(&workspace).await?;
            workspace.sync_status().await
        })
    }

    fn relays_changed(&self, _: nodespace_protocol::ids::WorkspaceId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<NetworkStatus, ServiceError>> {
        let peer = |address: &String| PeerStatus { address: Some(address.clone()), ..PeerStatus::default() };
        let peers = self.added.lock().unwrap().iter().map(peer).collect();
        let status = NetworkStatus { peer_id: "wire".to_owned(), peers, ..NetworkStatus::default() };
        Box::pin(async move { Ok(status) })
    }

    fn add_peer(&self, address: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.added.lock().unwrap().insert(address);
        Box::pin(async { Ok(()) })
    }

    fn remove_peer(&self, address: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        let removed = self.added.lock().unwrap().remove(&address);
        let missing = || ServiceError::new(ErrorCode::NotFound, format!("`{address}` was not added"));
        let outcome = if removed { Ok(()) } else { Err(missing()) };
        Box::pin(async move { outcome })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.others.lock().unwrap().clear();
        Box::pin(async {})
    }
}

/// One side of a session, between its turns.
struct Side {
    workspace: Workspace,
    state: Option<(Session, PendingBuffer)>,
}

impl Side {
    /// A turn: takes frames, and answers with those to be sent.
    async fn turn(&mut self, frames: Vec<Vec<u8>>, begin: bool) -> Result<Vec<Vec<u8>>, ServiceError> {
        let (mut session, mut pending) = self.state.take().unwrap();
        let turn = self.workspace.write(None, move |replica, now| {
            let mut outcome = if begin { session.start(replica, now) } else { Ok(()) };
            for frame in frames {
                outcome = outcome.and_then(|()| session.receive(&frame, replica, &mut pending, now));
            }
            let mut answers = Vec::new();
            while let Ok(Some(frame)) = session.poll_frame(replica) {
                answers.push(frame);
            }
            Ok((session, pending, answers, outcome.map_err(|error| error.to_string())))
        });
        let (session, pending, answers, outcome) = turn.await?;
        self.state = Some((session, pending));
        match outcome {
            // A goodbye is still to be sent.
            Err(why) if answers.is_empty() => Err(ServiceError::new(ErrorCode::Forbidden, why)),
            _ => Ok(answers),
        }
    }
}

/// Runs a session until nothing more is said, and answers where the first side stands.
async fn talk(first: &Workspace, config: SessionConfig, second: &Workspace) -> Result<SyncState, ServiceError> {
    let device = |workspace: &Workspace| {
        let workspace = workspace.clone();
        async move { workspace.read(|replica| replica.device().unwrap()).await }
    };
    let (first_device, second_device) = (device(first).await?, device(second).await?);
    let now = nodespace_node::engine::Clock::default().now();
    let side = |workspace: &Workspace, session| Side { workspace: workspace.clone(), state: Some((session, PendingBuffer::default())) };
    let mut one = side(first, Session::new(Role::Initiator, second_device, config, now));
    let mut other = side(second, Session::new(Role::Responder, first_device, SessionConfig::member(2, [3; 16]), now));
    let mut frames = one.turn(Vec::new(), true).await?;
    while !frames.is_empty() {
        let answers = other.turn(frames, false).await?;
        frames = one.turn(answers, false).await?;
    }
    let (session, _) = one.state.take().unwrap();
    first.read(move |replica| session.status(replica).state).await
}
