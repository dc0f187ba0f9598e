//! What ends servers that nobody ends otherwise: a shell beside them, which outlives whoever started them.
//!
//! It waits for the end of those who use the servers, ends what is left of these, and removes their folder. A process that is killed cannot
//! do that itself.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::process::User;

/// Waits as its first argument says, then ends what is noted in the folder, its second. A number is signalled only while who has it works in
/// the folder: numbers are given again. For a lock that is free, see [`Watch::Unused`].
const SCRIPT: &str = r#"
    folder=$2
    case $1 in
        gone) cat ;;
        *) until flock -n -x "$1/use.lock" rm -f "$1/ready"; do sleep 5; done ;;
    esac
    works() { case $(readlink "/proc/$pid/cwd") in "$folder" | "$folder"/*) ;; *) false ;; esac; }
    children() {
        for stat in /proc/[0-9]*/stat; do
            read -r line <"$stat" || continue
            stat=${stat#/proc/}
            # After the name, which is in parentheses: the state, then the parent.
            set -- ${line##*) }
            [ "$2" != "$pid" ] || echo "${stat%/stat}"
        done
    }
    for file in "$folder"/*.pid; do
        pid=$(cat "$file") || continue
        works || continue
        # Children that were frozen would stay so for ever, without a parent.
        kill -CONT "$pid" $(children)
        kill -INT "$pid"
        tries=0
        while works && [ "$tries" -lt 100 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        ! works || kill -KILL "$pid"
    done
    # Who was killed may have children that write into the folder for a moment more.
    [ "$3" = keep ] || rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
"#;

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watch<'a> {
    /// The end of this process, or of the value.
    Gone,
    /// Nobody holds the lock `use.lock` in this folder. The file `ready` there is removed under the lock, so that nobody can begin to use what
    /// is about to end.
    Unused(&'a Path),
}

/// What becomes of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It stays, with all that is in it.
    Folder,
    /// It is removed.
    Nothing,
}

/// The shell.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts one over a folder, as whoever the servers run as.
    ///
    /// # Errors
    /// When there is no shell.
    pub(crate) fn start(watch: Watch<'_>, folder: &Path, keep: Keep, user: Option<User>) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "guard"]);
        // The end of its input is the end of this process, however that came.
        match watch {
            Watch::Gone => command.arg("gone").stdin(Stdio::piped()),
            Watch::Unused(state) => command.arg(state).stdin(Stdio::null()),
        };
        command.arg(folder).arg(if keep == Keep::Folder { "keep" } else { "remove" });
        // In a group of its own: what ends a whole group of tests must not end it.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).current_dir("/");
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        Ok(Self { child: command.spawn().context("no shell to watch over servers")? })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // One that waits for others has no input, and goes on without us.
        if self.child.stdin.take().is_some() {
            self.child.wait().ok();
        }
    }
}
