//! A relay with its servers, and homes of devices. Everything ends with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::unhex;
use serde_json::Value;
use tempfile::TempDir;

/// How long the servers may take to be there, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) url: String,
    program: PathBuf,
    database: String,
    supervisor: Child,
    folder: TempDir,
}

/// The relay's program, where it was built.
fn relay_program() -> Option<PathBuf> {
    let named = std::env::var_os("NODESPACE_RELAY_PROGRAM").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_BIN_EXE_nodespace")).with_file_name("nodespace-relay");
    Some(named.unwrap_or(beside)).filter(|program| program.exists())
}

/// Starts both servers and the relay under a shell that ends all three when its input ends: also when this test is killed.
const SUPERVISOR: &str = r#"
    set -euo pipefail
    . "$SCRIPTS/servers.sh"
    finish() {
        [ -z "${relay:-}" ] || { kill "$relay" 2>/dev/null || true; wait "$relay" 2>/dev/null || true; }
        stop_redis "$SERVERS"
        stop_postgres "$SERVERS"
        rm -rf "$SERVERS"
    }
    trap finish EXIT
    start_postgres "$SERVERS" >&2
    start_redis "$SERVERS" >&2
    psql_in "$SERVERS" postgres -c 'CREATE DATABASE relay' >&2
    export NODESPACE_RELAY_DATABASE_URL="postgres://relay@localhost:$postgres_port/relay?host=$SERVERS"
    export NODESPACE_RELAY_REDIS_URL="redis+unix://$SERVERS/redis.sock"
    # A free port, and whatever takes it meanwhile makes the relay say so and the next one be tried.
    "$PROGRAM" serve --migrate >&2 &
    relay=$!
    echo "ready $NODESPACE_RELAY_DATABASE_URL"
    cat >/dev/null
"#;

impl Relay {
    /// Starts one; `None`, and why on standard error, where what it needs is missing.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = relay_program() else {
            eprintln!("skipped: the program nodespace-relay was not built; run `cargo build --workspace` or set NODESPACE_RELAY_PROGRAM");
            return None;
        };
        let has = |command: &str| {
            Command::new("bash")
                .args(["-c", command])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts");
        let servers = format!(
            ". '{}/servers.sh'; postgres_programs && command -v redis-server && command -v redis-cli && command -v psql",
            scripts.display()
        );
        if !has(&servers) {
            eprintln!("skipped: PostgreSQL or Redis is not installed; run scripts/setup.sh relay");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Outside of the test's own folder: the servers' user has to get there, and a socket's path is short.
        let servers = std::env::temp_dir().join(format!("nodespace-relay-{:016x}", getrandom::u64().unwrap()));
        std::fs::create_dir(&servers).unwrap();
        // Asked of the system and let go: the relay takes the same one a moment later.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", SUPERVISOR]).env("SCRIPTS", &scripts).env("SERVERS", &servers).env("PROGRAM", &program);
        command.env("NODESPACE_RELAY_SERVER_ADDRESS", address.to_string()).env("NODESPACE_RELAY_SERVER_DATA", folder.path());
        // Ctrl-C at the test ends it by the end of its input, in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut supervisor = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let database = line.strip_prefix("ready ").expect("the servers start; see above").trim().to_owned();
        let relay = Self { url: format!("http://{address}"), program, database, supervisor, folder };
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
        command.env("NODESPACE_RELAY_DATABASE_URL", &self.database).env("NODESPACE_RELAY_SERVER_DATA", self.folder.path());
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
        let output = command.arg("--home").arg(self.folder.path().join("home")).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}
