//! A standby takes over: that may have cost the last commits, and a new epoch begins, whether PostgreSQL has made a checkpoint since or not.

use nodespace_relay::store::Database;

use crate::servers::{Postgres, Shared, create_database, run_sql};
use crate::world::{TestRelay, config, two_members};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_begins_one_new_epoch_before_its_first_checkpoint() {
    let mut postgres = Postgres::start();
    create_database(&postgres.url("postgres"), "relay").await;
    let data = tempfile::tempdir().unwrap();
    let config = config(&postgres.url("relay"), Some(Shared::get().redis()), data.path().to_owned());
    Database::migrate(&config.database).await.unwrap();
    let relay = TestRelay::run(config.clone()).await;
    let (mut founder, _) = two_members(&relay).await;
    founder.create("a", "acknowledged");
    founder.sync(&relay).await;
    let before = relay.app.parts().database.epoch().current();
    relay.stop().await;
    // Neither the beat nor the log's position is behind what the relay remembers: the timeline alone tells.
    postgres.stop("INT");
    postgres.run_promoted().await;
    let relay = TestRelay::run(config.clone()).await;
    let after = relay.app.parts().database.epoch().current();
    assert!(after > before, "the promotion went unnoticed");
    founder.login(&relay).await;
    founder.forget_acknowledged();
    assert_eq!(founder.sync(&relay).await.epoch, after);
    relay.stop().await;
    // The checkpoint says nothing new.
    postgres.thaw();
    run_sql(&postgres.url("postgres"), "CHECKPOINT".to_owned()).await;
    let relay = TestRelay::run(config).await;
    assert_eq!(relay.app.parts().database.epoch().current(), after);
    relay.stop().await;
}
