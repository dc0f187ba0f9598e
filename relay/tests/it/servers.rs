//! PostgreSQL and Redis for tests: real ones, started when the first test needs them.
//!
//! All tests of a run share one pair, each with a database of its own; a runner that gives every test a process of its own too. Whoever uses the
//! pair holds a shared lock on a file beside it; a supervisor that started it stops it and removes its folder when nobody has held that
//! lock for some seconds. Tests that break servers start their own ([`Postgres::start`], [`RedisServer::start`]) and stop them when they
//! end.
//!
//! `NODESPACE_TEST_POSTGRES_URL` and `NODESPACE_TEST_REDIS_URL` name running servers to be used instead of the shared pair.
#![allow(dead_code, reason = "tests and benchmarks each use a part")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nodespace_relay::config::{DatabaseConfig, Secret};
use nodespace_relay::store::{Database, MIGRATIONS};

/// How long a server may take to answer.
const START_WAIT: Duration = Duration::from_secs(60);

/// Whom servers run as when we are root, whom PostgreSQL refuses.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

fn unprivileged() -> Option<User> {
    if fs::metadata("/proc/self").map_or(1, |own| own.uid()) != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("an unprivileged user to run PostgreSQL as"))
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(user) = unprivileged() {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Where PostgreSQL's programs are: Debian keeps them outside of PATH.
pub(crate) fn postgres_programs() -> PathBuf {
    let in_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let debian = (15..=30).rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    debian.chain(in_path).find(|folder| folder.join("initdb").exists()).expect("PostgreSQL's server programs; run scripts/setup.sh")
}

/// A folder that servers may write to.
fn folder(name: &str) -> PathBuf {
    // Not below the target folder: a socket's path has to be short.
    let mut random = [0; 6];
    getrandom::fill(&mut random).unwrap();
    let folder = std::env::temp_dir().join(format!("nodespace-{name}-{}", nodespace_protocol::ids::hex(&random)));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    if let Some(user) = unprivileged() {
        std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid)).unwrap();
    }
    folder
}

/// Tries until something is there. Waiting is bounded, and between tries the thread yields.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(started.elapsed() < START_WAIT, "{what} did not happen within {START_WAIT:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A PostgreSQL of one's own. It ends with this value.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) folder: PathBuf,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub(crate) fn start() -> Self {
        let mut server = Self { folder: folder("pg"), child: None };
        initdb(&server.folder.join("data"));
        server.run();
        server
    }

    /// Starts what was stopped.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let folder = self.folder.clone();
        let spawn = || {
            let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
            command(postgres_programs().join("postgres")).args(postgres_arguments(&folder)).stderr(log).spawn().unwrap()
        };
        let mut child = spawn();
        until("PostgreSQL's first answer", || {
            // After a crash the server's children have to be gone first: one that comes too early ends at once.
            if child.try_wait().unwrap().is_some() {
                child = spawn();
            }
            is_postgres_ready(&folder).then_some(())
        });
        self.child = Some(child);
    }

    /// Ends it: at once, as a crash would (`KILL`), or in order (`INT`, which cuts off clients).
    pub(crate) fn stop(&mut self, signal: &str) {
        let mut child = self.child.take().expect("it runs");
        signal_process(child.id(), signal);
        child.wait().unwrap();
    }

    /// Starts what was stopped as a standby, and promotes it: nothing is lost, and it writes on another timeline. What would note that in its
    /// control file, with the next checkpoint, stands still until [`Self::thaw`].
    pub(crate) async fn run_promoted(&mut self) {
        let signal = self.folder.join("data/standby.signal");
        assert!(command("touch").arg(signal).status().unwrap().success());
        self.run();
        let checkpointer = until("the checkpointer's start", || self.checkpointer());
        signal_process(checkpointer, "STOP");
        run_sql(&self.url("postgres"), "SELECT pg_promote()".to_owned()).await;
    }

    fn checkpointer(&self) -> Option<u32> {
        let named = |child: &u32| fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.contains("checkpointer"));
        children_of(self.child.as_ref().expect("it runs").id()).into_iter().find(named)
    }

    /// Stops all its processes where they are, as a machine that hangs would: connections stay, and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, signal: &str) {
        let postmaster = self.child.as_ref().expect("it runs").id();
        signal_process(postmaster, signal);
        for child in children_of(postmaster) {
            // One that has just ended needs none.
            Command::new("kill").arg(format!("-{signal}")).arg(child.to_string()).stderr(Stdio::null()).status().unwrap();
        }
    }

    /// The URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        socket_url(&self.folder, database)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A test that failed may have left it frozen.
            self.thaw();
            self.stop("INT");
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// The processes that a process has started.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent_of = |pid: u32| {
        // After the name, which is in parentheses and may be anything: the state, then the parent.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    processes.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

