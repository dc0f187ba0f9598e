//! Turns of several workspaces, on a PostgreSQL of one's own.

use futures::poll;
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{KeyPair, Signature};
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::op::Op;
use nodespace_protocol::replica::{Author, Founding, NewNode, Replica};
use nodespace_protocol::store::{MemoryStore, OpIndex, Store as _};
use nodespace_servers::{Place, Postgres};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{DatabaseConfig, Secret};
use crate::store::{Database, EpochKeeper, NodeRows, OperationRows, WorkspaceRow};

struct Fixture {
    database: Database,
    _postgres: Postgres,
}

/// A workspace's first turn.
struct First {
    replica: Replica<MemoryStore>,
    nodes: u8,
    turn: Arc<Turn>,
}

impl Fixture {
    async fn start() -> Self {
        let postgres = Postgres::create(&Place::temporary().unwrap()).await.unwrap();
        let config = DatabaseConfig { url: Secret::new(postgres.url()), ..DatabaseConfig::default() };
        Database::migrate(&config).await.unwrap();
        let database = Database::open(&config, Arc::new(EpochKeeper::open(None, None).unwrap())).unwrap();
        Self { database, _postgres: postgres }
    }

    /// A workspace that is new here, and its first turn, which makes so many nodes.
    async fn first(&self, nodes: u8) -> First {
        let replica = founded(nodes);
        let workspace = replica.workspace();
        let mut connection = self.database.write().acquire().await.unwrap();
        let founder = KeyPair::from_seed(&[nodes; 32]).user();
        WorkspaceRow::insert(&mut connection, &workspace, &founder, u32::MAX).await.unwrap();
        let from = WorkspaceRow::read(&mut *connection, &workspace).await.unwrap().unwrap();
        let mut operations = OperationRows::after(from.running);
        let mut rows = NodeRows::default();
        for index in 0..replica.store().op_count() {
            let op: Arc<Op> = replica.store().op(OpIndex(index)).unwrap();
            operations.push(&workspace, &op);
            if let Some(node) = &op.header.node {
                rows.push(node, replica.canonical(node).unwrap().as_ref()).unwrap();
            }
        }
        operations.sign_last(&Signature([nodes; 64]));
        First { replica, nodes, turn: Arc::new(Turn { from, operations, nodes: rows, held: false }) }
    }

    /// Takes all lanes: whoever writes waits.
    async fn hold(&self) -> OwnedSemaphorePermit {
        let free = &self.database.lanes().free;
        Arc::clone(free).acquire_many_owned(u32::try_from(free.available_permits()).unwrap()).await.unwrap()
    }

    /// Begins to write turns; they wait in this order.
    async fn wait_for_a_lane(&self, firsts: &[&First]) -> Vec<JoinHandle<Result<bool, StoreError>>> {
        let mut writing = Vec::new();
        for first in firsts {
            let (database, turn) = (self.database.clone(), Arc::clone(&first.turn));
            let mut write = Box::pin(async move { database.write_turn(&turn).await });
            // Its place in the queue is that of its first look.
            assert!(poll!(&mut write).is_pending());
            writing.push(tokio::spawn(write));
        }
        assert_eq!(self.database.lanes().lock().len(), firsts.len());
        writing
    }

    /// A workspace's row, how many operations it has, and how many nodes.
    async fn stored(&self, first: &First) -> (WorkspaceRow, i64, i64) {
        let row = WorkspaceRow::read(self.database.read(), &first.replica.workspace()).await.unwrap().unwrap();
        let count =
            async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).bind(row.number).fetch_one(self.database.read()).await.unwrap();
        let operations = count("SELECT count(*) FROM operations WHERE workspace = $1").await;
        let nodes = count("SELECT count(*) FROM nodes WHERE workspace = $1").await;
        (row, operations, nodes)
    }

    async fn holds(&self, first: &First) {
        let (row, operations, nodes) = self.stored(first).await;
        let Turn { operations: written, .. } = &*first.turn;
        assert_eq!(row, first.turn.left());
        assert_eq!((operations, nodes), (written.len() as i64, i64::from(first.nodes)), "{row:?}");
    }
}

