//! Who answers at an address.
//!
//! The network dials nobody without a name: who may be connected is decided by it. Where somebody knows only an address, whoever answers there
//! is asked beside the network: a TCP connection, the handshake of noise, in which each side proves its key, and no step further. The other
//! side sees a connection that was broken off before anything was spoken; this one learns a name and has admitted nobody.

use std::future::{self, Pending};
use std::io;
use std::iter;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, PortUse, Transport as _};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version};
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::{Multiaddr, PeerId, dns, noise, tcp};
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::DeviceId;
use tokio::time::timeout;

use super::identity::{device_of, keypair};

/// How long it may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Why nobody is known to be at an address.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// This machine cannot ask.
    #[error("this machine cannot ask: {0}")]
    Cannot(String),
    /// Nothing answers, or nothing that speaks libp2p.
    #[error("no device answers: {0}")]
    Nobody(String),
    /// It takes too long.
    #[error("no device answers within {} s", TIME_MAX.as_secs())]
    TooSlow,
    /// Its key is of another kind than devices have.
    #[error("what answers has a key that is not an Ed25519 key, so it is no device")]
    NoDevice,
}

/// Asks who answers at an address that leads to a TCP port. `key` is this device's: the other side learns its name in turn.
///
/// # Errors
/// See [`AnswerError`].
pub async fn who_answers(key: &KeyPair, address: &Multiaddr) -> Result<DeviceId, AnswerError> {
    let cannot = |error: &dyn std::fmt::Display| AnswerError::Cannot(error.to_string());
    let noise = noise::Config::new(&keypair(key)).map_err(|error| cannot(&error))?;
    let heard = Arc::new(OnceLock::<PeerId>::new());
    let hearing = Arc::clone(&heard);
    let hear = move |peer: &PeerId, _: &ConnectedPoint| {
        hearing.get_or_init(|| *peer);
        NoFurther
    };
    // No port that is listened on: nothing is to become of this connection.
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let tcp = tcp::tokio::Transport::new(tcp::Config::default()).upgrade(Version::V1).authenticate(noise).multiplex_ext(hear);
    let mut transport = dns::tokio::Transport::system(tcp.boxed()).map_err(|error| cannot(&error))?;
    let dial = transport.dial(address.clone(), options).map_err(|error| AnswerError::Nobody(error.to_string()))?;
    let ended = timeout(TIME_MAX, dial).await;
    match (heard.get(), ended) {
        // However it ended: the key was proved before.
        (Some(peer), _) => device_of(peer).ok_or(AnswerError::NoDevice),
        (None, Ok(Err(error))) => Err(AnswerError::Nobody(error.to_string())),
        (None, _) => Err(AnswerError::TooSlow),
    }
}

/// What comes after noise: nothing that has a name, so that both sides give up.
#[derive(Clone, Copy, Debug)]
struct NoFurther;

impl UpgradeInfo for NoFurther {
    type Info = &'static str;
    type InfoIter = iter::Empty<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::empty()
    }
}

/// Never made: nothing is agreed upon that could lead to it.
type Never = Pending<Result<StreamMuxerBox, io::Error>>;

impl<C> InboundConnectionUpgrade<C> for NoFurther {
    type Output = StreamMuxerBox;
    type Error = io::Error;
    type Future = Never;

    fn upgrade_inbound(self, _: C, _: Self::Info) -> Self::Future {
        future::pending()
    }
}

impl<C> OutboundConnectionUpgrade<C> for NoFurther {
    type Output = StreamMuxerBox;
    type Error = io::Error;
    type Future = Never;

    fn upgrade_outbound(self, _: C, _: Self::Info) -> Self::Future {
        future::pending()
    }
}
