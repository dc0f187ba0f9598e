//! A wire between two networks. It can hold back what is to pass, and can go dead without a word: both ends think that it stands.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::network::PATIENCE;
use crate::net::Multiaddr;

/// What a wire does with what is to pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    Held,
    Free,
    Never,
}

/// Connections over a wire.
#[derive(Clone, Copy, Default)]
struct Lines {
    /// How many were made.
    made: usize,
    /// How many of them stand.
    stand: usize,
}

/// Forwards connections to an address.
pub(super) struct Wire {
    address: Multiaddr,
    passing: watch::Sender<Passing>,
    lines: Arc<watch::Sender<Lines>>,
}

impl Wire {
    /// A wire to where a network listens.
    pub(super) async fn to(target: &Multiaddr) -> Self {
        Self::lay(target, Passing::Free).await
    }

    /// The same, over which nothing passes yet.
    pub(super) async fn held_to(target: &Multiaddr) -> Self {
        Self::lay(target, Passing::Held).await
    }

    async fn lay(target: &Multiaddr, first: Passing) -> Self {
        let target = format!("127.0.0.1:{}", port(target));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let (passing, now) = watch::channel(first);
        let lines = Arc::new(watch::Sender::new(Lines::default()));
        let counted = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counted.send_modify(|lines| (lines.made, lines.stand) = (lines.made + 1, lines.stand + 1));
                let (counted, target, now) = (Arc::clone(&counted), target.clone(), now.clone());
                tokio::spawn(async move {
                    forward(near, &target, now).await;
                    counted.send_modify(|lines| lines.stand -= 1);
                });
            }
        });
        Self { address, passing, lines }
    }

    /// Where to dial.
    pub(super) fn address(&self) -> Multiaddr {
        self.address.clone()
    }

    /// From now on everything passes, and what was held as well.
    pub(super) fn release(&self) {
        self.passing.send_replace(Passing::Free);
    }

    /// From now on nothing passes, and nobody is told.
    pub(super) fn die(&self) {
        self.passing.send_replace(Passing::Never);
    }

    /// Waits until somebody has dialled over it.
    pub(super) async fn is_dialled(&self) {
        let mut lines = self.lines.subscribe();
        assert!(timeout(PATIENCE, lines.wait_for(|lines| lines.made > 0)).await.is_ok(), "nobody dials");
    }

    /// How many connections over it stand.
    pub(super) fn standing(&self) -> usize {
        self.lines.borrow().stand
    }

    /// Waits until so many connections stand over two wires together.
    pub(super) async fn stand_together(&self, other: &Self, count: usize) {
        let (mut lines, mut others) = (self.lines.subscribe(), other.lines.subscribe());
        let wait = async {
            while lines.borrow_and_update().stand + others.borrow_and_update().stand != count {
                tokio::select! {
                    changed = lines.changed() => changed.unwrap(),
                    changed = others.changed() => changed.unwrap(),
                }
            }
        };
        let came_to_it = timeout(PATIENCE, wait).await.is_ok();
        assert!(came_to_it, "{} and {} connections stand", self.standing(), other.standing());
    }
}

async fn forward(mut near: TcpStream, target: &str, mut passing: watch::Receiver<Passing>) {
    if passing.wait_for(|passing| *passing != Passing::Held).await.is_err() {
        return;
    }
    let mut far = TcpStream::connect(target).await.unwrap();
    tokio::select! {
        // This first: nothing passes any more, not even the end of what is on its way.
        biased;
        died = passing.wait_for(|passing| *passing == Passing::Never) => {
            if died.is_err() {
                return;
            }
        }
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
    }
    // Both sockets stay open until the wire is taken away.
    while passing.changed().await.is_ok() {}
    drop((near, far));
}

/// The port of a TCP address.
pub(super) fn port(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    port.unwrap()
}
