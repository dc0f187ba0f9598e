//! Connections to the database that stay at hand between two questions.

use futures::future::join_all;

use crate::world::{Device, TestRelay};

/// A device that founds a workspace, and writes to it again and again.
async fn work(relay: &TestRelay) {
    let mut device = Device::found();
    device.login(relay).await;
    for number in 0..8 {
        device.create(&format!("n{number}"), "text");
        device.sync(relay).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_connections_serve_many_and_are_all_given_back() {
    for connections in [1, 2, 5] {
        let relay = TestRelay::with(|config| {
            config.database.connections = connections;
            config.database.read_connections = connections;
            config.database.acquire_seconds = 60;
        })
        .await;
        join_all((0..8).map(|_| work(&relay))).await;
        // Its end waits for every connection.
        relay.stop().await;
    }
}
