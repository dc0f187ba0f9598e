//! A relay with its servers, and homes of devices. Everything ends with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::unhex;
use nodespace_servers::{Place, Postgres, Redis};
use serde_json::Value;
use tempfile::TempDir;

/// How long a relay may take to answer, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) url: String,
    program: PathBuf,
    supervisor: Child,
    folder: TempDir,
    postgres: Postgres,
    _redis: Redis,
}

/// The relay's program, where it was built.
fn relay_program() -> Option<PathBuf> {
    let named = std::env::var_os("NODESPACE_RELAY_PROGRAM").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_BIN_EXE_nodespace")).with_file_name("nodespace-relay");
    Some(named.unwrap_or(beside)).filter(|program| program.exists())
}

/// Runs the relay until its own input ends: also when this test is killed. Nobody but the relay holds its output: that ends when it does.
const SUPERVISOR: &str = r#"
    "$0" serve --migrate &
    relay=$!
    exec >/dev/null
    cat
    kill "$relay"
    wait "$relay"
"#;

/// The servers of one relay.
async fn servers() -> anyhow::Result<(Postgres, Redis)> {
    let place = Place::temporary()?;
    Ok((Postgres::create(&place).await?, Redis::create(&place).await?))
}

impl Relay {
    /// Starts one; `None`, and why on standard error, where what it needs is missing.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = relay_program() else {
            eprintln!("skipped: the program nodespace-relay was not built; run `cargo build --workspace` or set NODESPACE_RELAY_PROGRAM");
            return None;
        };
        if let Err(why) = nodespace_servers::check_installed() {
            eprintln!("skipped: {why}");
            return None;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (postgres, redis) = runtime.block_on(servers()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR]).arg(&program);
        command.env("NODESPACE_RELAY_DATABASE_URL", postgres.url()).env("NODESPACE_RELAY_REDIS_URL", redis.url());
        command.env("NODESPACE_RELAY_SERVER_ADDRESS", "127.0.0.1:0").env("NODESPACE_RELAY_SERVER_DATA", folder.path());
        // Ctrl-C at the test ends it by the end of its input, in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut supervisor = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("relay    ").expect("the relay starts; see above").to_owned();
        let relay = Self { url, program, supervisor, folder, postgres, _redis: redis };
        until("the relay answers", || relay.get("/health"));
        Some(relay)
    }

    /// What it answers to anybody; `None` when it does not answer with a yes.
    fn get(&self, path: &str) -> Option<Value> {
        let address = self.url.strip_prefix("http://")?;
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Runs `nodespace-relay admin`, as whoever runs the relay does.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.env("NODESPACE_RELAY_DATABASE_URL", self.postgres.url()).env("NODESPACE_RELAY_SERVER_DATA", self.folder.path());
        let output = command.arg("admin").args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes it lose all it holds, as with a database that is gone, and waits until it says that this is another epoch.
    pub(crate) fn lose_everything(&self) {
        let epoch = || Some(self.get("/v1/relay")?["epoch"].as_u64().unwrap());
        let before = until("the relay answers", epoch);
        let listed: Value = serde_json::from_str(&self.admin(&["workspaces", "--json"])).unwrap();
        for workspace in listed.as_array().unwrap() {
            self.admin(&["delete", workspace["id"].as_str().unwrap(), "--yes"]);
        }
        self.admin(&["new-epoch"]);
        until("the running relay takes the epoch over", || epoch().filter(|now| *now > before));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Its key, which is for its eyes only.
    pub(crate) fn key(&self) -> KeyPair {
        let text = std::fs::read_to_string(self.folder.path().join("relay.key")).unwrap();
        KeyPair::from_seed(&unhex(text.trim()).unwrap().try_into().unwrap())
    }

    /// Where it keeps attachments.
    pub(crate) fn attachments(&self) -> PathBuf {
        self.folder.path().join("attachments/embeddings")
    }
}

/// Tries until something is there; the time for that is bounded.
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        self.supervisor.wait().ok();
    }
}

/// A device's home. No daemon runs: each command opens it, does its work and closes it, so two are never online together.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Where it is kept.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes a file; answers where.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs the program, and gives what it printed; a failure is shown.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.ran(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {out}\n{err}");
        out
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let out = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(out.lines().last().unwrap_or_default()).or_else(|_| serde_json::from_str(&out)).unwrap()
    }

    /// The text of a node as the device holds it.
    #[track_caller]
    pub(crate) fn text(&self, id: &str) -> String {
        self.json(&["node", "get", id])["content"].as_str().unwrap().to_owned()
    }

    /// A ticket to its workspace. It is worth something to others when the relay has it, too.
    #[track_caller]
    pub(crate) fn invite(&self) -> String {
        self.json(&["invite"])["ticket"].as_str().unwrap().to_owned()
    }

    /// Syncs with the relay, until both hold the same.
    #[track_caller]
    pub(crate) fn sync(&self) {
        let status = self.json(&["sync", "now"]);
        assert_eq!(status["summary"]["state"], "synced", "{status}");
    }

    pub(crate) fn ran(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.ran_by("false", arguments)
    }

    /// The same with the LanceDB table, which a search needs.
    pub(crate) fn ran_with_table(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.ran_by("true", arguments)
    }

    fn ran_by(&self, projection: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodespace"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NODESPACE_")) {
            command.env_remove(name);
        }
        command.env("NODESPACE_NETWORK_MDNS", "false").env("NODESPACE_NETWORK_LISTEN", "/ip4/127.0.0.1/tcp/0");
        command.env("NODESPACE_PROJECTION_ENABLED", projection);
        let output = command.arg("--home").arg(self.path()).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}
