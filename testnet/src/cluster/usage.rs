//! What a process costs: memory and processor time, as Linux counts them.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Ticks a second of the times in `/proc/PID/stat`: fixed at 100 for all architectures Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Memory now, in KiB.
    pub rss_kib: u64,
    /// The most memory so far, in KiB.
    pub rss_peak_kib: u64,
    /// Processor time so far, in seconds.
    pub cpu_s: f64,
}

impl Usage {
    /// Reads what a process uses.
    ///
    /// # Errors
    /// When there is no such process, or no `/proc`.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        Self::parse(&read("status")?, &read("stat")?)
    }

    /// Sets the peak back to what is used now.
    ///
    /// # Errors
    /// When the process belongs to somebody else or has ended.
    pub fn forget_peak(pid: u32) -> Result<()> {
        let path = format!("/proc/{pid}/clear_refs");
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    fn parse(status: &str, stat: &str) -> Result<Self> {
        let kib = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).with_context(|| format!("the status of a process has no {name}"))
        };
        // The program's name, in parentheses, may have spaces: count from its end. User and system time are fields 14 and 15.
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest).context("the stat of a process has no name")?;
        let times = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = times.sum::<Result<_, _>>().context("the stat of a process has no times")?;
        Ok(Self { rss_kib: kib("VmRSS")?, rss_peak_kib: kib("VmHWM")?, cpu_s: ticks as f64 / TICKS_PER_SECOND })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_read() {
        let status = "Name:\ta b\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(Usage::parse(status, stat).unwrap(), Usage { rss_kib: 1024, rss_peak_kib: 2048, cpu_s: 3.0 });
        assert!(Usage::parse("Name:\tzombie\n", stat).is_err());
    }

    #[test]
    fn our_own_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 100 && usage.rss_peak_kib >= usage.rss_kib, "{usage:?}");
    }
}
