//! The program `nodespace-testnet`.
//!
//! Exit codes: 0 done, 1 something was found or could not be done (the reason is on standard error), 2 the command line was not understood,
//! 77 this machine cannot do it at all (no network namespaces, say).
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use nodespace_testnet::cli::{self, Arguments};

/// What test runners take for "skipped".
const UNAVAILABLE: u8 = 77;

fn main() -> ExitCode {
    match cli::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&error);
            if cli::is_unavailable(&error) { ExitCode::from(UNAVAILABLE) } else { ExitCode::FAILURE }
        }
    }
}
