//! `nodespace-relay admin`: what whoever runs a relay does now and then.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_relay::config::Config;
use nodespace_relay::hex::unhex_array;
use nodespace_relay::key::RelayKey;
use nodespace_relay::relay::{KEY_FILE, MARKER_FILE};
use nodespace_relay::store::{Database, EpochKeeper, WorkspaceRow};

/// Arguments of `nodespace-relay admin`.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArguments {
    #[command(subcommand)]
    what: Admin,
}

#[derive(Debug, clap::Subcommand)]
enum Admin {
    /// List workspaces, those that changed last first.
    Workspaces {
        /// How many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print one JSON document instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Delete a workspace: its operations, nodes, members. Devices keep what they hold, and may bring it again.
    Delete {
        /// The workspace's id.
        workspace: String,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
    /// Start a new epoch, after a backup was restored that is less than a few seconds old: devices start again from 0.
    NewEpoch,
    /// Print the relay's id, which devices know it by.
    Id,
}

/// Does it.
pub(crate) fn run(arguments: &AdminArguments, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        match &arguments.what {
            Admin::Workspaces { limit, json } => workspaces(config, *limit, *json, out).await,
            Admin::Delete { workspace, yes } => delete(config, workspace, *yes, out).await,
            Admin::NewEpoch => new_epoch(config, out).await,
            Admin::Id => {
                writeln!(out, "{}", key(config)?.id())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// The relay's key, which is there already: a new one would be another relay's.
fn key(config: &Config) -> anyhow::Result<RelayKey> {
    Ok(RelayKey::load(&config.server.data.join(KEY_FILE))?)
}

/// The database, opened as the service opens it: one that was set back gets its new epoch here already.
async fn open(config: &Config) -> anyhow::Result<Database> {
    let key = key(config)?;
    let keeper = Arc::new(EpochKeeper::open(Some(config.server.data.join(MARKER_FILE)), None)?);
    let database = Database::open(&config.database, keeper)?;
    database.claim(&config.database, key.id()).await?;
    Ok(database)
}

async fn workspaces(config: &Config, limit: u32, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let listed = WorkspaceRow::list(open(config).await?.read(), limit).await?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &listed).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{:<64}  {:>10}  {:>12}  {:>12}  {:>5}", "workspace", "operations", "bytes", "attachments", "users")?;
    for found in listed {
        let (id, version) = (found.id, found.version);
        writeln!(out, "{id}  {version:>10}  {:>12}  {:>12}  {:>5}", found.bytes, found.attachment_bytes, found.users)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(config: &Config, workspace: &str, yes: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let id = unhex_array(workspace).map(WorkspaceId).context("a workspace id is 64 hexadecimal digits")?;
    anyhow::ensure!(yes, "this deletes the relay's copy of workspace {id}; say --yes to do it");
    if WorkspaceRow::delete(open(config).await?.write(), &id).await? {
        writeln!(out, "deleted; its attachments are left in object storage under embeddings/{id}")?;
        writeln!(out, "a new epoch has begun: devices compare once what they hold, and may bring the workspace again")?;
        Ok(ExitCode::SUCCESS)
    } else {
        writeln!(out, "this relay does not hold the workspace")?;
        Ok(ExitCode::from(super::EXIT_REFUSED))
    }
}

async fn new_epoch(config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let database = open(config).await?;
    let epoch = database.epoch().renew(database.write()).await?;
    writeln!(out, "epoch {epoch} has begun; running instances take it over within two seconds")?;
    Ok(ExitCode::SUCCESS)
}
