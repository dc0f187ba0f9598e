//! `nodespace members` and `nodespace member`: who belongs to a workspace.

use std::io;

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{AddMember, MemberList, MembershipChange, SetRole};

use super::exit::Exit;
use super::invite::RoleName;
use super::output::Output;
use super::style::Tone;
use super::table::{Cell, Table};

/// What to do with members.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum MemberCommand {
    /// Make a user a member without a ticket.
    Add(AddArguments),
    /// Remove a member with all devices. They keep the copy they have.
    Remove(UserArguments),
    /// Give a member another role.
    Role(RoleArguments),
}

/// Arguments of `nodespace member add`.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArguments {
    /// The user's key, as `nodespace device request` shows it there: 64 hex digits.
    user: String,
    /// What they become.
    #[arg(long, default_value = "editor")]
    role: RoleName,
}

/// Which member.
#[derive(Debug, clap::Args)]
pub(crate) struct UserArguments {
    /// The user, or at least eight digits of the key. Your own user: leave the workspace.
    user: String,
}

/// Arguments of `nodespace member role`.
#[derive(Debug, clap::Args)]
pub(crate) struct RoleArguments {
    /// The user, or at least eight digits of the key.
    user: String,
    /// What they become.
    role: RoleName,
}

/// Lists the members.
pub(crate) async fn list(client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let answer = client.ask::<MemberList>(Request::get(&["v1", "members"])).await?;
    out.answer(&answer, print_list)?;
    Ok(Exit::Done)
}

/// Does what was asked.
pub(crate) async fn run(command: &MemberCommand, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let (request, done) = match command {
        MemberCommand::Add(arguments) => {
            let request = AddMember { user: arguments.user.clone(), role: arguments.role.name().to_owned() };
            (Request::post(&["v1", "members"]).json(&request)?, "added: ")
        }
        MemberCommand::Remove(arguments) => (Request::new(Method::DELETE, &["v1", "members", &arguments.user]), ""),
        MemberCommand::Role(arguments) => {
            let request = SetRole { role: arguments.role.name().to_owned() };
            (Request::new(Method::PATCH, &["v1", "members", &arguments.user]).json(&request)?, "is now ")
        }
    };
    let answer = client.ask::<MembershipChange>(request).await?;
    out.answer(&answer, |out, change| out.line(format_args!("{done}{}", change.note)))?;
    Ok(Exit::Done)
}

fn print_list(out: &mut Output, list: &MemberList) -> io::Result<()> {
    if list.members.is_empty() {
        return out.line("no members yet: the workspace is being joined");
    }
    let ids = out.style.ids(list.members.iter().map(|member| member.user.as_str()));
    let mut table = Table::new(["user", "role", "devices", ""]);
    for member in &list.members {
        let user = Cell::toned(Tone::Bold, ids.short(&member.user));
        let you = Cell::toned(Tone::Dim, if member.own { "you" } else { "" });
        table.row([user, member.role.as_str().into(), member.devices.len().to_string().into(), you]);
    }
    out.table(&table)
}
