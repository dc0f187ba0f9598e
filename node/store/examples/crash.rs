//! The crash enumerator of the tests with as many images as one likes:
//! `cargo run -p nodespace-store --example crash -- --images 1000000 --seed 1`; `--mutant NoFolderSync` shows that it can fail.

#[path = "../tests/crash/enumerate.rs"]
mod enumerate;
#[path = "../tests/crash/script.rs"]
mod script;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let broken = arguments.iter().position(|argument| argument == "--mutant").and_then(|at| arguments.get(at + 1));
    let mutant = broken.and_then(|name| script::Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == *name));
    let start = Instant::now();
    let outcome = enumerate::enumerate(value("--seed", 1), value("--images", 100_000), mutant);
    let seconds = start.elapsed().as_secs_f64();
    let written = match &outcome {
        Ok(counts) => writeln!(out, "{counts:?} in {seconds:.1} s: nothing lost"),
        Err(why) => writeln!(out, "{why}"),
    };
    if outcome.is_ok() && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