pub(crate) fn signal_process(pid: u32, signal: &str) {
    assert!(Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap().success());
}

fn socket_url(folder: &Path, database: &str) -> String {
    format!("postgres://relay@localhost:5432/{database}?host={}", folder.display())
}

fn initdb(data: &Path) {
    let mut initdb = command(postgres_programs().join("initdb"));
    initdb.args(["--username=relay", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions", "-D"]).arg(data);
    let output = initdb.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

fn postgres_arguments(folder: &Path) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), folder.join("data").display().to_string(), "-k".into(), folder.display().to_string()];
    // Its own memory is what a test machine can spare; durability is as in earnest.
    for setting in ["listen_addresses=", "port=5432", "max_connections=200", "shared_buffers=64MB", "logging_collector=off"] {
        arguments.extend(["-c".into(), setting.into()]);
    }
    arguments
}

fn is_postgres_ready(folder: &Path) -> bool {
    let mut ready = command(postgres_programs().join("pg_isready"));
    ready.args(["-q", "-U", "relay", "-p", "5432", "-h"]).arg(folder).status().unwrap().success()
}

fn await_postgres(folder: &Path) {
    until("PostgreSQL's first answer", || is_postgres_ready(folder).then_some(()));
}

/// A Redis of one's own, on a socket. It ends with this value.
#[derive(Debug)]
pub(crate) struct RedisServer {
    pub(crate) folder: PathBuf,
    child: Option<Child>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        let mut server = Self { folder: folder("redis"), child: None };
        server.run();
        server
    }

    pub(crate) fn run(&mut self) {
        let mut server = command("redis-server");
        self.child = Some(server.args(redis_arguments(&self.folder)).spawn().expect("redis-server; run scripts/setup.sh"));
        await_redis(&self.folder);
    }

    /// Kills it: what it held is gone.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Forgets everything, as an operator's slip would.
    pub(crate) fn flush(&self) {
        let socket = self.folder.join("redis.sock");
        assert!(command("redis-cli").arg("-s").arg(socket).arg("FLUSHALL").status().unwrap().success());
    }

    pub(crate) fn url(&self) -> String {
        redis_url(&self.folder)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn redis_url(folder: &Path) -> String {
    format!("redis+unix://{}", folder.join("redis.sock").display())
}

fn redis_arguments(folder: &Path) -> Vec<String> {
    let (socket, folder) = (folder.join("redis.sock").display().to_string(), folder.display().to_string());
    ["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", &socket, "--dir", &folder].map(str::to_owned).to_vec()
}

fn await_redis(folder: &Path) {
    until("Redis' first answer", || {
        let mut ping = command("redis-cli");
        let answer = ping.arg("-s").arg(folder.join("redis.sock")).arg("PING").stdout(Stdio::piped()).output().unwrap();
        answer.stdout.starts_with(b"PONG").then_some(())
    });
}

/// The shared pair.
#[derive(Debug)]
pub(crate) struct Shared {
    postgres: String,
    redis: String,
    /// Held for as long as this process uses the pair.
    _use: Option<File>,
}

impl Shared {
    /// The pair, started if it is not there.
    pub(crate) fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let named = |variable: &str| std::env::var(variable).ok().filter(|url| !url.is_empty());
            match (named("NODESPACE_TEST_POSTGRES_URL"), named("NODESPACE_TEST_REDIS_URL")) {
                (Some(postgres), Some(redis)) => {
                    make_template(&postgres);
                    Self { postgres, redis, _use: None }
                }
                _ => Self::join_or_start(),
            }
        })
    }

    fn join_or_start() -> Self {
        let place = std::env::temp_dir().join(format!("nodespace-test-servers-{}", own_uid()));
        fs::create_dir_all(&place).unwrap();
        let open = |name: &str| OpenOptions::new().create(true).truncate(false).write(true).open(place.join(name)).unwrap();
        let (using, starting) = (open("use.lock"), open("start.lock"));
        using.lock_shared().unwrap();
        // One at a time looks whether it has to start them.
        starting.lock().unwrap();
        let ready = place.join("ready");
        let folder = match fs::read_to_string(&ready) {
            Ok(folder) if Path::new(&folder).exists() => PathBuf::from(folder),
            _ => start_shared(&place),
        };
        await_postgres(&folder);
        await_redis(&folder);
        let postgres = socket_url(&folder, "postgres");
        make_template(&postgres);
        starting.unlock().unwrap();
        Self { postgres, redis: redis_url(&folder), _use: Some(using) }
    }

    /// A new database, with the relay's tables in it. It is left to the cluster's end.
    pub(crate) async fn database(&self) -> String {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("test_{}", nodespace_protocol::ids::hex(&random));
        create_database(&self.postgres, &format!("{name} TEMPLATE {}", template_name())).await;
        replace_database(&self.postgres, &name)
    }

    /// A copy of a database, as a dump restored elsewhere would be. The relay on it is stopped first, its data folder kept.
    pub(crate) async fn copy_of(&self, url: &str, relay: crate::world::TestRelay) -> (String, Option<tempfile::TempDir>) {
        let folder = relay.stop_keeping_data().await;
        let from = url.split('?').next().and_then(|server| server.rsplit('/').next()).unwrap();
        let name = format!("{from}_moved");
        create_database(&self.postgres, &format!("{name} TEMPLATE {from}")).await;
        (replace_database(&self.postgres, &name), folder)
    }

    pub(crate) fn redis(&self) -> &str {
        &self.redis
    }
}

