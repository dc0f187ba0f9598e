//! What PostgreSQL ends by itself: a statement that takes too long, a transaction that lies idle.

use sqlx::Connection as _;

use crate::world::{TestRelay, two_members};

/// Another instance, which gives the database so much less time.
async fn hasty(relay: &TestRelay, statement_seconds: u64, idle_seconds: u64) -> TestRelay {
    let mut config = relay.config.clone();
    (config.database.statement_seconds, config.database.idle_seconds) = (statement_seconds, idle_seconds);
    TestRelay::run(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_is_ended_and_answered_with_a_code() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    // Enough for whatever is not held up; less than anybody waits for a lock.
    let hasty = hasty(&relay, 2, 15).await;
    let path = format!("/v1/workspaces/{}/addresses", founder.workspace);
    assert_eq!(hasty.get(&path, Some(&founder.token)).await.status, 200);
    let mut holder = sqlx::PgConnection::connect(relay.config.database.url.reveal()).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE addresses IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let answer = hasty.get(&path, Some(&founder.token)).await;
    assert_eq!(answer.refusal(), (503, "database_unavailable".into()));
    assert!(answer.json()["error"]["retry_after_ms"].as_u64().unwrap() > 0, "{:?}", answer.json());
    // PostgreSQL has ended it. Had the relay alone lost patience, the statement would wait still.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                   AND query LIKE '%FROM addresses JOIN%'";
    let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *held).await.unwrap();
    assert_eq!(waiting, 0);
    held.rollback().await.unwrap();
    assert_eq!(hasty.get(&path, Some(&founder.token)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_lies_idle_is_ended_and_holds_nobody_up() {
    let relay = TestRelay::start().await;
    let (mut founder, _) = two_members(&relay).await;
    let hasty = hasty(&relay, 15, 1).await;
    // An instance that hangs in the middle of a turn, as the database sees it.
    let mut hung = hasty.app.parts().database.write().begin().await.unwrap();
    sqlx::query("SELECT number FROM workspaces FOR UPDATE").execute(&mut *hung).await.unwrap();
    founder.create("a", "waits for the workspace's row");
    founder.sync(&relay).await;
    assert_eq!(relay.rows().await[..2], [1, 4]);
    assert!(sqlx::query("SELECT 1").execute(&mut *hung).await.is_err(), "the transaction that held it was ended");
}
