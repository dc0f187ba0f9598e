//! The main job, shown with real devices: three processes, a real corpus, a network that parts and heals, a conflict settled.
//!
//! The devices reach each other through proxies only, so that the network between them can be cut. Everything they are told and asked goes
//! through their HTTP API, as an application does it.

mod acts;
mod table;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nodespace_outline::markdown_files;
use tokio::time::Instant;

use super::Cluster;
use super::api::answer::ImportReport;
use super::device::Launcher;
use super::forming::Plan;
use super::link::Conditions;
use super::workload;
use crate::corpus;

/// The three.
pub(super) const ANA: usize = 0;
pub(super) const BEN: usize = 1;
pub(super) const CLEO: usize = 2;
const NAMES: [&str; 3] = ["Ana", "Ben", "Cleo"];
const ALL: [usize; 3] = [ANA, BEN, CLEO];

/// How long the three may take to become equal before it counts as a failure.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(90);

/// Shows it, telling the story to `out`.
///
/// # Errors
/// When anything does not come out as it must.
pub async fn show(launcher: Launcher, folder: &Path, out: &mut (dyn Write + Send)) -> Result<()> {
    let started = Instant::now();
    let mut cluster = start(launcher, folder, out).await?;
    import(&mut cluster, out).await?;
    let scene = acts::prepare(&mut cluster).await?;
    acts::part(&mut cluster, &scene, out).await?;
    acts::heal(&mut cluster, out).await?;
    acts::settle(&mut cluster, out).await?;
    table::close(&mut cluster, out).await?;
    writeln!(out, "   ({:.1} s)", started.elapsed().as_secs_f64())?;
    Ok(())
}

fn heading(out: &mut dyn Write, number: usize, text: &str) -> Result<()> {
    Ok(writeln!(out, "\n{number}. {text}")?)
}

async fn start(launcher: Launcher, folder: &Path, out: &mut dyn Write) -> Result<Cluster> {
    heading(out, 1, "Ana founds a workspace; Ben and Cleo join by a ticket")?;
    let plan = Plan {
        folder: folder.to_path_buf(),
        launcher,
        names: NAMES.map(str::to_owned).into(),
        joined: NAMES.len(),
        wires: Plan::mesh(NAMES.len()),
        conditions: Conditions::default(),
        seed: 1,
        settings: Plan::wired_settings(),
        own_settings: Vec::new(),
        relay: None,
    };
    let mut cluster = Cluster::form(&plan).await?;
    for device in &cluster.devices {
        let network = device.network().await?;
        writeln!(
            out,
            "   {:5} process {:7}  API http://{}  peer {}",
            device.name,
            device.pid()?,
            device.api()?.address(),
            network.peer_id
        )?;
    }
    cluster.settle(&ALL, SETTLE_TIME_MAX).await?;
    writeln!(out, "   between each two of them lies a proxy, through which alone they reach each other")?;
    Ok(cluster)
}

async fn import(cluster: &mut Cluster, out: &mut dyn Write) -> Result<()> {
    let (name, documents) = documents()?;
    heading(out, 2, &format!("Ana imports {name}: {} files", documents.len()))?;
    let started = Instant::now();
    let report: ImportReport = workload::import(&cluster.devices[ANA].api()?, &documents).await?;
    ensure!(report.failed == 0, "{} documents could not be imported", report.failed);
    let took = started.elapsed().as_secs_f64();
    writeln!(out, "   {} nodes in {took:.1} s ({:.0} a second), each signed and on disk", report.created, report.created as f64 / took)?;
    cluster.settle(&ALL, SETTLE_TIME_MAX).await?;
    let bytes: u64 = cluster.wires.iter().map(|wire| wire.link.traffic().bytes()).sum();
    let total = started.elapsed().as_secs_f64();
    writeln!(out, "   {total:.1} s after the import began all three hold it; {} KiB passed the proxies", bytes / 1024)?;
    Ok(())
}

/// The corpus as documents to import, with its name.
fn documents() -> Result<(String, Vec<(String, String)>)> {
    let (name, folder) = corpus::folder();
    let files = markdown_files(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
        Ok((path, text))
    };
    Ok((name.to_owned(), files.into_iter().map(read).collect::<Result<_>>()?))
}
