//! Starts the network task, and starts it anew after a fault: most advisories about network libraries are panics that somebody's bytes set
//! off, and a device must not go silent for one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use libp2p::{Swarm, SwarmBuilder, noise, tcp};
use tokio::sync::mpsc;

use super::NetError;
use super::admission::{Admission, Roll};
use super::behaviour::Behaviour;
use super::book::PeerBook;
use super::clock::Clock;
use super::closing::ClosingYamux;
use super::control::SharedControl;
use super::handle::{COMMANDS_MAX, Command, NetHandle};
use super::mailbox::{NetEvents, mailbox};
use super::metrics::NetMetrics;
use super::options::NetOptions;
use super::task::{Lasting, NetTask, PAUSE_AFTER_FAULT};

/// How long a connection without any stream stays: longer than anything here pauses.
const IDLE_TIME: Duration = Duration::from_secs(120);

/// Starts the network. Needs a tokio runtime.
///
/// # Errors
/// When libp2p does not start, or no address can be listened on.
pub fn start(options: NetOptions, metrics: NetMetrics) -> Result<(NetHandle, NetEvents), NetError> {
    let (commands, queue) = mpsc::channel(COMMANDS_MAX);
    let (outbox, events) = mailbox();
    let clock = Arc::new(Clock::start());
    let mut book = PeerBook::new(options.seed, options.explicit_only);
    if let Some(path) = &options.book {
        book.restore(&super::saving::read(path), 0);
    }
    learn_explicit(&mut book, &options);
    let carriers = options.carriers.clone();
    let lasting = Lasting {
        admission: Admission::default(),
        clock,
        book,
        topic_names: std::collections::BTreeSet::new(),
        carriers,
        metrics: metrics.clone(),
        roll: Roll::default(),
        outbox,
        options,
    };
    // The first swarm is built here, so that what is wrong with the options is said at once.
    let swarm = build(&lasting)?;
    let control = SharedControl::default();
    let peer_id = *swarm.local_peer_id();
    let handle = NetHandle { commands, control: control.clone(), metrics, peer_id };
    tokio::spawn(supervise(lasting, swarm, control, queue));
    Ok((handle, events))
}

fn learn_explicit(book: &mut PeerBook, options: &NetOptions) {
    for address in &options.peers {
        let split = super::address::split_peer(address).and_then(|(rest, peer)| Some((rest, super::device_of(&peer)?)));
        match split {
            Some((address, device)) => drop(book.learn(device, &address, super::address::Source::Explicit, true, 0)),
            None => tracing::warn!(%address, "no peer: an address in `network.peers` ends in /p2p/ and an Ed25519 peer id"),
        }
    }
}

async fn supervise(mut lasting: Lasting, swarm: Swarm<Behaviour>, control: SharedControl, mut commands: mpsc::Receiver<Command>) {
    let mut next = Some(swarm);
    loop {
        let Some(swarm) = next.take() else {
            match build(&lasting) {
                Ok(swarm) => next = Some(swarm),
                Err(error) => {
                    tracing::error!(%error, "the network cannot be started anew; it is tried again");
                    tokio::time::sleep(PAUSE_AFTER_FAULT).await;
                }
            }
            continue;
        };
        let mut task = match NetTask::start(&mut lasting, swarm, &control) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(%error, "the network cannot listen; it is tried again");
                tokio::time::sleep(10 * PAUSE_AFTER_FAULT).await;
                continue;
            }
        };
        let ended = AssertUnwindSafe(task.run(&mut commands)).catch_unwind().await;
        drop(task);
        control.set(None);
        match ended {
            Ok(answer) => {
                // Whoever asked may have gone.
                answer.map(|answer| answer.send(()).ok());
                return;
            }
            Err(_) => {
                tracing::error!("a fault in the network; it is started anew, please report it");
                lasting.metrics.restarts.inc();
                lasting.outbox.restarted();
                tokio::time::sleep(PAUSE_AFTER_FAULT).await;
            }
        }
    }
}

fn build(lasting: &Lasting) -> Result<Swarm<Behaviour>, NetError> {
    let failed = |error: &dyn std::fmt::Display| NetError::Start(error.to_string());
    let keypair = super::identity::keypair(&lasting.options.key);
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
    Ok(builder.with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIME)).build())
}
