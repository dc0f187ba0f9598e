//! The command line: what can be said, and how failures are told. Each command has its own file.
//!
//! Commands speak the local API and nothing else: to the daemon when one runs, else to the same router in this process, over a store that
//! was opened under its lock. What `--json` prints is what the API answered.

mod backup;
mod batch;
mod changes;
mod completions;
mod config;
mod conflicts;
pub(crate) mod context;
mod devices;
mod doctor;
mod duration;
mod embed;
pub(crate) mod exit;
mod export;
mod ids;
mod import;
mod init;
mod invite;
mod join;
mod members;
mod network;
mod node;
mod notify;
mod outline;
mod output;
mod peers;
mod place;
mod progress;
mod qr;
mod reference;
mod relay;
mod run;
mod search;
mod session;
mod source;
mod status;
mod style;
mod sync;
mod table;
mod value;
mod workspace;

use std::io::{self, Write as _};
use std::path::PathBuf;

use context::Context;
use exit::Exit;
use session::Need;

/// NodeSpace on your own machine: notes that stay yours and agree with everybody you share them with.
#[derive(Debug, clap::Parser)]
#[command(name = "nodespace", version)]
pub(crate) struct Arguments {
    /// What every command understands.
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Common {
    /// The home folder; else NODESPACE_HOME, else the platform's folder for data.
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Options of every command")]
    pub(crate) home: Option<PathBuf>,
    /// The configuration file; else config.toml in the home folder, if there is one.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Options of every command")]
    pub(crate) config: Option<PathBuf>,
    /// The workspace, or at least eight digits of its id; else the home's default one.
    #[arg(long, global = true, value_name = "ID", help_heading = "Options of every command")]
    pub(crate) workspace: Option<String>,
    /// Print JSON: exactly what the local API answers.
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a home: keys, a device, and a workspace of your own.
    Init(init::InitArguments),
    /// Run the device in the foreground and serve its local API until SIGINT or SIGTERM.
    Run(run::RunArguments),
    /// Show how the device is doing.
    Status(status::StatusArguments),
    /// Make, list, rename and choose workspaces.
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// Invite somebody: show a ticket as text and as a QR code.
    Invite(invite::InviteArguments),
    /// Join a workspace by a ticket; makes a home first when there is none.
    Join(join::JoinArguments),
    /// List the members of the workspace.
    Members,
    /// Add and remove members, and change what they may do.
    #[command(subcommand)]
    Member(members::MemberCommand),
    /// List the devices of all members.
    Devices,
    /// Add your next device, remove one, or ask to be added.
    #[command(subcommand)]
    Device(devices::DeviceCommand),
    /// Show the network: who is connected, and who was turned away.
    Peers(peers::PeersArguments),
    /// Choose, show and check the relays of the workspace.
    #[command(subcommand)]
    Relay(relay::RelayCommand),
    /// See how this device agrees with others, and sync now.
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Make, read, change, move and delete nodes.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Attach an embedding to a node.
    Embed(embed::EmbedArguments),
    /// Do many writes from a file, with an outcome for each.
    Batch(batch::BatchArguments),
    /// Search by words, by a vector, or by both.
    Search(search::SearchArguments),
    /// Show what changed, or follow it.
    Changes(changes::ChangesArguments),
    /// List, show and resolve conflicts.
    #[command(subcommand)]
    Conflicts(conflicts::ConflictsCommand),
    /// Bring Markdown files and folders in; again, and only what changed is written.
    Import(import::ImportArguments),
    /// Write everything, or the part below a node, as Markdown files or JSON Lines.
    Export(export::ExportArguments),
    /// Write a backup of the workspace, without this device's keys.
    Backup(backup::BackupArguments),
    /// Make a home from a backup.
    Restore(backup::RestoreArguments),
    /// Check everything that is stored, and say what to do about what is wrong.
    Doctor(doctor::DoctorArguments),
    /// Make the LanceDB table anew.
    Rebuild(doctor::RebuildArguments),
    /// Check and show the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell.
    Completions(completions::CompletionsArguments),
    /// Show the tree that importing a Markdown file or folder would make, and write nothing.
    Outline(outline::OutlineArguments),
    /// Print the reference page docs/CLI.md.
    #[command(hide = true)]
    CliDocs,
}

/// Does what was asked.
pub(crate) fn run(command: Command, context: &mut Context) -> anyhow::Result<Exit> {
    match command {
        Command::Outline(arguments) => outline::run(&arguments, &mut context.out),
        Command::Completions(arguments) => completions::run(&arguments, &mut context.out),
        Command::CliDocs => reference::run(&mut context.out),
        Command::Config(command) => config::run(&command, context),
        Command::Init(arguments) => init::run(&arguments, context),
        Command::Run(arguments) => run::run(&arguments, context),
        Command::Restore(arguments) => backup::restore(&arguments, context),
        Command::Join(mut arguments) => {
            join::prepare(&mut arguments, context)?;
            context.start()?.block_on(with_device(Command::Join(arguments), context))
        }
        Command::Device(devices::DeviceCommand::Request) => {
            init::ensure_home(context)?;
            context.start()?.block_on(with_device(Command::Device(devices::DeviceCommand::Request), context))
        }
        command => context.start()?.block_on(with_device(command, context)),
    }
}

/// Does what needs a device.
async fn with_device(command: Command, context: &mut Context) -> anyhow::Result<Exit> {
    let need = need(&command);
    let workspace = context.workspace().cloned();
    context
        .with_session(need, async |session, out| match &command {
            Command::Status(arguments) => status::run(arguments, session, out).await,
            Command::Workspace(command) => workspace::run(command, &session.client, out).await,
            Command::Invite(arguments) => invite::run(arguments, &session.client, out).await,
            Command::Join(arguments) => join::run(arguments, &session.client, out).await,
            Command::Members => members::list(&session.client, out).await,
            Command::Member(command) => members::run(command, &session.client, out).await,
            Command::Devices => devices::list(&session.client, out).await,
            Command::Device(command) => devices::run(command, workspace.as_ref(), &session.client, out).await,
            Command::Peers(arguments) => peers::run(arguments, &session.client, out).await,
            Command::Relay(command) => relay::run(command, &session.client, out).await,
            Command::Sync(command) => sync::run(command, session, out).await,
            Command::Node(command) => node::run(command, &session.client, out).await,
            Command::Embed(arguments) => embed::run(arguments, &session.client, out).await,
            Command::Batch(arguments) => batch::run(arguments, &session.client, out).await,
            Command::Search(arguments) => search::run(arguments, session, out).await,
            Command::Changes(arguments) => changes::run(arguments, session, out).await,
            Command::Conflicts(command) => conflicts::run(command, &session.client, out).await,
            Command::Import(arguments) => import::run(arguments, &session.client, out).await,
            Command::Export(arguments) => export::run(arguments, &session.client, out).await,
            Command::Backup(arguments) => backup::run(arguments, &session.client, out).await,
            Command::Doctor(arguments) => doctor::run(arguments, &session.client, out).await,
            Command::Rebuild(arguments) => doctor::rebuild(arguments, &session.client, out).await,
            // These need no device, and were done before.
            Command::Outline(_)
            | Command::Completions(_)
            | Command::CliDocs
            | Command::Config(_)
            | Command::Init(_)
            | Command::Run(_)
            | Command::Restore(_) => Ok(Exit::Done),
        })
        .await
}

/// What of a device a command needs when no daemon runs. Opening the LanceDB table takes longer than most commands, so only those that
/// write much bring it up to date; a search does so by itself, and all else waits for one of these or the daemon.
const fn need(command: &Command) -> Need {
    match command {
        Command::Import(_) | Command::Batch(_) => Need::Projection,
        Command::Join(_) | Command::Sync(sync::SyncCommand::Now(_)) => Need::Network,
        _ => Need::Store,
    }
}

/// Whether a command only failed because nobody reads its output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Tells a failure and its causes on standard error.
pub(crate) fn report(error: &anyhow::Error) {
    // When even standard error is closed, the exit code is all that can be told.
    writeln!(io::stderr(), "nodespace: {}", told(error)).ok();
}

/// A failure and its causes; what one already said of the next is not said twice.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        told if told.contains(&cause) => told.to_owned(),
        told => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn verify_cli() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("no space").context("journal: no space").context("cannot write");
        assert_eq!(super::told(&error), "cannot write: journal: no space");
    }
}
