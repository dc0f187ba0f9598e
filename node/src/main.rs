//! The program `nodespace`.
//!
//! Exit codes: 0 done, 1 could not be done (the reason is on standard error), 2 the command line was not understood.
#![forbid(unsafe_code)]

mod cli;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let result = match arguments.command {
        Command::Outline(outline) => cli::outline::run(&outline, &mut out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough: `nodespace outline . | head`.
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&error);
            ExitCode::FAILURE
        }
    }
}
