//! A wire between two networks that can go dead without a word: both ends think that it stands.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::net::Multiaddr;

/// Forwards connections to an address.
pub(super) struct Wire {
    address: Multiaddr,
    dead: watch::Sender<bool>,
}

impl Wire {
    /// A wire to where a network listens.
    pub(super) async fn to(target: &Multiaddr) -> Self {
        let target = format!("127.0.0.1:{}", port(target));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let (dead, is_dead) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(forward(near, far, is_dead.clone()));
            }
        });
        Self { address, dead }
    }

    /// Where to dial.
    pub(super) fn address(&self) -> Multiaddr {
        self.address.clone()
    }

    /// From now on nothing passes, and nobody is told.
    pub(super) fn die(&self) {
        self.dead.send_replace(true);
    }
}

async fn forward(mut near: TcpStream, mut far: TcpStream, mut is_dead: watch::Receiver<bool>) {
    tokio::select! {
        // This first: nothing passes any more, not even the end of what is on its way.
        biased;
        died = is_dead.changed() => {
            if died.is_err() {
                return;
            }
        }
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
    }
    // Both sockets stay open until the wire is taken away.
    while is_dead.changed().await.is_ok() {}
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
