//! Faults while everybody writes: relays are killed, PostgreSQL is restarted, Redis is flushed and killed. Nothing that was acknowledged
//! is lost, nothing is there twice, no cursor skips anything.
//!
//! The same with 64 writers and a million operations is `cargo bench -p nodespace-relay --profile relay --bench relay -- faults`.

use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::view::Encoding;
use nodespace_relay::clock;

use crate::cluster::Cluster;
use crate::load::{Seen, Team, Verdict, check, push_all};
use crate::servers::own_postgres_and_config;
use crate::world::{Device, TestRelay, eventually};

const WORKSPACES: usize = 4;
const WRITERS: usize = 4;
const PACKETS: usize = 24;
const OPS: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_nothing_is_lost_twice_or_skipped_while_servers_fail() {
    let mut cluster = Cluster::start(env!("CARGO_BIN_EXE_nodespace-relay"), 2).await;
    let http = crate::world::http();
    let mut teams: Vec<Team> = (0..WORKSPACES).map(|seed| Team::new(seed as u64, WRITERS, &http, &cluster.url, cluster.relay_id)).collect();
    for team in &mut teams {
        team.found().await;
    }
    let (done, is_done) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = teams
        .iter()
        .map(|team| {
            let (mut reader, is_done) = (team.reader.clone(), is_done.clone());
            tokio::spawn(async move {
                let mut seen = Seen::default();
                while !*is_done.borrow() {
                    seen.read_to_end(&mut reader).await;
                    // A device asks now and then; here often enough to be in the middle of everything.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                seen.read_to_end(&mut reader).await;
                seen
            })
        })
        .collect();
    let mut writing = push_all(&mut teams, PACKETS, OPS);
    // One fault after the other, for as long as somebody writes; each kind at least once.
    let mut faults = 0;
    let mut finished = Vec::new();
    while finished.len() < WORKSPACES * WRITERS || faults < 6 {
        match faults % 6 {
            0 | 3 => cluster.kill_relay(faults / 3 % 2).await,
            1 => cluster.redis.flush().await.unwrap(),
            2 => cluster.restart_postgres().await,
            4 => cluster.crash_redis().await,
            _ => cluster.crash_postgres().await,
        }
        faults += 1;
        // The next one comes when something was acknowledged in between.
        if let Some(writer) = writing.join_next().await {
            finished.push(writer.unwrap());
        }
    }
    for (number, writer, _) in finished {
        teams[number].writers.push(writer);
    }
    done.send(true).unwrap();
    for (team, reader) in teams.iter_mut().zip(readers) {
        let seen = reader.await.unwrap();
        let verdict = check(team, &seen).await;
        let acknowledged = WRITERS * PACKETS * OPS;
        assert_eq!(verdict, Verdict { acknowledged, lost: 0, duplicated: 0, skipped: 0 });
        // The device that followed all the time holds what one that comes late does.
        let fold = |seen: &Seen| {
            let mut replica = Replica::open(team.workspace, MemoryStore::new(), None, clock::now()).unwrap();
            for packed in &seen.segments {
                replica.ingest(&Segment::decode(&packed.bytes).unwrap(), clock::now()).unwrap();
            }
            replica.state_digest()
        };
        let mut late = Seen::default();
        late.read_to_end(&mut team.reader).await;
        assert_eq!(fold(&seen), fold(&late));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_silent_is_given_up_and_found_again() {
    let (postgres, mut config, _data) = own_postgres_and_config(None).await;
    // Enough for a server that is there on a busy machine, where a connection may take a while to be made.
    (config.database.statement_seconds, config.database.acquire_seconds) = (5, 5);
    let relay = TestRelay::run(config).await;
    let mut device = Device::found();
    device.login(&relay).await;
    device.create("a", "text");
    device.sync(&relay).await;
    device.create("b", "more text");
    let packet = device.packet(8);
    postgres.freeze().unwrap();
    // At once, and more than there are connections: each is told, in a time that is bounded.
    let asking = futures::future::join_all((0..12).map(|_| device.send(&relay, &packet, Encoding::Cbor)));
    for answer in tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.expect("an answer in time") {
        assert_eq!(answer.refusal(), (503, "database_unavailable".into()));
    }
    postgres.thaw().unwrap();
    let found = eventually("the database is found again", async || {
        let health = relay.get("/health", None).await;
        health.status.is_success().then_some(())
    });
    found.await;
    device.sync(&relay).await;
    assert_eq!(relay.rows().await[..3], [1, 3, 2]);
}
