//! What a command works with: the home, the configuration, the output, and a device when it asks for one.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nodespace_node::config::Loaded;
use nodespace_node::logging;
use tokio::runtime::{Builder, Runtime};

use super::Common;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::session::{Need, Session};

/// The environment variable that names the home folder.
pub(crate) const HOME_VARIABLE: &str = "NODESPACE_HOME";

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    common: Common,
    /// Where the answer goes.
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(common: Common) -> Self {
        let out = Output::new(common.json);
        Self { common, out }
    }

    /// The home folder, made absolute so that messages and files name it fully.
    pub(crate) fn home(&self) -> anyhow::Result<PathBuf> {
        let variable = || std::env::var_os(HOME_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let platform = || directories::ProjectDirs::from("", "", "nodespace").map(|folders| folders.data_dir().to_path_buf());
        let home = self.common.home.clone().or_else(variable).or_else(platform);
        let home = home.ok_or_else(|| Failure::usage(format!("this system names no folder for data; give --home or {HOME_VARIABLE}")))?;
        std::path::absolute(&home).with_context(|| format!("cannot find {}", home.display()))
    }

    /// The workspace that was named.
    pub(crate) const fn workspace(&self) -> Option<&String> {
        self.common.workspace.as_ref()
    }

    /// The configuration of the home folder.
    pub(crate) fn load(&self, home: &Path) -> anyhow::Result<Loaded> {
        // What is not Unicode names none of our settings; their values are checked one by one.
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Loaded::read(home, self.common.config.as_deref(), environment)?)
    }

    /// The threads that requests run on.
    pub(crate) fn start(&self) -> anyhow::Result<Runtime> {
        Builder::new_multi_thread().enable_all().build().context("cannot start threads")
    }

    /// Finds or opens a device, works with it, and closes what was opened.
    pub(crate) async fn with_session(
        &mut self,
        need: Need,
        work: impl AsyncFnOnce(&Session, &mut Output) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        let home = self.home()?;
        let loaded = self.load(&home)?;
        logging::start_command(&loaded.config.log)?;
        let session = Session::open(&home, loaded.config, need, self.common.workspace.clone()).await?;
        let result = work(&session, &mut self.out).await;
        // The answer is out before the store is closed, which may take a checkpoint.
        let flushed = self.out.flush();
        let closed = session.close().await;
        let exit = result?;
        flushed?;
        closed?;
        Ok(exit)
    }
}
