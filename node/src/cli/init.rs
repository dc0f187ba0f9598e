//! `nodespace init`.

use std::io::{self, Write as _};

use nodespace_node::engine::{CreateOptions, Created, Device, DeviceError};
use nodespace_protocol::conflict::Policy;
use nodespace_store::HomeError;
use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::output::Output;
use super::style::Tone;
use super::table::{Cell, Table};

/// Arguments of `nodespace init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArguments {
    /// The name of the workspace, for people.
    #[arg(long, default_value = "Notes", conflicts_with = "empty")]
    name: String,
    /// Make keys and no workspace: for a device that is going to join one.
    #[arg(long)]
    empty: bool,
}

/// What was made: the form of the JSON output.
#[derive(Debug, Serialize)]
struct Report {
    home: String,
    workspace: String,
    name: String,
    device: String,
    user: String,
}

/// What an empty home has: the form of the JSON output.
#[derive(Debug, Serialize)]
struct EmptyReport {
    home: String,
    device: String,
}

/// Makes a home.
pub(crate) fn run(arguments: &InitArguments, context: &mut Context) -> anyhow::Result<Exit> {
    let home = context.home()?;
    if arguments.empty {
        let device = Device::create_empty(&home)?;
        print_empty(&mut context.out, &EmptyReport { home: home.display().to_string(), device: device.to_string() })?;
        return Ok(Exit::Done);
    }
    let options = CreateOptions { home: home.clone(), workspace_name: arguments.name.clone(), policy: Policy::default() };
    let Created { workspace, device, user } = Device::create(&options)?;
    let report = Report {
        home: home.display().to_string(),
        workspace: workspace.to_string(),
        name: arguments.name.clone(),
        device: device.to_string(),
        user: user.to_string(),
    };
    print(&mut context.out, &report)?;
    Ok(Exit::Done)
}

/// Makes an empty home where there is none, and says so.
pub(crate) fn ensure_home(context: &Context) -> anyhow::Result<()> {
    let home = context.home()?;
    match Device::create_empty(&home) {
        Ok(device) => {
            // Whether anybody reads it makes no difference to what is done.
            writeln!(io::stderr(), "nodespace: made a home in {} with the keys of device {device}", home.display()).ok();
            Ok(())
        }
        Err(DeviceError::Home(HomeError::Exists { .. })) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn print_empty(out: &mut Output, report: &EmptyReport) -> io::Result<()> {
    if out.json {
        return out.value(report);
    }
    let mut table = Table::plain();
    table.pair("home", Cell::toned(Tone::Bold, report.home.as_str()));
    table.pair("device", report.device.as_str());
    out.table(&table)?;
    out.line("\nNext: `nodespace join TICKET`, with a ticket that a member made with `nodespace invite`.")?;
    out.line(format_args!("If you have another device already, run there: nodespace device add {}", report.device))
}

fn print(out: &mut Output, report: &Report) -> io::Result<()> {
    if out.json {
        return out.value(report);
    }
    let mut table = Table::plain();
    table.pair("home", Cell::toned(Tone::Bold, report.home.as_str()));
    table.pair("workspace", format!("{} ({})", super::style::preview(&report.name, 60), report.workspace));
    table.pair("device", report.device.as_str());
    table.pair("user", report.user.as_str());
    out.table(&table)?;
    out.line(
        "\nThe keys in this folder are your identity, and no backup holds them: keep a copy of `identity` where nobody else reads it.",
    )?;
    out.line("Next: `nodespace node create \"first note\"`, `nodespace import FOLDER`, or `nodespace run`.")
}
