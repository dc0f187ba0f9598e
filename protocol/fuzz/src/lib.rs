//! Fuzzing: bytes that somebody else wrote, into everything that reads bytes.
//!
//! A target is a plain function over bytes that must come back, whatever they are ([`TARGETS`]). Two drivers call them: cargo-fuzz,
//! through the files in `fuzz_targets`, which learns from coverage and needs nightly Rust; and `smoke`, on stable Rust, which
//! starts from the golden vectors, changes them at random from a seed, and also watches how much memory a call needs.
//!
//! ```text
//! cargo run --release --bin smoke -- --seconds 60
//! cargo run --release --bin smoke -- --seconds 60 --target segment --seed 7
//! cargo +nightly fuzz run segment --features libfuzzer
//! ```

pub mod allocation;
mod checkpoint;
pub mod mutate;
mod packet;
mod seeds;
mod targets;
mod workspace;

pub use targets::{TARGETS, Target};

/// Runs a target by name, as libFuzzer's files do.
///
/// # Panics
/// When there is no such target, or it finds something.
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(bytes),
        None => panic!("no target is named {name}"),
    }
}
