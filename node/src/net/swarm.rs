//! Builds the swarm: what connections are made of, and where it listens.

use std::time::Duration;

use libp2p::swarm::Config;
use libp2p::{Swarm, SwarmBuilder, noise, tcp};

use super::NetError;
use super::behaviour::Behaviour;
use super::closing::ClosingYamux;
use super::lasting::Lasting;
use super::options::NetOptions;
use super::tasks::Tasks;

/// How long a connection without any stream stays: longer than anything here pauses.
const IDLE_TIME: Duration = Duration::from_secs(120);

/// A swarm that listens.
pub(super) struct Built {
    pub(super) swarm: Swarm<Behaviour>,
    /// What it runs beside its loop.
    pub(super) tasks: Tasks,
}

/// Builds one. Needs a tokio runtime.
///
/// # Errors
/// When libp2p does not start, or no address can be listened on.
pub(super) fn build(lasting: &Lasting) -> Result<Built, NetError> {
    let failed = |error: &dyn std::fmt::Display| NetError::Start(error.to_string());
    let keypair = super::identity::keypair(&lasting.options.key);
    let tasks = Tasks::default();
    let executor = tasks.clone();
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, ClosingYamux::default)
        .map_err(|error| failed(&error))?
        .with_quic()
        .with_dns()
        .map_err(|error| failed(&error))?
        .with_relay_client(noise::Config::new, ClosingYamux::default)
        .map_err(|error| failed(&error))?
        .with_behaviour(|key, relay| Behaviour::new(key, relay, &lasting.options, (&lasting.admission, &lasting.clock)))
        .map_err(|error| failed(&error))?;
    let mut swarm = builder.with_swarm_config(|_| Config::with_executor(executor).with_idle_connection_timeout(IDLE_TIME)).build();
    listen(&mut swarm, &lasting.options)?;
    for address in &lasting.options.announce {
        swarm.add_external_address(address.clone());
    }
    Ok(Built { swarm, tasks })
}

fn listen(swarm: &mut Swarm<Behaviour>, options: &NetOptions) -> Result<(), NetError> {
    let mut failure = None;
    let mut listening = 0;
    for address in &options.listen {
        match swarm.listen_on(address.clone()) {
            Ok(_) => listening += 1,
            Err(error) => {
                tracing::warn!(%address, %error, "cannot listen there");
                failure = Some(NetError::Listen { address: address.clone(), source: std::io::Error::other(error) });
            }
        }
    }
    match failure {
        Some(failure) if listening == 0 => Err(failure),
        _ => Ok(()),
    }
}
