//! The program `nodespace-relay`.
//!
//! Exit codes: 0 done, 1 the packet is refused, 2 the command line was not understood or a file could not be read.
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
        Command::CheckPacket(check) => cli::check_packet::run(&check, &mut out),
    };
    match result {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&error);
            ExitCode::from(cli::EXIT_MISUSE)
        }
    }
}
