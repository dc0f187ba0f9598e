//! The closing table: what each of the three holds, and whether it is the same.

use std::io::Write;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{ALL, heading};
use crate::cluster::Cluster;
use crate::cluster::api::answer::{ConflictPage, DoctorReport};

/// How long each line of a doctor's answer may take.
const DOCTOR_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(120);

pub(super) async fn close(cluster: &mut Cluster, out: &mut (dyn Write + Send)) -> Result<()> {
    heading(out, 7, "In the end")?;
    writeln!(out, "   device operations   nodes conflicts  open   state             export            doctor")?;
    let mut rows = Vec::new();
    for number in ALL {
        let (status, name) = (cluster.status(number).await?, cluster.devices[number].name.clone());
        let api = cluster.devices[number].api()?;
        let conflicts: ConflictPage = api.get("/v1/conflicts").await?;
        let export = export_digest(cluster, number).await?;
        let doctor: DoctorReport = api.task("/v1/tasks/doctor", &json!({ "repair": false }), DOCTOR_TIME_MAX).await?;
        ensure!(doctor.healthy, "the doctor of {name} finds: {}", doctor.findings.first().map(Value::to_string).unwrap_or_default());
        writeln!(
            out,
            "   {name:6} {:>10} {:>7} {:>9} {:>5}   {}  {}  healthy, {} rows",
            status.store.ops,
            status.store.nodes,
            conflicts.conflicts.len(),
            conflicts.open,
            &status.state_digest[..16],
            &export[..16],
            doctor.rows
        )?;
        rows.push((status.store.ops, status.state_digest, export));
    }
    ensure!(rows.windows(2).all(|pair| pair[0] == pair[1]), "the three do not hold the same");
    writeln!(out, "\n   The three hold the same operations and the same state, and export the same, byte for byte.")?;
    Ok(())
}

/// One hash over everything that a device exports, deleted nodes included.
async fn export_digest(cluster: &Cluster, number: usize) -> Result<String> {
    let api = cluster.devices[number].api()?;
    let mut lines = api.lines(hyper::Method::GET, "/v1/export?deleted=true", None::<&Value>).await?;
    let mut hash = blake3::Hasher::new();
    while let Some(line) = lines.next().await.context("an export broke off")? {
        hash.update(&line).update(b"\n");
    }
    Ok(hash.finalize().to_hex().to_string())
}
