//! `nodespace devices` and `nodespace device`: the machines of a workspace's members.

use std::io;

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{AddDevice, DeviceIdentity, DeviceInvitation, DeviceList, MembershipChange};

use super::exit::Exit;
use super::invite::{obstacle, print_reach};
use super::output::Output;
use super::style::Tone;
use super::table::{Cell, Table};

/// What to do with devices.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeviceCommand {
    /// On the device that you have: add your next one, and show the ticket for it.
    Add(AddArguments),
    /// Remove a device. It keeps the copy it has.
    Remove(RemoveArguments),
    /// On the new device: show its id, and what to type on the device that you have.
    Request,
}

/// Arguments of `nodespace device add`.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArguments {
    /// The new device's id, as `nodespace device request` shows it there: 64 hex digits.
    device: String,
}

/// Arguments of `nodespace device remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArguments {
    /// The device, or at least eight digits of its id.
    device: String,
}

/// Lists the devices.
pub(crate) async fn list(client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let answer = client.ask::<DeviceList>(Request::get(&["v1", "devices"])).await?;
    out.answer(&answer, print_list)?;
    Ok(Exit::Done)
}

/// Does what was asked. `workspace` is the one that was named on the command line.
pub(crate) async fn run(command: &DeviceCommand, workspace: Option<&String>, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match command {
        DeviceCommand::Add(arguments) => {
            let request = AddDevice { device: arguments.device.clone(), workspaces: workspace.map(|id| vec![id.clone()]) };
            let of_device = client.clone().of_workspace(None);
            let answer = of_device.ask::<DeviceInvitation>(Request::post(&["v1", "devices"]).json(&request)?).await?;
            let obstacle = obstacle(client).await;
            out.answer(&answer, |out, invitation| {
                out.line(&invitation.ticket)?;
                let count = invitation.workspaces.len();
                let what = if count == 1 { "one workspace".to_owned() } else { format!("{count} workspaces") };
                out.line(format_args!("\nAdded to {what}. On the new device run: nodespace join TICKET"))?;
                out.line("It is of use to that device only, but holds the secrets of the workspaces: hand it over in private.")?;
                print_reach(out, invitation.addresses, None, obstacle)
            })?;
        }
        DeviceCommand::Remove(arguments) => {
            let request = Request::new(Method::DELETE, &["v1", "devices", &arguments.device]);
            let answer = client.ask::<MembershipChange>(request).await?;
            out.answer(&answer, |out, change| out.line(&change.note))?;
        }
        DeviceCommand::Request => {
            let of_device = client.clone().of_workspace(None);
            let answer = of_device.ask::<DeviceIdentity>(Request::get(&["v1", "device"])).await?;
            out.answer(&answer, print_identity)?;
        }
    }
    Ok(Exit::Done)
}

fn print_identity(out: &mut Output, identity: &DeviceIdentity) -> io::Result<()> {
    let mut table = Table::plain();
    table.pair("device", Cell::toned(Tone::Bold, identity.device.as_str()));
    table.pair("user", identity.user.as_str());
    out.table(&table)?;
    out.line(format_args!("\nOn the device that you have, run: nodespace device add {}", identity.device))?;
    out.line("It shows a ticket; here, run: nodespace join TICKET")
}

fn print_list(out: &mut Output, list: &DeviceList) -> io::Result<()> {
    if list.devices.is_empty() {
        return out.line("no devices yet: the workspace is being joined");
    }
    let devices = out.style.ids(list.devices.iter().map(|entry| entry.device.as_str()));
    let users = out.style.ids(list.devices.iter().map(|entry| entry.user.as_str()));
    let mut table = Table::new(["device", "user", "role", ""]);
    for entry in &list.devices {
        let note = match (entry.this, entry.own) {
            (true, _) => "this device",
            (false, true) => "yours",
            (false, false) => "",
        };
        table.row([
            Cell::toned(Tone::Bold, devices.short(&entry.device)),
            users.short(&entry.user).into(),
            entry.role.as_str().into(),
            Cell::toned(Tone::Dim, note),
        ]);
    }
    out.table(&table)
}
