//! What all parts need: a device on the disk, numbers in order, words that are the same in each run.

use std::path::Path;
use std::time::{Duration, Instant};

use nodespace_node::engine::{CreateOptions, Device, OpenOptions, Workspace};
use nodespace_node::model::{BatchItem, BatchRequest, CreateNode, WorkspaceStatus};
use nodespace_protocol::conflict::Policy;

pub(crate) type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Items of one batch.
pub(crate) const BATCH: usize = 1_000;

/// How often a status is asked for while something is waited for.
const POLL: Duration = Duration::from_millis(20);

/// How long a process must have done next to nothing before its table counts as tidied: longer than the projector's quiet moment.
const IDLE: Duration = Duration::from_secs(6);

/// What part of one core is next to nothing.
const IDLE_SHARE: f64 = 0.03;

/// A home with a workspace, new.
pub(crate) fn create(home: &Path) -> Done {
    let options = CreateOptions { home: home.to_path_buf(), workspace_name: "bench".to_owned(), policy: Policy::default() };
    Device::create(&options)?;
    Ok(())
}

/// A device on a home; its projection is started when it has one.
pub(crate) async fn open(home: &Path, projection: bool) -> Done<(Device, Workspace)> {
    let device = Device::open(OpenOptions { projection, ..OpenOptions::new(home) }).await?;
    device.start().await;
    let workspace = device.workspace(None)?;
    Ok((device, workspace))
}

/// The id of a node that was made here.
pub(crate) fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Makes nodes with about sixty characters each, ten below each that has any.
pub(crate) async fn fill(workspace: &Workspace, nodes: usize) -> Done {
    let mut random = Random::new(1);
    for start in (0..nodes).step_by(BATCH) {
        let create = |number: usize, random: &mut Random| CreateNode {
            id: Some(id(number)),
            content: random.text(),
            parent_id: (number > 0).then(|| id(number / 10)),
            ..CreateNode::default()
        };
        let numbers = start..nodes.min(start + BATCH);
        batch(workspace, numbers.map(|number| BatchItem::Create { create: create(number, &mut random) }).collect()).await?;
    }
    Ok(())
}

/// Writes a batch of which nothing may fail.
pub(crate) async fn batch(workspace: &Workspace, items: Vec<BatchItem>) -> Done {
    let reply = workspace.batch(None, BatchRequest { items }).await?;
    if reply.failed == 0 { Ok(()) } else { Err(format!("{} items of a batch failed", reply.failed).into()) }
}

/// Waits until the table shows every node; answers the last status.
pub(crate) async fn shown(workspace: &Workspace) -> Done<WorkspaceStatus> {
    loop {
        let status = workspace.status().await?;
        let table = &status.projection;
        if table.state == "failed" {
            return Err(table.problem.clone().unwrap_or_default().into());
        }
        if table.state == "current" && table.behind == 0 && table.rows == status.store.nodes {
            return Ok(status);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the table is tidied and indexed: until this process has used next to no processor for a while.
pub(crate) async fn idle(workspace: &Workspace) -> Done {
    shown(workspace).await?;
    loop {
        let (began, before) = (Instant::now(), processor_time());
        tokio::time::sleep(IDLE).await;
        if (processor_time() - before) / began.elapsed().as_secs_f64() < IDLE_SHARE {
            return Ok(());
        }
    }
}

/// Seconds of processor time of this process, in hundredths as the kernel counts them.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the program's name, which may hold anything: the twelfth and thirteenth fields are user and system time.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident memory: all of it, and what of it is no page of a file.
pub(crate) fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib >> 10)
    };
    format!("{} MiB resident, {} MiB of it anonymous, peak {} MiB", mib("VmRSS:"), mib("RssAnon:"), mib("VmHWM:"))
}

/// Durations, to be put in order.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Microseconds that so many of a hundred stay under.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    /// Half, nearly all, and all.
    pub(crate) fn line(&mut self) -> String {
        let (p50, p99, max) = (self.percentile(50), self.percentile(99), self.percentile(100));
        format!("p50 {p50:8.0} us   p99 {p99:8.0} us   max {max:8.0} us   of {}", self.0.len())
    }
}

/// Numbers that are the same in each run (SplitMix64: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1.
    fn even(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// One of 20,000 words; about Zipf's law, since the cube of an even number makes small ones frequent.
    pub(crate) fn word(&mut self) -> String {
        const SYLLABLES: [&str; 28] = [
            "ka", "lo", "mi", "ne", "ru", "sa", "to", "vi", "be", "do", "fa", "gi", "hu", "ja", "le", "mo", "nu", "pe", "qua", "ri", "so",
            "ta", "ul", "wo", "xe", "yo", "za", "ch",
        ];
        let mut number = (self.even().powi(3) * 20_000.0) as usize;
        let mut word = String::new();
        for _ in 0..3 {
            word.push_str(SYLLABLES[number % SYLLABLES.len()]);
            number /= SYLLABLES.len();
        }
        word
    }

    /// About sixty characters.
    pub(crate) fn text(&mut self) -> String {
        let mut text = self.word();
        while text.len() < 57 {
            text.push(' ');
            text.push_str(&self.word());
        }
        text
    }

    /// A direction, all as likely (Box and Muller's normal numbers, scaled to length one).
    pub(crate) fn unit_vector(&mut self, dimension: usize) -> Vec<f32> {
        let normal = |random: &mut Self| {
            let (radius, angle) = ((-2.0 * (1.0 - random.even()).ln()).sqrt(), std::f64::consts::TAU * random.even());
            radius * angle.cos()
        };
        let numbers: Vec<f64> = (0..dimension).map(|_| normal(self)).collect();
        let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        numbers.into_iter().map(|number| (number / length) as f32).collect()
    }
}
