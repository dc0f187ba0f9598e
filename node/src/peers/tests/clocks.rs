//! Devices whose clock was set back, and set right again.

use nodespace_protocol::ids::NodeId;

use super::company::{Somebody, agree, company, until};
use crate::engine::Clock;

/// Two hours.
const BACK: Clock = Clock::ahead_by_ms(-7_200_000);

async fn shows(somebody: &Somebody, id: &str) -> bool {
    let id = NodeId::parse(id).unwrap();
    somebody.workspace().read(move |replica| replica.view(&id).is_ok()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_stays_and_what_was_held_back_is_told() {
    let mut all = company(1).await;
    all[0].write("before", "seen while the clock was right").await;
    all[1].sees("before", "seen while the clock was right").await;
    agree(&all).await;
    // The joiner's clock is set back: what it showed it still shows; what comes now is ahead of its time.
    let joiner = all.pop().unwrap().restart_by(BACK).await;
    assert!(shows(&joiner, "before").await, "what had its effect keeps it");
    all[0].write("meanwhile", "two hours ahead").await;
    until(&joiner.workspace(), "an operation that is held back", |replica| replica.held_ops() > 0).await;
    assert!(!shows(&joiner, "meanwhile").await);
    let cursor = joiner.workspace().feed().end();
    // Set right: it takes effect at the opening, and whoever followed the changes is told to look again.
    let joiner = joiner.restart_by(Clock::default()).await;
    assert!(shows(&joiner, "meanwhile").await);
    assert!(joiner.workspace().feed().must_reset(cursor), "no operation tells of it");
    all.push(joiner);
    agree(&all).await;
}
