//! The program `nodespace-servers`: a command beside a PostgreSQL and a Redis of its own.
//!
//! Exit codes: what the command's was; 1 when the servers or the command could not be run, or a signal ended it; 2 when the command line was
//! not understood.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use nodespace_servers::command::{self, Arguments};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(ended) => ended.map_or(ExitCode::SUCCESS, code),
        Err(error) => {
            // When even standard error is closed, the exit code is all that can be told.
            writeln!(std::io::stderr(), "nodespace-servers: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Option<ExitStatus>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(command::run(arguments))
}

fn code(ended: ExitStatus) -> ExitCode {
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
