//! `nodespace workspace`: the workspaces of this device.

use std::io;

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{CreateWorkspace, UpdateWorkspace, WorkspaceList, WorkspaceState, WorkspaceSummary};

use super::exit::Exit;
use super::output::Output;
use super::style::{Tone, grouped, preview};
use super::table::{Cell, Table};

/// How many characters of a name are shown.
const NAME_CHARACTERS_MAX: usize = 40;

/// What to do with workspaces.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Found a workspace; your user becomes its owner.
    New(NewArguments),
    /// List the workspaces of this device.
    List,
    /// Make a workspace the one that is meant when none is named.
    Default(IdArguments),
    /// Rename a workspace, for all its members.
    Rename(RenameArguments),
    /// Give up a join that is under way.
    CancelJoin(IdArguments),
}

/// Arguments of `nodespace workspace new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArguments {
    /// Its name, for people.
    name: String,
    /// Make it the one that is meant when none is named, too.
    #[arg(long)]
    default: bool,
}

/// Which workspace.
#[derive(Debug, clap::Args)]
pub(crate) struct IdArguments {
    /// The workspace's id, or at least eight digits of it.
    id: String,
}

/// Arguments of `nodespace workspace rename`.
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArguments {
    /// The workspace's id, or at least eight digits of it.
    id: String,
    /// The new name.
    name: String,
}

/// Does what was asked.
pub(crate) async fn run(command: &WorkspaceCommand, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let client = client.clone().of_workspace(None);
    let change = |id: &str| Request::new(Method::PATCH, &["v1", "workspaces", id]);
    let (request, done) = match command {
        WorkspaceCommand::List => {
            let answer = client.ask::<WorkspaceList>(Request::get(&["v1", "workspaces"])).await?;
            out.answer(&answer, print_list)?;
            return Ok(Exit::Done);
        }
        WorkspaceCommand::New(arguments) => {
            let request = CreateWorkspace { name: arguments.name.clone(), default: arguments.default };
            (Request::post(&["v1", "workspaces"]).json(&request)?, "founded")
        }
        WorkspaceCommand::Default(arguments) => {
            let request = UpdateWorkspace { default: Some(true), ..UpdateWorkspace::default() };
            (change(&arguments.id).json(&request)?, "the default is now")
        }
        WorkspaceCommand::Rename(arguments) => {
            let request = UpdateWorkspace { name: Some(arguments.name.clone()), ..UpdateWorkspace::default() };
            (change(&arguments.id).json(&request)?, "renamed")
        }
        WorkspaceCommand::CancelJoin(arguments) => (Request::new(Method::DELETE, &["v1", "workspaces", &arguments.id]), "gave up joining"),
    };
    let answer = client.ask::<WorkspaceSummary>(request).await?;
    out.answer(&answer, |out, summary| {
        out.line(format_args!("{done} {} ({})", preview(&summary.name, NAME_CHARACTERS_MAX), summary.workspace))
    })?;
    Ok(Exit::Done)
}

fn print_list(out: &mut Output, list: &WorkspaceList) -> io::Result<()> {
    if list.workspaces.is_empty() {
        return out.line("no workspace yet: make one with `nodespace workspace new NAME`, or join one with `nodespace join TICKET`");
    }
    let ids = out.style.ids(list.workspaces.iter().map(|summary| summary.workspace.as_str()));
    let mut table = Table::new(["", "workspace", "name", "you are", "members", "operations", "sync"]);
    for summary in &list.workspaces {
        table.row([
            Cell::toned(Tone::Green, if summary.default { "*" } else { "" }),
            Cell::toned(Tone::Bold, ids.short(&summary.workspace)),
            preview(&summary.name, NAME_CHARACTERS_MAX).into(),
            standing(summary),
            summary.members.to_string().into(),
            grouped(summary.ops).into(),
            Cell::toned(Tone::Dim, summary.sync.as_str()),
        ]);
    }
    out.table(&table)
}

fn standing(summary: &WorkspaceSummary) -> Cell {
    match summary.state {
        WorkspaceState::Member => summary.role.as_deref().unwrap_or("member").into(),
        WorkspaceState::Joining => Cell::toned(Tone::Yellow, "joining"),
        WorkspaceState::Reader => Cell::toned(Tone::Yellow, "no member"),
        WorkspaceState::Failed => Cell::toned(Tone::Red, "failed"),
    }
}
