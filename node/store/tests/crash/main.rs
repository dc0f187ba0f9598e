//! Power cuts at every place: see [`enumerate`]. `cargo run --example crash -- --images 1000000` tries more.

mod enumerate;
mod script;

use std::sync::atomic::Ordering;

use enumerate::enumerate;
use script::Mutant;

/// How many images the tests try.
const IMAGES: u64 = 100_000;

#[test]
fn nothing_acknowledged_is_lost_in_any_power_cut() {
    let counts = enumerate(1, IMAGES, None).unwrap_or_else(|why| panic!("{why}"));
    assert!(counts.images.load(Ordering::Relaxed) >= IMAGES);
    // The images are of every kind: else the rest would prove little.
    for (what, count) in [
        ("cut again while recovering", &counts.second),
        ("with more than was acknowledged", &counts.kept_more),
        ("with a checkpoint", &counts.with_checkpoint),
        ("written to afterwards", &counts.went_on),
    ] {
        assert!(count.load(Ordering::Relaxed) > 500, "images {what}: {count:?}");
    }
}

#[test]
fn broken_promises_are_noticed() {
    for mutant in Mutant::ALL {
        let noticed = enumerate(1, 20_000, Some(mutant));
        assert!(noticed.is_err(), "{mutant:?} went unnoticed");
    }
}
