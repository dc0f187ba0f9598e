//! `nodespace init`.

use nodespace_node::engine::{CreateOptions, Created, Device};
use nodespace_protocol::conflict::Policy;
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
    #[arg(long, default_value = "Notes")]
    name: String,
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

/// Makes a home.
pub(crate) fn run(arguments: &InitArguments, context: &mut Context) -> anyhow::Result<Exit> {
    let home = context.home()?;
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

fn print(out: &mut Output, report: &Report) -> std::io::Result<()> {
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
