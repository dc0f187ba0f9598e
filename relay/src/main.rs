//! The program `nodespace-relay`.
//!
//! Exit codes: 0 done, 1 the packet is refused or something checked is wrong, 2 the command line or configuration was not understood, or a
//! file, server or socket could not be used.
#![forbid(unsafe_code)]

mod cli;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    // Two libraries bring two providers of cryptography; which one is used is said once, here.
    rustls::crypto::ring::default_provider().install_default().ok();
    let result = match &arguments.command {
        Command::CheckPacket(check) => cli::check_packet::run(check, &mut out),
        command => arguments.config().and_then(|config| match command {
            Command::CheckPacket(_) => Ok(ExitCode::SUCCESS),
            Command::Serve(serve) => cli::serve::run(serve, config, &mut out),
            Command::Migrate(migrate) => cli::migrate::run(migrate, &config, &mut out),
            Command::Check => cli::check::run(&config, &mut out),
            Command::Admin(admin) => cli::admin::run(admin, &config, &mut out),
        }),
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
