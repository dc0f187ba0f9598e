//! A daemon in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{self, Answer};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_nodespace");

/// How long a start may take before the test gives up. A start takes a second; a machine may be busy.
const START_MAX: Duration = Duration::from_secs(120);

/// A running daemon; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    home: PathBuf,
    pub(crate) address: String,
    pub(crate) token: String,
}

/// Runs a command of the program to its end.
pub(crate) fn nodespace(home: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM).arg("--home").arg(home).args(arguments).stdin(Stdio::null()).output();
    output.expect("the program can be started")
}

/// As [`nodespace`]; the command must succeed. Answers what it printed as JSON.
pub(crate) fn nodespace_json(home: &Path, arguments: &[&str]) -> Value {
    let output = nodespace(home, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "nodespace {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("nodespace {arguments:?} printed no JSON: {error}"))
}

impl Daemon {
    /// Starts the daemon of a home and waits until it answers.
    pub(crate) fn start(home: &Path) -> Self {
        // What a killed daemon left behind would be read as the new one's address.
        let announced = home.join("api.json");
        fs::remove_file(&announced).ok();
        let log = fs::OpenOptions::new().create(true).append(true).open(home.with_extension("log")).expect("a log can be opened");
        let mut child = Command::new(PROGRAM)
            .arg("--home")
            .arg(home)
            .arg("run")
            .env("NODESPACE_API_PORT", "0")
            .env("NODESPACE_NETWORK_ENABLED", "false")
            .env("NODESPACE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon can be started");
        let began = Instant::now();
        let address = loop {
            if let Some(address) = address_in(&announced)
                && http::request(&address, "", "GET", "/health", None).is_ok_and(|answer| answer.status == 200)
            {
                break address;
            }
            let ended = child.try_wait().expect("the daemon can be asked");
            let log = || fs::read_to_string(home.with_extension("log")).unwrap_or_default();
            assert!(ended.is_none(), "the daemon ended at its start: {ended:?}\n{}", log());
            assert!(began.elapsed() < START_MAX, "the daemon does not answer\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        };
        let token = fs::read_to_string(home.join("api-token")).expect("the daemon made a token").trim().to_owned();
        Self { child, home: home.to_owned(), address, token }
    }

    /// Sends a request; `Err` when the daemon went away meanwhile.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Answer> {
        http::request(&self.address, &self.token, method, path, body)
    }

    /// Sends a request that must be answered with success.
    pub(crate) fn expect(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.request(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Ends the process as a power cut would end it, as far as a program can tell: nothing is flushed, nobody is asked.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Ends the process politely.
    pub(crate) fn stop(mut self) {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        let id = rustix::process::Pid::from_raw(id).expect("a process id is not zero");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("our own child can be told to end");
        let status = self.child.wait().expect("our own child can be waited for");
        assert!(
            status.success(),
            "the daemon ended with {status}: {}",
            fs::read_to_string(self.home.with_extension("log")).unwrap_or_default()
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or a test failed: either way it is over.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn address_in(file: &Path) -> Option<String> {
    let value: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    Some(value.get("address")?.as_str()?.to_owned())
}
