//! Checkpoints: a restart reads what came since, and what does not fit the log, or cannot be read, is as if it were not there.

use std::fs;
use std::path::{Path, PathBuf};

use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::view::CanonicalNode;
use nodespace_relay::checkpoints::CHECKPOINT_FOLDER;
use nodespace_relay::clock;
use nodespace_relay::config::Config;
use nodespace_relay::relay::MARKER_FILE;
use nodespace_relay::store::{WorkspaceRow, canonical_nodes};
use tempfile::TempDir;

use crate::load::{Seen, Team};
use crate::servers::{Shared, own_postgres_and_config};
use crate::world::{TestRelay, config};

/// A relay that is stopped and started again, with a workspace that is written to.
struct Bench {
    config: Config,
    data: TempDir,
    team: Team,
    /// Those who write at present.
    writers: std::ops::Range<usize>,
}

impl Bench {
    /// A database of its own on the shared servers.
    async fn new(seed: u64) -> (Self, TestRelay) {
        let data = tempfile::tempdir().unwrap();
        let config = config(&Shared::get().database().await, Some(Shared::get().redis()), data.path().to_owned());
        Self::with(seed, config, data).await
    }

    async fn with(seed: u64, config: Config, data: TempDir) -> (Self, TestRelay) {
        let relay = TestRelay::run(config.clone()).await;
        let mut team = Team::new(seed, 4, &relay.http, &relay.url, relay.app.parts().key.id());
        team.found().await;
        (Self { config, data, team, writers: 0..2 }, relay)
    }

    async fn start(&mut self) -> TestRelay {
        let relay = TestRelay::run(self.config.clone()).await;
        self.meet(&relay);
        relay
    }

    /// Everybody talks to this relay from now on.
    fn meet(&mut self, relay: &TestRelay) {
        self.team.reader.url.clone_from(&relay.url);
        self.team.writers.iter_mut().for_each(|writer| writer.session.url.clone_from(&relay.url));
    }

    async fn push(&mut self, packets: usize) {
        for writer in &mut self.team.writers[self.writers.clone()] {
            writer.push(packets, 25).await;
        }
    }

    /// The rows of nodes are what the log folds to, by a replica that never saw a checkpoint.
    async fn check(&mut self, relay: &TestRelay) {
        let mut seen = Seen::default();
        seen.read_to_end(&mut self.team.reader).await;
        let mut replica = Replica::open(self.team.workspace, MemoryStore::new(), None, clock::now()).unwrap();
        for packed in &seen.segments {
            replica.ingest(&Segment::decode(&packed.bytes).unwrap(), clock::now()).unwrap();
        }
        let mut folded: Vec<CanonicalNode> = replica.node_ids().iter().map(|id| replica.canonical(id).unwrap().unwrap()).collect();
        folded.sort_by_key(|node| node.id.to_string());
        let database = &relay.app.parts().database;
        let row = WorkspaceRow::read(database.read(), &self.team.workspace).await.unwrap().unwrap();
        let kept = canonical_nodes(database, row.number).await.unwrap();
        assert_eq!(kept.len(), folded.len());
        assert_eq!(kept, folded, "seed {:?}", self.team.workspace);
        let acknowledged: usize = self.team.writers.iter().map(|writer| writer.acknowledged.len()).sum();
        assert_eq!(seen.hashes.len(), acknowledged + self.team.founding_ops);
    }

    /// The checkpoint's file.
    fn file(&self) -> PathBuf {
        file_in(&self.data.path().join(CHECKPOINT_FOLDER).join("0"), &self.team)
    }
}

fn file_in(slot: &Path, team: &Team) -> PathBuf {
    slot.join(nodespace_protocol::ids::hex(&team.workspace.0)).join("index.redb")
}

/// A counter of the relay, by its name and labels as they are written.
fn counted(relay: &TestRelay, name: &str) -> u64 {
    let text = relay.app.parts().metrics.text(relay.app.observed());
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("nodespace_relay_{name} ")));
    line.map_or(0, |value| value.parse().unwrap())
}

fn rows_read(relay: &TestRelay) -> u64 {
    counted(relay, "log_rows_read_total")
}

