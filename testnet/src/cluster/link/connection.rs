//! The connections of a link: how they begin and end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::conditions::{Conditions, Direction};
use super::{Shared, pump};
use crate::sim::dice::Dice;

/// How long the one who answers may take to accept; a connection that is not made by then is reset.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// After a failed accept (no more file handles, say) the next try waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until it is aborted; they end with it.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    number += 1;
                    connections.spawn(serve(stream, Arc::clone(&shared), number));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection from its beginning to its end.
async fn serve(dialler: TcpStream, shared: Arc<Shared>, number: u64) {
    let begun = *shared.conditions.borrow();
    if begun.refuses() {
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        return reset(&dialler);
    }
    if begun.swallows() {
        // The dialler's first packet never arrives: it hears nothing until the line is back, and then that it knows nothing of this.
        gone(&shared, &begun).await;
        return reset(&dialler);
    }
    let target = *shared.target.borrow();
    let Some(answerer) = connect(target).await else {
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        return reset(&dialler);
    };
    shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    for stream in [&dialler, &answerer] {
        // Where it cannot be set, small pieces come late: not a reason to refuse.
        stream.set_nodelay(true).ok();
    }
    carry(dialler, answerer, &shared, (begun, number)).await;
}

async fn connect(target: Option<SocketAddr>) -> Option<TcpStream> {
    tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(target?)).await.ok()?.ok()
}

/// Carries bytes both ways until both have said all, or something ends the connection.
async fn carry(mut dialler: TcpStream, mut answerer: TcpStream, shared: &Shared, (begun, number): (Conditions, u64)) {
    let mut dice = Dice::new(shared.seed, number);
    let lifetime = begun.lifetime.map(|mean| mean.mul_f64(dice.below(2_000) as f64 / 1_000.0));
    let doomed = AtomicBool::new(false);
    let said_all = {
        let (from_dialler, to_dialler) = dialler.split();
        let (from_answerer, to_answerer) = answerer.split();
        let forward = pump::Pump { shared, direction: Direction::Forward, doomed: &doomed, seed: dice.below(u64::MAX) };
        let backward = pump::Pump { shared, direction: Direction::Backward, doomed: &doomed, seed: dice.below(u64::MAX) };
        let both = async { tokio::try_join!(forward.run(from_dialler, to_answerer), backward.run(from_answerer, to_dialler)) };
        tokio::select! {
            ended = both => ended.is_ok(),
            () = ends(shared, &begun, &doomed) => false,
            () = sleep_or_never(lifetime) => false,
        }
    };
    if !said_all {
        shared.counters.resets.fetch_add(1, Ordering::Relaxed);
        reset(&dialler);
        reset(&answerer);
    }
}

/// Waits until the conditions end a connection: refused, of an earlier generation, or healed after bytes were lost.
async fn ends(shared: &Shared, begun: &Conditions, doomed: &AtomicBool) {
    let over = |now: &Conditions| now.refuses() || now.generation != begun.generation || (doomed.load(Ordering::SeqCst) && !now.swallows());
    wait(shared, over).await;
}

/// Waits until bytes do not vanish any more, or connections that hang are ended.
async fn gone(shared: &Shared, begun: &Conditions) {
    wait(shared, |now| !now.swallows() || now.generation != begun.generation).await;
}

async fn wait(shared: &Shared, over: impl FnMut(&Conditions) -> bool) {
    let mut conditions = shared.conditions.subscribe();
    let waited = conditions.wait_for(over).await.is_ok();
    if !waited {
        // The link is gone, and this task with it at the next turn.
        std::future::pending::<()>().await;
    }
}

async fn sleep_or_never(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Lets the connection end with a reset when it is dropped, as if the other end knew nothing of it.
fn reset(stream: &TcpStream) {
    // Where it cannot be set, the connection ends in order; either way it ends.
    stream.set_zero_linger().ok();
}
