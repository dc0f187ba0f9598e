//! The epoch: a database that was set back is noticed, and nobody skips what took the place of what was lost.

use std::path::Path;
use std::sync::Arc;

use nodespace_protocol::ids::RelayId;
use nodespace_protocol::view::{Cursor, Encoding, SyncPacket};
use nodespace_relay::clock;
use nodespace_relay::config::{DatabaseConfig, Secret};
use nodespace_relay::relay::MARKER_FILE;
use nodespace_relay::store::{Database, EpochKeeper, StoreError};
use sqlx::{Connection as _, PgConnection};

use crate::servers::{Shared, own_postgres_and_config, run_sql};
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
    config.database.url = Secret::new(moved.0);
    let relay = TestRelay::run(config).await;
    assert!(relay.app.parts().database.epoch().current() > renewed, "it may be as old as anything");
    drop(moved.1);
}

/// Instances hear of an epoch that another one begins with their beats, some seconds apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_has_not_heard_of_an_epoch_does_not_lead_back_to_the_one_before() {
    let relay = TestRelay::start().await;
    let other = relay.another().await;
    let (mut founder, _) = two_members(&relay).await;
    // The other one's connections are there: none that is made anew tells it.
    founder.sync(&other).await;
    let database = relay.app.parts().database.clone();
    // A beat of the other one may come between once.
    for round in 0..3 {
        let renewed = database.epoch().renew(database.write()).await.unwrap();
        founder.forget_acknowledged();
        assert_eq!(founder.sync(&relay).await.epoch, renewed);
        let pull = SyncPacket::pull(founder.sender(), founder.cursor, clock::now());
        assert_eq!(founder.send(&other, &pull, Encoding::Cbor).await.sync().cursor(), founder.cursor);
        let renewed = database.epoch().renew(database.write()).await.unwrap();
        founder.forget_acknowledged();
        founder.sync(&relay).await;
        founder.create(&format!("pushed-{round}"), "to the one that has not heard");
        assert_eq!(founder.sync(&other).await.epoch, renewed);
    }
    other.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_a_database_that_is_another_relays() {
    let (own, other, data) = (RelayId([1; 32]), RelayId([2; 32]), tempfile::tempdir().unwrap());
    let marker = data.path().join(MARKER_FILE);
    let (others_url, own_url) = (Shared::get().database().await, Shared::get().database().await);
    // The other one's is the older: to whoever remembers the own one it looks as if it had been set back.
    claim(&others_url, None, other).await.unwrap().close().await;
    claim(&own_url, Some(&marker), own).await.unwrap().close().await;
    let before = row(&others_url).await;
    assert!(matches!(claim(&others_url, Some(&marker), own).await, Err(StoreError::AnotherRelay { .. })));
    assert_eq!(row(&others_url).await, before);
    // Nor to one to which the URL leads later.
    let database = claim(&own_url, Some(&marker), own).await.unwrap();
    run_sql(&own_url, "UPDATE relay SET public_key = decode(repeat('02', 32), 'hex'), beat = 0".to_owned()).await;
    let before = row(&own_url).await;
    assert!(database.epoch().beat(database.write()).await.is_err());
    assert_eq!(row(&own_url).await, before);
    database.close().await;
}

/// A database as a relay takes it when it starts, with what a file remembers.
async fn claim(url: &str, marker: Option<&Path>, relay: RelayId) -> Result<Database, StoreError> {
    let config = DatabaseConfig { url: Secret::new(url), ..DatabaseConfig::default() };
    let database = Database::open(&config, Arc::new(EpochKeeper::open(marker.map(Path::to_owned), None)?))?;
    database.claim(&config, relay).await?;
    Ok(database)
}

/// All that a database says of its relay.
async fn row(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT relay::text FROM relay").fetch_one(&mut connection).await.unwrap()
}
