//! `nodespace run`: the daemon, in the foreground.
//!
//! It says that it is ready when the API answers, to people by the log and to systemd by `sd_notify`. The first SIGINT or SIGTERM stops it
//! in order: requests under way end, the LanceDB table and the store take a checkpoint, the lock is given back. The second one ends it at
//! once, which costs the next start a replay and nothing else.

use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use nodespace_node::api::{self, Token};
use nodespace_node::client;
use nodespace_node::config::Config;
use nodespace_node::engine::Device;
use nodespace_node::logging;

use super::context::Context;
use super::exit::{Exit, Failure};
use super::session::{api_options, options};
use super::{network, notify};

/// Arguments of `nodespace run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArguments {
    /// The API's port; else `api.port` of the configuration.
    #[arg(long)]
    port: Option<u16>,
}

/// Runs the device until it is told to stop.
pub(crate) fn run(arguments: &RunArguments, context: &mut Context) -> anyhow::Result<Exit> {
    let home = context.home()?;
    let mut config = context.load(&home)?.config;
    config.api.port = arguments.port.unwrap_or(config.api.port);
    logging::start_daemon(&config.log, &home)?;
    context.start()?.block_on(async {
        // Before anything is opened: a signal that comes early is not lost.
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        if let Some(daemon) = client::find(&home).await? {
            let message = format!("a daemon runs already: process {} at http://{}", daemon.pid, daemon.address);
            return Err(Failure::with(Exit::Unavailable, message));
        }
        let device = Device::open(options(&home, &config)).await?;
        let served = serve(&device, &config, &mut signals).await;
        notify::tell(notify::STOPPING);
        let closed = tokio::select! {
            closed = device.close() => closed,
            () = signals.next() => return Err(Failure::with(Exit::Failed, "stopped at once; the next start replays the journal")),
        };
        served?;
        closed?;
        tracing::info!("stopped");
        Ok(Exit::Done)
    })
}

async fn serve(device: &Device, config: &Config, signals: &mut Signals) -> anyhow::Result<()> {
    let options = api_options(config, Token::open(device.home())?);
    let listener = api::bind(SocketAddr::new(config.api.address, config.api.port), &options).await?;
    let address = listener.local_addr()?;
    device.start().await;
    network::start(device, config)?;
    let stop = async {
        tracing::info!(%address, home = %device.home().display(), "ready");
        notify::tell(notify::READY);
        signals.next().await;
        tracing::info!("stopping; another signal ends at once");
    };
    Ok(api::serve(device.clone(), options, listener, stop).await?)
}

/// The signals that stop the daemon.
#[derive(Debug)]
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        // Where one cannot listen, the process is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