fn founded(seed: u8) -> Replica<MemoryStore> {
    let (user, key) = (KeyPair::from_seed(&[seed; 32]), KeyPair::from_seed(&[seed + 100; 32]));
    let founding = Founding { name: format!("workspace {seed}"), policy: Policy::default(), secret: [seed; 32] };
    let certificate = Certificate::issue(&user, key.device());
    let now = Timestamp::from_ms(1_700_000_000_000);
    let mut replica = Replica::found(MemoryStore::new(), Author { key, epoch: 1 }, certificate, founding, now).unwrap();
    for number in 0..seed {
        let id = NodeId::parse(&format!("node-{number}")).unwrap();
        replica.create(now, NewNode::text(id, None, format!("node {number} of {seed}"))).unwrap();
    }
    replica.commit().unwrap();
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_wait_are_written_by_one_transaction() {
    let fixture = Fixture::start().await;
    let firsts = [fixture.first(3).await, fixture.first(1).await, fixture.first(2).await];
    let held = fixture.hold().await;
    let writing = fixture.wait_for_a_lane(&[&firsts[0], &firsts[1], &firsts[2]]).await;
    drop(held);
    for written in writing {
        assert!(written.await.unwrap().unwrap());
    }
    for first in &firsts {
        fixture.holds(first).await;
        let (row, ..) = fixture.stored(first).await;
        let versions = "SELECT version FROM operations WHERE workspace = $1 ORDER BY version";
        let versions: Vec<i64> = sqlx::query_scalar(versions).bind(row.number).fetch_all(fixture.database.read()).await.unwrap();
        assert!(versions.into_iter().eq(1..=row.version as i64));
        let ids: Vec<Vec<u8>> = sqlx::query_scalar("SELECT op_hash FROM operations WHERE workspace = $1 ORDER BY version")
            .bind(row.number)
            .fetch_all(fixture.database.read())
            .await
            .unwrap();
        let own = (0..first.replica.store().op_count()).map(|index| first.replica.store().op(OpIndex(index)).unwrap().hash.0.to_vec());
        assert!(ids.into_iter().eq(own), "each workspace has its own operations, in their order");
    }
    let transactions = "SELECT count(DISTINCT xmin::text) FROM operations";
    let transactions: i64 = sqlx::query_scalar(transactions).fetch_one(fixture.database.read()).await.unwrap();
    assert_eq!(transactions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_elsewhere_writes_nothing_and_a_row_that_is_locked_keeps_nobody_else_waiting() {
    let fixture = Fixture::start().await;
    let (free, moved, locked) = (fixture.first(1).await, fixture.first(2).await, fixture.first(3).await);
    let bump = sqlx::query("UPDATE workspaces SET bytes = 7, version = 1 WHERE number = $1").bind(moved.turn.from.number);
    bump.execute(fixture.database.write()).await.unwrap();
    let mut transaction = fixture.database.write().begin().await.unwrap();
    WorkspaceRow::lock(&mut transaction, &locked.replica.workspace()).await.unwrap().unwrap();
    let held = fixture.hold().await;
    let mut writing = fixture.wait_for_a_lane(&[&locked, &moved, &free]).await;
    drop(held);
    assert!(writing.pop().unwrap().await.unwrap().unwrap(), "it waits for nobody");
    assert!(!writing.pop().unwrap().await.unwrap().unwrap(), "another one has moved it");
    let waiting = writing.pop().unwrap();
    assert!(!waiting.is_finished(), "its row is locked still");
    transaction.rollback().await.unwrap();
    assert!(waiting.await.unwrap().unwrap());
    fixture.holds(&free).await;
    fixture.holds(&locked).await;
    let (row, operations, nodes) = fixture.stored(&moved).await;
    assert_eq!((row.version, row.bytes, operations, nodes), (1, 7, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_let_go_of_with_the_turns_of_others_takes_nothing_from_them() {
    let fixture = Fixture::start().await;
    let firsts = [fixture.first(1).await, fixture.first(2).await];
    // The statement comes as far as the nodes.
    let mut transaction = fixture.database.write().begin().await.unwrap();
    sqlx::query("LOCK TABLE nodes IN SHARE MODE").execute(&mut *transaction).await.unwrap();
    let mut held = fixture.hold().await;
    let mut writing = fixture.wait_for_a_lane(&[&firsts[0], &firsts[1]]).await;
    // One lane, for the one who waits longest: it takes the other one along.
    drop(held.split(1));
    let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(fixture.database.read()).await.unwrap() {}
    assert!(fixture.database.lanes().lock().is_empty(), "both are being written");
    let other = writing.pop().unwrap();
    let leader = writing.pop().unwrap();
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    transaction.rollback().await.unwrap();
    // By itself, or by the statement of the one that has gone: then its workspace is found moved, and it is told so. Once, either way.
    other.await.unwrap().unwrap();
    fixture.holds(&firsts[1]).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_fails_for_its_cause_alone() {
    let fixture = Fixture::start().await;
    let (good, bad) = (fixture.first(2).await, fixture.first(1).await);
    // Its first version is taken, though its row does not say so.
    let taken = "INSERT INTO operations (workspace, version, op_hash, header, payload, size) VALUES ($1, 1, '', '', '', 0)";
    sqlx::query(taken).bind(bad.turn.from.number).execute(fixture.database.write()).await.unwrap();
    let held = fixture.hold().await;
    let mut writing = fixture.wait_for_a_lane(&[&bad, &good]).await;
    drop(held);
    assert!(writing.pop().unwrap().await.unwrap().unwrap());
    let error = writing.pop().unwrap().await.unwrap().unwrap_err();
    assert!(chain(&error).contains("operations"), "{}", chain(&error));
    fixture.holds(&good).await;
    let (row, operations, nodes) = fixture.stored(&bad).await;
    assert_eq!((row, operations, nodes), (bad.turn.from.clone(), 1, 0));
}