/// How often replicas were opened from checkpoints, and from logs.
fn openings(relay: &TestRelay) -> (u64, u64) {
    let from = |what: &str| counted(relay, &format!("open_duration_seconds_count{{from=\"{what}\"}}"));
    (from("checkpoint"), from("log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_reads_what_came_since_the_checkpoint() {
    let (mut bench, relay) = Bench::new(1).await;
    bench.push(24).await;
    relay.stop().await;
    assert!(bench.file().exists(), "a relay that stops leaves a checkpoint");
    let relay = bench.start().await;
    bench.push(1).await;
    assert_eq!(openings(&relay), (1, 0));
    // The founding operations, which make the membership, and what the new ones build on.
    assert!(rows_read(&relay) < 100, "{} rows of some 1,200 were read", rows_read(&relay));
    bench.check(&relay).await;
    relay.stop().await;
    // A checkpoint builds on the one before, and is read as well.
    let relay = bench.start().await;
    bench.push(12).await;
    assert_eq!(openings(&relay), (1, 0));
    bench.check(&relay).await;
    relay.stop().await;
    // Without it everything is read.
    fs::remove_dir_all(bench.data.path().join(CHECKPOINT_FOLDER)).unwrap();
    let relay = bench.start().await;
    bench.push(1).await;
    assert_eq!(openings(&relay), (0, 1));
    assert!(rows_read(&relay) >= 1_850, "{} rows were read", rows_read(&relay));
    bench.check(&relay).await;
    relay.stop().await;
    // And when none are wanted none are made.
    bench.config.server.checkpoints_mib = 0;
    fs::remove_dir_all(bench.data.path().join(CHECKPOINT_FOLDER)).unwrap();
    let relay = bench.start().await;
    bench.push(4).await;
    relay.stop().await;
    assert!(!bench.data.path().join(CHECKPOINT_FOLDER).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_workspace_has_its_checkpoint_before_anybody_stops() {
    let (mut bench, relay) = Bench::new(2).await;
    bench.push(45).await;
    // One is due after 2,048 operations and two seconds, whatever is written then.
    let kept = crate::world::eventually("a checkpoint", async || {
        bench.push(1).await;
        (counted(&relay, "checkpoints_total{result=\"kept\"}") > 0).then_some(())
    });
    kept.await;
    bench.push(4).await;
    bench.check(&relay).await;
    assert_eq!(openings(&relay), (0, 1), "it was opened when it was founded, and stayed open");
    relay.stop().await;
}

#[test]
fn openings_at_once_do_not_wait_for_each_others_threads() {
    // Fewer threads than openings: one that waited for another thread would wait for ever.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let data = tempfile::tempdir().unwrap();
        let config = config(&Shared::get().database().await, Some(Shared::get().redis()), data.path().to_owned());
        let relay = TestRelay::run(config.clone()).await;
        let mut teams = Vec::new();
        for seed in 20..36 {
            let mut team = Team::new(seed, 1, &relay.http, &relay.url, relay.app.parts().key.id());
            team.found().await;
            team.writers[0].push(3, 25).await;
            teams.push(team);
        }
        relay.stop().await;
        let relay = TestRelay::run(config).await;
        let mut pushing = tokio::task::JoinSet::new();
        for mut team in teams {
            team.writers[0].session.url.clone_from(&relay.url);
            pushing.spawn(async move { team.writers[0].push(1, 25).await.len() });
        }
        let pushed = tokio::time::timeout(std::time::Duration::from_secs(60), pushing.join_all()).await;
        assert_eq!(pushed.expect("somebody waits for ever").into_iter().sum::<usize>(), 16);
        let (from_checkpoint, from_log) = openings(&relay);
        assert_eq!(from_checkpoint + from_log, 16);
        relay.stop().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_thrown_away() {
    let (mut bench, relay) = Bench::new(3).await;
    bench.push(16).await;
    relay.stop().await;
    let whole = fs::read(bench.file()).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for round in 0..10 {
        let mut damaged = whole.clone();
        match round {
            0 => damaged.truncate(0),
            1 => damaged.truncate(whole.len() / 2),
            2 => damaged.fill(0),
            // Anywhere, several times: some of it lies in nodes that are read long after the opening.
            _ => (0..40).for_each(|_| {
                let at = draw(whole.len() - 16);
                (at..at + 16).for_each(|at| damaged[at] ^= 0x55);
            }),
        }
        fs::write(bench.file(), damaged).unwrap();
        let relay = bench.start().await;
        bench.push(2).await;
        let (checkpoint, log) = openings(&relay);
        assert!(log > 0 || checkpoint > 0);
        assert!(round > 2 || log == 1, "round {round}");
        bench.check(&relay).await;
        relay.stop().await;
    }
    // What was made since is whole again.
    let relay = bench.start().await;
    bench.push(1).await;
    assert_eq!(openings(&relay), (1, 0));
    bench.check(&relay).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_another_workspace_or_epoch_is_thrown_away() {
    let (mut bench, relay) = Bench::new(4).await;
    let mut other = Team::new(5, 1, &relay.http, &relay.url, relay.app.parts().key.id());
    other.found().await;
    other.writers[0].push(8, 25).await;
    bench.push(8).await;
    relay.stop().await;
    let slot = bench.data.path().join(CHECKPOINT_FOLDER).join("0");
    fs::copy(file_in(&slot, &other), bench.file()).unwrap();
    let relay = bench.start().await;
    bench.push(1).await;
    assert_eq!(openings(&relay), (0, 1));
    assert_eq!(counted(&relay, "checkpoints_total{result=\"thrown_away\"}"), 1);
    bench.check(&relay).await;
    relay.stop().await;
    // An operator begins a new epoch.
    let relay = bench.start().await;
    bench.push(1).await;
    assert_eq!(openings(&relay), (1, 0));
    relay.app.parts().database.epoch().renew(relay.app.parts().database.write()).await.unwrap();
    bench.push(1).await;
    assert_eq!(openings(&relay), (1, 1));
    bench.check(&relay).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_share_a_data_folder_share_no_checkpoint() {
    let (mut bench, first) = Bench::new(6).await;
    let second = TestRelay::run(bench.config.clone()).await;
    for _ in 0..6 {
        for relay in [&first, &second] {
            bench.meet(relay);
            bench.push(1).await;
        }
    }
    bench.check(&first).await;
    first.stop().await;
    second.stop().await;
    let slots = bench.data.path().join(CHECKPOINT_FOLDER);
    assert!(file_in(&slots.join("0"), &bench.team).exists() && file_in(&slots.join("1"), &bench.team).exists());
    // Both go on from their own, and from what the other wrote since.
    let (first, second) = (bench.start().await, TestRelay::run(bench.config.clone()).await);
    for relay in [&second, &first, &second] {
        bench.meet(relay);
        bench.push(1).await;
    }
    assert_eq!((openings(&first), openings(&second)), ((1, 0), (1, 0)));
    bench.check(&second).await;
    first.stop().await;
    second.stop().await;
}

/// What became of a database whose backup is older than the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Restored {
    /// It is noticed: a new epoch.
    Noticed,
    /// It is not, and the log ends before the checkpoint does.
    Behind,
    /// It is not, and the log has grown again since, by other operations.
    Overtaken,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_what_a_restored_database_lost_is_thrown_away() {
    for restored in [Restored::Noticed, Restored::Behind, Restored::Overtaken] {
        // Without Redis: when the marker is lost too, nothing outside the database remembers how far it was.
        let (mut postgres, config, data) = own_postgres_and_config(None).await;
        let (mut bench, relay) = Bench::with(7, config, data).await;
        bench.push(4).await;
        relay.stop().await;
        postgres.stop().await.unwrap();
        postgres.back_up_files().await.unwrap();
        postgres.start().await.unwrap();
        let relay = bench.start().await;
        bench.push(8).await;
        relay.stop().await;
        // The disk is lost; the backup takes its place. The checkpoint is of what is lost.
        postgres.kill().unwrap();
        postgres.restore_files().unwrap();
        postgres.start().await.unwrap();
        bench.team.writers.iter_mut().for_each(|writer| writer.acknowledged.truncate(4 * 25));
        // Others write: what they bring takes the versions of what is lost.
        bench.writers = 2..4;
        if restored != Restored::Noticed {
            fs::remove_file(bench.data.path().join(MARKER_FILE)).unwrap();
        }
        if restored == Restored::Overtaken {
            bench.config.server.checkpoints_mib = 0;
            let relay = bench.start().await;
            bench.push(10).await;
            relay.stop().await;
            bench.config.server.checkpoints_mib = 64;
        }
        let relay = bench.start().await;
        bench.push(3).await;
        assert_eq!(openings(&relay), (0, 1), "{restored:?}");
        assert_eq!(counted(&relay, "checkpoints_total{result=\"thrown_away\"}"), 1, "{restored:?}");
        bench.check(&relay).await;
        relay.stop().await;
        // What was made since fits.
        let relay = bench.start().await;
        bench.push(1).await;
        assert_eq!(openings(&relay), (1, 0), "{restored:?}");
        relay.stop().await;
    }
}
