//! A home folder of a test's own, the program run on it, and a daemon when one is wanted.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long a daemon may take to be ready, on a machine that is busy with other tests.
const READY_TIME_MAX: Duration = Duration::from_secs(120);

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Expects success, and gives what was printed.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Expects success, and gives the JSON that was printed.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Expects a failure with this code whose message has this part.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, part: &str) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(part), "`{part}` is not in {:?}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

/// The program, with nothing of the surroundings that could change what it does.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodespace"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NODESPACE_") {
            command.env_remove(name);
        }
    }
    // Tests talk to nobody beyond what they start themselves.
    command.env("NODESPACE_NETWORK_ENABLED", "false");
    command.env_remove("NOTIFY_SOCKET").env_remove("VISUAL").env_remove("EDITOR").env_remove("COLUMNS");
    command.stdin(Stdio::null());
    command
}

pub(crate) fn finish(command: &mut Command, input: Option<&[u8]>) -> Ran {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let writer = input.map(|input| {
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        // A program that refuses early closes its input.
        std::thread::spawn(move || stdin.write_all(&input).ok())
    });
    let output = child.wait_with_output().unwrap();
    writer.map(|writer| writer.join().unwrap());
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A home folder.
#[derive(Debug)]
pub(crate) struct Home {
    folder: tempfile::TempDir,
    /// Whether the program meets others there.
    network: bool,
}

/// A network that ends at this machine: others are met by addresses alone, at ports that the system chooses.
const LOOPBACK: [(&str, &str); 3] =
    [("NODESPACE_NETWORK_ENABLED", "true"), ("NODESPACE_NETWORK_LISTEN", "/ip4/127.0.0.1/tcp/0"), ("NODESPACE_NETWORK_MDNS", "false")];

impl Home {
    /// A place where no home is yet.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), network: false }
    }

    /// A new home.
    pub(crate) fn new() -> Self {
        let home = Self::empty();
        home.run(&["init", "--name", "Test"]).done();
        home
    }

    /// The same with the network on, on the loopback.
    pub(crate) fn on_loopback(mut self) -> Self {
        self.network = true;
        self
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A place beside it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--home").arg(self.path()).args(arguments);
        command.envs(LOOPBACK.into_iter().filter(|_| self.network));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(&mut self.command(arguments), None)
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        finish(&mut self.command(arguments), Some(input))
    }

    /// Makes a node, and gives its id.
    #[track_caller]
    pub(crate) fn create(&self, arguments: &[&str]) -> String {
        let all = [&["--json", "node", "create"], arguments].concat();
        self.run(&all).json()["node"]["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn get(&self, id: &str) -> Value {
        self.run(&["--json", "node", "get", id]).json()
    }

    /// Starts a daemon and waits until it says that it is ready.
    pub(crate) fn daemon(&self) -> Daemon {
        let socket = self.beside("notify");
        fs::remove_file(&socket).ok();
        let listener = UnixDatagram::bind(&socket).unwrap();
        listener.set_read_timeout(Some(READY_TIME_MAX)).unwrap();
        let mut command = self.command(&["run"]);
        let log = fs::File::create(self.beside("log")).unwrap();
        let child = command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let daemon = Daemon { child, listener, log: self.beside("log") };
        daemon.expect("READY=1");
        daemon
    }
}

/// A running daemon; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    listener: UnixDatagram,
    log: PathBuf,
}

impl Daemon {
    #[track_caller]
    fn expect(&self, state: &str) {
        let mut bytes = [0; 64];
        let received = self.listener.recv(&mut bytes);
        let said = received.map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned());
        assert!(matches!(&said, Ok(text) if text == state), "{said:?} instead of {state}; its log:\n{}", self.log());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to stop, and expects that it does so in order.
    #[track_caller]
    pub(crate) fn stop(mut self) -> String {
        self.signal("TERM");
        self.expect("STOPPING=1");
        let status = self.child.wait().unwrap();
        let log = self.log();
        assert!(status.success(), "{status}:\n{log}");
        log
    }

    /// Ends it without asking.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The small corpus of the repository.
pub(crate) fn corpus() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testnet/corpus").display().to_string()
}
