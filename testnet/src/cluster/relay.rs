//! The relay's side of a cluster: PostgreSQL, Redis, one or more instances of `nodespace-relay`, and the proxy before them which devices
//! know. All of it is ended when it is dropped, each process by its own number.
//!
//! Scenarios break each part ([`RelayAction`](super::scenario::RelayAction)); [`RelaySide::heal`] puts everything in order again.
//! Operations are stored by PostgreSQL as in earnest, with every commit on disk.

mod instance;
mod liar;
mod proxy;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nodespace_protocol::ids::DeviceId;
use nodespace_servers::{Place, Postgres, Redis};
use serde::Deserialize;

pub use self::instance::Instance;
pub use self::liar::{Lie, LieKind};
pub use self::proxy::Proxy;
use super::api::Api;
use super::device::{Launcher, Settings};

/// What a relay's side is made of.
#[derive(Clone, Debug)]
pub struct RelayPlan {
    /// The relay's program.
    pub program: PathBuf,
    /// How many of it.
    pub instances: usize,
    /// Settings that differ from its own, as its configuration names them.
    pub settings: Settings,
}

/// A relay with everything it needs.
#[derive(Debug)]
pub struct RelaySide {
    proxy: Proxy,
    instances: Vec<Instance>,
    redis: Redis,
    postgres: Postgres,
}

/// What a relay says of itself, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Info {
    epoch: u64,
}

impl RelaySide {
    /// Makes and starts it all. Logs, and the folder of the relay's key, go below `folder`.
    ///
    /// # Errors
    /// When PostgreSQL or Redis is missing, or something does not start.
    pub async fn start(plan: &RelayPlan, folder: &Path) -> Result<Self> {
        ensure!(plan.instances > 0, "a relay has at least one instance");
        let place = Place::temporary()?.with_logs(folder);
        let postgres = Postgres::create(&place).await.context("no PostgreSQL for the relay")?;
        let redis = Redis::create(&place).await.context("no Redis for the relay")?;
        let proxy = Proxy::open(plan.instances).await?;
        let mut settings = settings(folder, &postgres);
        settings.insert("redis.url".into(), redis.url());
        settings.extend(plan.settings.clone());
        let instance = |number| {
            let name = format!("relay{number}");
            let log = folder.join(format!("{name}.log"));
            Instance::new(&name, &log, Launcher::plain(plan.program.clone()), settings.clone())
        };
        let mut side = Self { proxy, instances: (0..plan.instances).map(instance).collect(), redis, postgres };
        for number in 0..plan.instances {
            side.start_instance(number).await?;
        }
        Ok(side)
    }

    /// The URL that devices are given.
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Which incarnation of its log the relay says this is.
    ///
    /// # Errors
    /// When no instance answers.
    pub async fn epoch(&self) -> Result<u64> {
        let info: Info = Api::new(self.proxy.address(), String::new()).get("/v1/relay").await.context("the relay does not answer")?;
        Ok(info.epoch)
    }

    /// How many of its answers were lies.
    pub fn lies(&self) -> u64 {
        self.proxy.lies()
    }

    /// Lies to these devices from now on.
    pub fn lie(&self, kind: LieKind, victims: BTreeSet<DeviceId>) {
        self.proxy.lie(Some(Lie { kind, victims }));
    }

    /// Does not lie any more.
    pub fn be_honest(&self) {
        self.proxy.lie(None);
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_instance(&mut self, number: usize) -> Result<()> {
        let address = self.instances[number].start().await?;
        self.proxy.set_backend(number, Some(address));
        Ok(())
    }

    /// Kills an instance.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_instance(&mut self, number: usize) -> Result<()> {
        // Its port may be another's in a moment.
        self.proxy.set_backend(number, None);
        self.instances[number].kill()
    }

    /// Stops an instance in order.
    ///
    /// # Errors
    /// When it does not stop as it should.
    pub async fn stop_instance(&mut self, number: usize) -> Result<()> {
        self.proxy.set_backend(number, None);
        self.instances[number].stop().await
    }

    /// Its database.
    pub const fn postgres(&mut self) -> &mut Postgres {
        &mut self.postgres
    }

    /// Its Redis.
    pub const fn redis(&mut self) -> &mut Redis {
        &mut self.redis
    }

    /// Puts the backup in place of the database, as the documentation says: nobody is at it meanwhile.
    ///
    /// # Errors
    /// When there is no backup, or something does not do what it should.
    pub async fn restore(&mut self) -> Result<()> {
        let stopped = self.stop_running().await?;
        self.postgres.restore().await?;
        self.start_instances(stopped).await
    }

    /// The database is gone, and there is no backup that is younger than the workspace: an empty one takes its place.
    ///
    /// # Errors
    /// When something does not do what it should.
    pub async fn lose(&mut self) -> Result<()> {
        let stopped = self.stop_running().await?;
        self.postgres.lose().await?;
        self.start_instances(stopped).await
    }

    /// Stops the instances that run; answers which.
    async fn stop_running(&mut self) -> Result<Vec<usize>> {
        let running: Vec<usize> = (0..self.instances.len()).filter(|number| self.instances[*number].is_running()).collect();
        for number in &running {
            self.stop_instance(*number).await?;
        }
        Ok(running)
    }

    async fn start_instances(&mut self, numbers: Vec<usize>) -> Result<()> {
        for number in numbers {
            self.start_instance(number).await?;
        }
        Ok(())
    }

    /// Starts whatever does not run, and lies no more.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn heal(&mut self) -> Result<()> {
        self.be_honest();
        if !self.postgres.is_running() {
            self.postgres.start().await?;
        }
        if !self.redis.is_running() {
            self.redis.start().await?;
        }
        for number in 0..self.instances.len() {
            if !self.instances[number].is_running() {
                self.start_instance(number).await?;
            }
        }
        Ok(())
    }

    /// Ends with an error when something that should run has ended by itself.
    ///
    /// # Errors
    /// When it has, with the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        self.postgres.check_alive()?;
        self.instances.iter_mut().try_for_each(Instance::check_alive)
    }
}

/// Settings of every relay of ours. All devices come from one address here, the proxy's, so what is allowed to one address is no measure.
pub fn settings(folder: &Path, postgres: &Postgres) -> Settings {
    let many = || "{ per_second = 1000000.0, burst = 1000000 }".to_owned();
    let settings = [
        ("server.address", "127.0.0.1:0".to_owned()),
        ("server.data", folder.join("relay").display().to_string()),
        ("database.url", postgres.url()),
        ("server.connections_per_address", "0".to_owned()),
        ("limits.address_requests", many()),
        ("limits.address_challenges", many()),
    ];
    settings.map(|(key, value)| (key.to_owned(), value)).into()
}
