//! Faults on purpose: the network is started anew after each.

use super::network::Network;
use crate::net::NetEvent;
use crate::net::admission::{GUESTS_OF_ONE_PLACE_MAX, Roll, Standing};

/// With a workspace, and nobody in it.
fn alone() -> Roll {
    Roll { has_workspace: true, ..Roll::default() }
}

/// Reads events until the network was started anew.
async fn is_started_anew(network: &mut Network) {
    network.event("a fault", |event| matches!(event, NetEvent::Restarted)).await;
}

/// What was done: the task of a connection panicked, as one may when somebody's bytes find a fault in a library. What was seen: nothing; the
/// swarm believed for ever that the connection stood. What holds now: it is noticed as if it had been in the network task itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_the_task_of_a_connection_is_noticed() {
    let (mut here, mut there) = (Network::start(61), Network::start(62));
    here.befriend(there.device).await;
    there.befriend(here.device).await;
    there.knows(here.device, here.address().await).await;
    here.meets(there.device).await;
    here.net.panic_in_task_on_purpose().await;
    is_started_anew(&mut here).await;
    there.loses(here.device).await;
    assert_eq!(here.net.metrics().restarts.get(), 1);
    // It listens at another port now.
    here.knows(there.device, there.address().await).await;
    here.meets(there.device).await;
    there.meets(here.device).await;
}

/// What was done: strangers had all places for guests when the network was started anew, and were gone after that. What was seen: nobody gave
/// their places back, so no newcomer was let in until the program was started anew. What holds now: with their connections their places are
/// free.
#[tokio::test(flavor = "multi_thread")]
async fn guests_of_before_a_fault_take_no_places_after_it() {
    let mut here = Network::start(63);
    here.net.set_roll(alone()).await;
    let address = here.address().await;
    let mut strangers = Vec::new();
    for number in 0..GUESTS_OF_ONE_PLACE_MAX {
        let stranger = Network::start(100 + u8::try_from(number).unwrap());
        stranger.net.set_roll(alone()).await;
        stranger.knows(here.device, address.clone()).await;
        here.meets(stranger.device).await;
        strangers.push(stranger);
    }
    let connected = here.net.metrics().connections_of(Standing::Guest);
    assert_eq!(connected.get(), i64::try_from(strangers.len()).unwrap());
    here.net.panic_on_purpose().await;
    is_started_anew(&mut here).await;
    assert_eq!(connected.get(), 0, "they are not shown any more");
    for stranger in &strangers {
        stranger.net.stop().await;
    }
    let newcomer = Network::start(64);
    newcomer.net.set_roll(alone()).await;
    newcomer.knows(here.device, here.address().await).await;
    here.meets(newcomer.device).await;
}
