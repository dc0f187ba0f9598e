//! `nodespace-relay serve`: runs the relay.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

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
    // Before anything else: whoever reads the greeting may ask the relay to stop at once, and is to have it end in order.
    let mut signals = Signals::listen();
    let relay = tokio::select! {
        relay = start(arguments, config) => relay?,
        // Nothing is served yet.
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let stop = relay.stopper();
    tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
    });
    let mut greeting = format!("relay    {}\nid       {}\n", relay.url(), relay.app().parts().key.id());
    if let Some(address) = relay.operator_address() {
        writeln!(greeting, "metrics  http://{address}/metrics")?;
    }
    // Whoever started it may have read the first line and gone: that is no reason to stop.
    out.write_all(greeting.as_bytes()).and_then(|()| out.flush()).ok();
    relay.serve().await;
    Ok(ExitCode::SUCCESS)
}

async fn start(arguments: &ServeArguments, config: Config) -> anyhow::Result<Relay> {
    if arguments.migrate {
        Database::migrate(&config.database).await?;
    }
    Ok(Relay::start(config).await?)
}

/// The signals that stop the relay. One that cannot be listened to leaves the process to be ended the hard way, which loses nothing.
#[derive(Debug)]
struct Signals {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Begins to listen; from here on they end nothing by themselves.
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind, name: &str| {
            signal(kind).inspect_err(|error| tracing::warn!(%error, signal = name, "cannot be listened to: it ends the relay at once")).ok()
        };
        Self { terminate: listen(SignalKind::terminate(), "SIGTERM"), interrupt: listen(SignalKind::interrupt(), "SIGINT") }
    }

    /// Waits for the next one; for ever when none is listened to.
    async fn next(&mut self) {
        tokio::select! {
            Some(()) = received(&mut self.terminate) => {}
            Some(()) = received(&mut self.interrupt) => {}
            else => std::future::pending::<()>().await,
        }
    }
}

/// The next of a signal; nothing when it is not listened to.
#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self {}
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be listened to: it ends the relay at once");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn signals_that_cannot_be_listened_to_stop_nothing() {
        let mut deaf = Signals { terminate: None, interrupt: None };
        assert!(deaf.next().now_or_never().is_none());
        let mut hearing = Signals { interrupt: None, ..Signals::listen() };
        assert!(hearing.terminate.is_some() && hearing.next().now_or_never().is_none());
    }
}
