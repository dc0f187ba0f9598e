//! A standby takes over: that may have cost the last commits, and a new epoch begins, whether PostgreSQL has made a checkpoint since or not.

use crate::servers::{Shared, own_postgres_and_config, run_sql};
use crate::world::{TestRelay, two_members};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_begins_one_new_epoch_before_its_first_checkpoint() {
    let (mut postgres, config, _data) = own_postgres_and_config(Some(Shared::get().redis())).await;
    let relay = TestRelay::run(config.clone()).await;
    let (mut founder, _) = two_members(&relay).await;
    founder.create("a", "acknowledged");
    founder.sync(&relay).await;
    let before = relay.app.parts().database.epoch().current();
    relay.stop().await;
    // Neither the beat nor the log's position is behind what the relay remembers: the timeline alone tells.
    postgres.stop().await.unwrap();
    postgres.start_promoted().await.unwrap();
    let relay = TestRelay::run(config.clone()).await;
    let after = relay.app.parts().database.epoch().current();
    assert!(after > before, "the promotion went unnoticed");
    founder.login(&relay).await;
    founder.forget_acknowledged();
    assert_eq!(founder.sync(&relay).await.epoch, after);
    relay.stop().await;
    // The checkpoint says nothing new.
    postgres.thaw().unwrap();
    run_sql(&postgres.url(), "CHECKPOINT".to_owned()).await;
    let relay = TestRelay::run(config).await;
    assert_eq!(relay.app.parts().database.epoch().current(), after);
    relay.stop().await;
}
