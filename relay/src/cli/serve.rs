//! `nodespace-relay serve`: runs the relay.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use nodespace_relay::config::Config;
use nodespace_relay::logging;
use nodespace_relay::relay::Relay;
use nodespace_relay::store::Database;

/// Arguments of `nodespace-relay serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArguments {
    /// Apply missing migrations first.
    #[arg(long)]
    migrate: bool,
}

/// Serves until it is told to stop.
pub(crate) fn run(arguments: &ServeArguments, config: Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    logging::start(&config.log)?;
    super::runtime()?.block_on(serve(arguments, config, out))
}

async fn serve(arguments: &ServeArguments, config: Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if arguments.migrate {
        Database::migrate(&config.database).await?;
    }
    let relay = Relay::start(config).await?;
    let mut greeting = format!("relay    {}\nid       {}\n", relay.url(), relay.app().parts().key.id());
    if let Some(address) = relay.operator_address() {
        writeln!(greeting, "metrics  http://{address}/metrics")?;
    }
    // Whoever started it may have read the first line and gone: that is no reason to stop.
    out.write_all(greeting.as_bytes()).and_then(|()| out.flush()).ok();
    let stop = relay.stopper();
    tokio::spawn(async move {
        // A signal that cannot be listened to leaves the process to be ended the hard way, which loses nothing.
        wait_for_signal().await.ok();
        stop.cancel();
    });
    relay.serve().await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(unix)]
async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn wait_for_signal() -> anyhow::Result<()> {
    tokio::signal::ctrl_c().await.context("cannot listen for Ctrl-C")
}
