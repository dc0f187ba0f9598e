//! Starts the network task, and starts it anew after a fault: most advisories about network libraries are panics that somebody's bytes set
//! off, and a device must not go silent for one.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::NetError;
use super::control::SharedControl;
use super::handle::{COMMANDS_MAX, Command, NetHandle};
use super::lasting::Lasting;
use super::mailbox::{NetEvents, mailbox};
use super::metrics::NetMetrics;
use super::options::NetOptions;
use super::swarm::{Built, build};
use super::task::NetTask;
use crate::sync::backoff::Backoff;

/// How long after a fault the network is started anew, in milliseconds; later and later while it cannot be.
const PAUSE_AFTER_FAULT_MS: u64 = 1_000;

/// Whether to go on: not when it was told to stop, by whom it is to be told that it has; nor when nobody holds a handle.
pub(super) type GoOn = ControlFlow<Option<oneshot::Sender<()>>>;

/// Starts the network. Needs a tokio runtime.
///
/// # Errors
/// When libp2p does not start, or no address can be listened on.
pub fn start(options: NetOptions, metrics: NetMetrics) -> Result<(NetHandle, NetEvents), NetError> {
    let (commands, queue) = mpsc::channel(COMMANDS_MAX);
    let (outbox, events) = mailbox();
    let lasting = Lasting::new(options, metrics.clone(), outbox);
    // The first swarm is built here, so that what is wrong with the options is said at once.
    let first = build(&lasting)?;
    let control = SharedControl::default();
    let peer_id = *first.swarm.local_peer_id();
    let handle = NetHandle { commands, control: control.clone(), metrics, peer_id };
    tokio::spawn(supervise(lasting, Some(first), control, queue));
    Ok((handle, events))
}

/// Keeps a swarm running until it is told to stop; the first one may have been built.
pub(super) async fn supervise(
    mut lasting: Lasting,
    mut first: Option<Built>,
    control: SharedControl,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut backoff = Backoff::new(lasting.options.seed);
    loop {
        let mut go_on = match first.take().map_or_else(|| build(&lasting), Ok) {
            Ok(built) => {
                backoff.reset();
                live(&mut lasting, built, &control, &mut commands).await
            }
            Err(error) => {
                tracing::error!(%error, "the network cannot be started anew; it is tried again");
                backoff.raise();
                ControlFlow::Continue(())
            }
        };
        if go_on.is_continue() {
            let pause = Duration::from_millis(backoff.delay_ms(PAUSE_AFTER_FAULT_MS));
            go_on = wait(&mut lasting, &mut commands, pause).await;
        }
        if let ControlFlow::Break(answer) = go_on {
            // Whoever asked may have gone.
            answer.map(|answer| answer.send(()).ok());
            return;
        }
    }
}

/// Runs a swarm until it is told to stop, or a fault ends it.
async fn live(lasting: &mut Lasting, built: Built, control: &SharedControl, commands: &mut mpsc::Receiver<Command>) -> GoOn {
    let mut task = NetTask::start(lasting, built, control);
    let ended = AssertUnwindSafe(task.run(commands)).catch_unwind().await;
    drop(task);
    control.set(None);
    match ended {
        Ok(ControlFlow::Break(answer)) => ControlFlow::Break(answer),
        Ok(ControlFlow::Continue(())) | Err(_) => {
            tracing::error!("a fault in the network; it is started anew, please report it");
            lasting.metrics.restarts.inc();
            lasting.metrics.connected(&[]);
            lasting.outbox.restarted();
            ControlFlow::Continue(())
        }
    }
}

/// Waits without a swarm; what can be done meanwhile is done, and it can be stopped.
async fn wait(lasting: &mut Lasting, commands: &mut mpsc::Receiver<Command>, pause: Duration) -> GoOn {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            () = sleep_until(until) => return ControlFlow::Continue(()),
            command = commands.recv() => match command {
                Some(Command::Stop(answer)) => {
                    lasting.save();
                    return ControlFlow::Break(Some(answer));
                }
                Some(command) => lasting.on_command(command),
                None => return ControlFlow::Break(None),
            }
        }
    }
}