/// The same server's URL for another database.
fn replace_database(url: &str, name: &str) -> String {
    let (server, query) = url.split_once('?').unwrap_or((url, ""));
    let server = server.rsplit_once('/').map_or(server, |(server, _)| server);
    format!("{server}/{name}?{query}")
}

/// The name of a database with the present migrations in it, which tests' databases are copies of.
fn template_name() -> String {
    let mut hasher = blake3::Hasher::new();
    MIGRATIONS.iter().for_each(|migration| {
        hasher.update(&migration.checksum);
    });
    format!("relay_{}", nodespace_protocol::ids::hex(&hasher.finalize().as_bytes()[..6]))
}

/// Makes it, unless it is there. In a thread of its own: the caller may be in a runtime already.
fn make_template(server: &str) {
    let server = server.to_owned();
    let make = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::Connection as _;
            let name = template_name();
            let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
            let exists = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)";
            let exists: bool = sqlx::query_scalar(exists).bind(&name).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            if exists {
                return;
            }
            create_database(&server, "making_template").await;
            let url = replace_database(&server, "making_template");
            Database::migrate(&DatabaseConfig { url: Secret::new(url), ..DatabaseConfig::default() }).await.unwrap();
            run_sql(&server, format!("ALTER DATABASE making_template RENAME TO {name}")).await;
        });
    };
    std::thread::spawn(make).join().unwrap();
}

pub(crate) async fn run_sql(server: &str, sql: String) {
    use sqlx::{Connection as _, Executor as _};
    let mut connection = sqlx::PgConnection::connect(server).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

pub(crate) async fn create_database(server: &str, name: &str) {
    run_sql(server, format!("CREATE DATABASE {name}")).await;
}

/// Starts both under a supervisor that outlives this process, and says where they are.
fn start_shared(place: &Path) -> PathBuf {
    let folder = folder("servers");
    initdb(&folder.join("data"));
    // The supervisor takes the exclusive lock only when no test holds the shared one; while it has it nobody can begin to use what it ends.
    const SUPERVISOR: &str = r#"
        postgres=$1; shift
        "$postgres" "$@" >/dev/null 2>"$FOLDER/log" & database=$!
        redis-server --port 0 --save '' --appendonly no --unixsocket "$FOLDER/redis.sock" --dir "$FOLDER" >/dev/null 2>&1 & redis=$!
        while sleep 5; do
            flock -n -x "$USE" rm -f "$READY" && [ ! -e "$READY" ] && break
            kill -0 $database 2>/dev/null || break
        done
        kill -INT $database; kill $redis; wait
        rm -rf "$FOLDER"
    "#;
    let (using, ready) = (place.join("use.lock"), place.join("ready"));
    if let Some(user) = unprivileged() {
        for path in [place, using.as_path()] {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }
    let mut supervisor = command("sh");
    supervisor.args(["-c", SUPERVISOR, "supervisor"]).arg(postgres_programs().join("postgres")).args(postgres_arguments(&folder));
    supervisor.env("FOLDER", &folder).env("USE", &using).env("READY", &ready).process_group(0);
    #[expect(clippy::zombie_processes, reason = "it outlives this process, which therefore cannot wait for it")]
    supervisor.spawn().unwrap();
    fs::write(&ready, folder.display().to_string()).unwrap();
    folder
}

fn own_uid() -> u32 {
    fs::metadata("/proc/self").map_or(0, |own| own.uid())
}
