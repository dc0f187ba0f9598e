//! Who is to go is gone soon, whatever it does.

use futures::io::AsyncWriteExt as _;

use super::network::Network;
use super::wire::Wire;
use crate::net::SYNC_PROTOCOL;
use crate::net::admission::Roll;

/// Streams to the peer that reads nothing, and what is written to each: its window. Together it is more than the system holds on the way.
const STREAMS: usize = 48;
const STREAM_BYTES: usize = 256 * 1024;

/// What was done: a peer stopped reading while megabytes were on their way to it, and was said goodbye to. What was seen: a connection is closed
/// when all of that has left, so it stayed for as long as the system has patience, and kept its place. What holds now: it is gone within
/// seconds, and the next one has its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_keeps_no_place() {
    let mut here = Network::adjusted(31, |options| options.connections_max = 1);
    let (deaf, next) = (Network::start(32), Network::start(33));
    here.net.set_roll(Roll { members: [deaf.device, next.device].into(), has_workspace: true, ..Roll::default() }).await;
    let wire = Wire::to(&here.address().await).await;
    deaf.befriend(here.device).await;
    deaf.knows(here.device, wire.address()).await;
    here.meets(deaf.device).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(here.net.open(deaf.device, SYNC_PROTOCOL).await.unwrap());
    }
    wire.die();
    for mut stream in streams {
        // It ends with the connection.
        tokio::spawn(async move { stream.write_all(&[7; STREAM_BYTES]).await });
    }
    here.net.disconnect(deaf.device, "by_hand", false).await;
    here.loses(deaf.device).await;
    next.befriend(here.device).await;
    next.knows(here.device, here.address().await).await;
    here.meets(next.device).await;
}
