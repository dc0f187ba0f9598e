//! The program `nodespace`: a device on the command line.
//!
//! `cli` says what can be asked, `cli::exit` how the program ends.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Arguments;
use cli::context::Context;
use cli::exit::Exit;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut context = Context::new(arguments.common);
    let result = cli::run(arguments.command, &mut context).and_then(|exit| Ok(context.out.flush().map(|()| exit)?));
    match result {
        Ok(exit) => exit.into(),
        // Whoever read our output has seen enough: `nodespace outline . | head`.
        Err(error) if cli::is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            // What was printed before the failure belongs before the reason; when nobody reads it, the reason is still told.
            context.out.flush().ok();
            cli::report(&error);
            Exit::of(&error).into()
        }
    }
}
