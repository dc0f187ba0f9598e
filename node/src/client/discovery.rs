//! Finding the daemon of a home folder.
//!
//! A daemon writes where it listens into [`API_FILE`] and removes it when it stops. One that was killed leaves the file behind, so the
//! process must be alive and the address must answer before the file is believed.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ClientError;
use super::{Client, Request};

/// Where a daemon says how it is reached, in the home folder.
pub const API_FILE: &str = "api.json";

/// The API's token, in the home folder.
pub const TOKEN_FILE: &str = "api-token";

/// More bytes than either file has; what is longer is not one of ours.
const FILE_BYTES_MAX: u64 = 4096;

/// How long a daemon may take to say that it is well.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(2);

/// What a daemon says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFile {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
}

/// A running daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// A way to talk to it.
    pub client: Client,
}

/// The daemon of a home folder, if one runs and answers.
///
/// # Errors
/// When a daemon runs and its token cannot be read, or others can read it.
pub async fn find(home: &Path) -> Result<Option<Daemon>, ClientError> {
    let Some(ApiFile { address, pid }) = api_file(home) else { return Ok(None) };
    if !is_alive(pid) {
        return Ok(None);
    }
    // The address is asked before the token is read: what is said of a daemon that died must not hang on a file it left.
    let asked = Client::tcp(address, String::new());
    let health = asked.ask::<serde_json::Value>(Request::get(&["health"]));
    match tokio::time::timeout(HEALTH_TIME_MAX, health).await {
        Ok(Ok(_) | Err(ClientError::Refused { .. })) => Ok(Some(Daemon { pid, address, client: Client::tcp(address, read_token(home)?) })),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// What the file says, if there is one that says something. A damaged one is left by a crash of the machine: the lock decides then.
fn api_file(home: &Path) -> Option<ApiFile> {
    let text = read_short(&home.join(API_FILE)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Reads the API's token.
///
/// # Errors
/// When it cannot be read, or when others can read it too.
pub fn read_token(home: &Path) -> Result<String, ClientError> {
    let path = home.join(TOKEN_FILE);
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(&path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(ClientError::TokenOpen { path, mode });
        }
    }
    match read_short(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(ClientError::Token { path, source }),
    }
}

fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process of another user cannot be asked, but it is there.
    pid.is_some_and(|pid| !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

#[cfg(not(unix))]
const fn is_alive(_pid: u32) -> bool {
    true
}
