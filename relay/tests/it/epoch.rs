//! The epoch: a database that was set back is noticed, and nobody skips what took the place of what was lost.

use nodespace_protocol::view::{Cursor, Encoding, SyncPacket};
use nodespace_relay::clock;
use nodespace_relay::relay::MARKER_FILE;

use crate::servers::{Shared, own_postgres_and_config};
use crate::world::{TestRelay, two_members};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_begins_a_new_epoch_and_nothing_is_skipped() {
    let (mut postgres, config, data) = own_postgres_and_config(Some(Shared::get().redis())).await;
    let relay = TestRelay::run(config.clone()).await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("before", "in the backup");
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    let before = relay.app.parts().database.epoch().current();
    relay.stop().await;
    // A cold backup.
    postgres.stop().await.unwrap();
    postgres.back_up_files().await.unwrap();
    postgres.start().await.unwrap();
    let relay = TestRelay::run(config.clone()).await;
    assert_eq!(relay.app.parts().database.epoch().current(), before, "a restart is no new epoch");
    founder.login(&relay).await;
    founder.create("after", "acknowledged after the backup");
    founder.sync(&relay).await;
    joiner.login(&relay).await;
    joiner.sync(&relay).await;
    relay.stop().await;
    // The disk is lost; the backup takes its place.
    postgres.kill().unwrap();
    postgres.restore_files().unwrap();
    postgres.start().await.unwrap();
    let relay = TestRelay::run(config.clone()).await;
    let after = relay.app.parts().database.epoch().current();
    assert!(after > before);
    // The joiner comes first and writes: its operation takes the version that the founder's had.
    joiner.create("instead", "has the version of what was lost");
    joiner.forget_acknowledged();
    joiner.login(&relay).await;
    joiner.sync(&relay).await;
    founder.login(&relay).await;
    let pull = SyncPacket::pull(founder.sender(), founder.cursor, clock::now());
    let response = founder.send(&relay, &pull, Encoding::Cbor).await.sync();
    assert_eq!(response.epoch, after);
    founder.forget_acknowledged();
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    assert_eq!(founder.text("instead"), "has the version of what was lost");
    assert_eq!(joiner.text("after"), "acknowledged after the backup");
    assert_eq!(founder.replica.state_digest(), joiner.replica.state_digest());
    // Another instance, which remembers nothing but what Redis does, sees the same.
    relay.stop().await;
    std::fs::remove_file(data.path().join(MARKER_FILE)).unwrap();
    let relay = TestRelay::run(config).await;
    assert_eq!(relay.app.parts().database.epoch().current(), after);
    assert_eq!(founder.cursor, Cursor { epoch: after, version: founder.cursor.version });
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_in_another_database_is_another_epoch_and_an_operator_can_begin_one() {
    let relay = TestRelay::start().await;
    let (mut founder, _) = two_members(&relay).await;
    founder.create("a", "text");
    founder.sync(&relay).await;
    let before = relay.app.parts().database.epoch().current();
    let renewed = relay.app.parts().database.epoch().renew(relay.app.parts().database.write()).await.unwrap();
    assert!(renewed > before);
    founder.forget_acknowledged();
    let response = founder.sync(&relay).await;
    assert_eq!((response.epoch, response.latest_version), (renewed, 4));
    let mut config = relay.config.clone();
    let moved = Shared::get().copy_of(config.database.url.reveal(), relay).await;
    config.database.url = nodespace_relay::config::Secret::new(moved.0);
    let relay = TestRelay::run(config).await;
    assert!(relay.app.parts().database.epoch().current() > renewed, "it may be as old as anything");
    drop(moved.1);
}
