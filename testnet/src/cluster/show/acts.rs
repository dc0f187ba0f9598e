//! The acts: the network parts, it heals, what is open is settled.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ALL, ANA, BEN, CLEO, SETTLE_TIME_MAX, heading};
use crate::cluster::api::answer::{Conflict, ConflictPage, Node, WriteReply};
use crate::cluster::api::encode;
use crate::cluster::link::Cut;
use crate::cluster::{Cluster, POLL};

/// A node as a page of nodes has it, as far as it is looked at.
#[derive(Debug, serde::Deserialize)]
struct Page {
    nodes: Vec<Node>,
}

/// What the three will quarrel about.
#[derive(Debug)]
pub(super) struct Scene {
    /// A paragraph of the corpus.
    paragraph: Node,
}

/// Chooses a paragraph and makes a plan.
pub(super) async fn prepare(cluster: &mut Cluster) -> Result<Scene> {
    let api = cluster.devices[ANA].api()?;
    let page: Page = api.get("/v1/nodes?type=text&limit=1000").await?;
    let words = |node: &Node| node.content.chars().filter(|letter| *letter == ' ').count().min(30);
    let paragraph = page.nodes.into_iter().max_by_key(words).context("the corpus has no paragraph")?;
    let plan = json!({ "id": "plan", "type": "task", "content": "Plan: measure twice, cut once" });
    let _: WriteReply = api.post("/v1/nodes", &plan).await?;
    cluster.settle(&ALL, SETTLE_TIME_MAX).await?;
    Ok(Scene { paragraph })
}

/// The network parts, and all three go on.
pub(super) async fn part(cluster: &mut Cluster, scene: &Scene, out: &mut (dyn Write + Send)) -> Result<()> {
    heading(out, 3, "The network parts: Ana alone, Ben with Cleo. All three go on working")?;
    for wire in cluster.wires.iter().filter(|wire| wire.touches(ANA)) {
        wire.link.change(|conditions| conditions.set_cut(Some(Cut::Swallow)));
    }
    let (node, content) = (&scene.paragraph.id, &scene.paragraph.content);
    let at = content.char_indices().filter(|(_, letter)| *letter == ' ').nth(1).map_or(0, |(at, _)| content[..at].chars().count());
    type_word(cluster, ANA, node, at, " (Ana's word)").await?;
    type_word(cluster, BEN, node, at, " (Ben's word)").await?;
    writeln!(out, "   Ana   types into a paragraph; Ben types into the same one, at the same place")?;
    patch(cluster, ANA, "plan", json!({ "metadata": { "due": "Monday" } })).await?;
    let sent = Instant::now();
    patch(cluster, BEN, "plan", json!({ "metadata": { "due": "Friday", "owner": "Ben" } })).await?;
    writeln!(out, "   Ana   makes the plan due on Monday; Ben makes it due on Friday")?;
    let heard = wait_for_metadata(cluster, CLEO, "Friday").await?.duration_since(sent);
    let api = cluster.devices[CLEO].api()?;
    let _: WriteReply = api.delete("/v1/nodes/plan").await?;
    writeln!(out, "   Cleo  hears of Ben's change after {:.0} ms, and deletes the plan", heard.as_secs_f64() * 1e3)?;
    for (device, text) in [(ANA, "Ana's journal"), (CLEO, "Cleo's journal")] {
        let page = json!({ "id": "2025-08-30", "type": "date", "content": "2025-08-30" });
        let api = cluster.devices[device].api()?;
        let _: WriteReply = api.post("/v1/nodes", &page).await?;
        let _: WriteReply = api.post("/v1/nodes", &json!({ "parent_id": "2025-08-30", "content": text })).await?;
    }
    writeln!(out, "   Ana and Cleo both make the journal page 2025-08-30 and write below it")?;
    cluster.kill(BEN)?;
    cluster.start(BEN).await?;
    writeln!(out, "   Ben   is killed (kill -9) and starts again")?;
    equal(cluster, &[BEN, CLEO]).await?;
    states(cluster, out).await
}

/// The network heals.
pub(super) async fn heal(cluster: &mut Cluster, out: &mut (dyn Write + Send)) -> Result<()> {
    heading(out, 4, "The network heals")?;
    let started = Instant::now();
    cluster.wires.iter().for_each(|wire| wire.link.change(|conditions| conditions.set_cut(None)));
    equal(cluster, &ALL).await?;
    writeln!(out, "   after {:.2} s all three hold the same", started.elapsed().as_secs_f64())?;
    states(cluster, out).await?;
    cluster.settle(&ALL, SETTLE_TIME_MAX).await?;
    writeln!(out, "   after {:.2} s each says that it is synced with both others", started.elapsed().as_secs_f64())?;
    Ok(())
}

/// What collided is shown, and what is open is settled by Cleo.
pub(super) async fn settle(cluster: &mut Cluster, out: &mut (dyn Write + Send)) -> Result<()> {
    heading(out, 5, "What collided, as Cleo sees it")?;
    let api = cluster.devices[CLEO].api()?;
    let page: ConflictPage = api.get("/v1/conflicts").await?;
    ensure!(!page.conflicts.is_empty(), "there must be conflicts");
    for conflict in &page.conflicts {
        describe(cluster, conflict, out).await?;
    }
    heading(out, 6, "Cleo settles what is open; the choice travels as an operation")?;
    let open: Vec<&Conflict> = page.conflicts.iter().filter(|conflict| conflict.status == "open").collect();
    ensure!(!open.is_empty(), "a deletion against an edit must be left open");
    for conflict in open {
        let detail = detail(cluster, conflict).await?;
        let kept = sides(&detail).first().and_then(|side| side["checksum"].as_str()).context("a conflict has sides")?.to_owned();
        let path = format!("/v1/conflicts/{}/{}/resolve", encode(&conflict.node_id), encode(&conflict.id));
        let _: WriteReply = api.post(&path, &json!({ "choice": { "keep": kept } })).await?;
        writeln!(out, "   {} on {}: keeps what {}", conflict.kind, conflict.node_id, who(cluster, &detail, &kept).await?)?;
    }
    equal(cluster, &ALL).await?;
    for number in ALL {
        let page: ConflictPage = cluster.devices[number].api()?.get("/v1/conflicts").await?;
        let resolved = page.conflicts.iter().filter(|conflict| conflict.status == "resolved").count();
        ensure!(page.open == 0 && resolved > 0, "{} still sees open conflicts", cluster.devices[number].name);
    }
    writeln!(out, "   all three see it as resolved")?;
    Ok(())
}

/// Waits until these hold the same, whatever they say of it.
async fn equal(cluster: &Cluster, numbers: &[usize]) -> Result<()> {
    let started = Instant::now();
    while let Some(why) = cluster.differing(numbers).await? {
        ensure!(started.elapsed() < SETTLE_TIME_MAX, "not equal: {why}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn describe(cluster: &Cluster, conflict: &Conflict, out: &mut (dyn Write + Send)) -> Result<()> {
    let detail = detail(cluster, conflict).await?;
    writeln!(out, "   {} on {} ({}): {}", conflict.kind, conflict.node_id, conflict.field, conflict.status.replace('_', "-"))?;
    for side in sides(&detail) {
        let op = side["checksum"].as_str().unwrap_or_default();
        writeln!(out, "     - {}", who(cluster, &detail, op).await?)?;
    }
    writeln!(out, "     = now  {}", excerpt(&detail["context"]["provisional"]))?;
    Ok(())
}

async fn detail(cluster: &Cluster, conflict: &Conflict) -> Result<Value> {
    let path = format!("/v1/conflicts/{}/{}", encode(&conflict.node_id), encode(&conflict.id));
    Ok(cluster.devices[CLEO].api()?.get(&path).await?)
}

fn sides(detail: &Value) -> &[Value] {
    detail["context"]["sides"].as_array().map_or(&[], Vec::as_slice)
}

/// Who made a side of a conflict, and what of it.
async fn who(cluster: &Cluster, detail: &Value, op: &str) -> Result<String> {
    let side = sides(detail).iter().find(|side| side["checksum"] == op).context("the side is one of the conflict's")?;
    for number in ALL {
        if cluster.status(number).await?.device == side["device_id"].as_str().unwrap_or_default() {
            return Ok(format!("{:5} makes of it {}", cluster.devices[number].name, excerpt(&side["value"])));
        }
    }
    Ok(format!("somebody makes of it {}", excerpt(&side["value"])))
}

/// A value short enough for a line, around the part that people quarrel about.
fn excerpt(value: &Value) -> String {
    const WIDTH: usize = 76;
    let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
    let start = text.find("'s word)").map_or(0, |at| text[..at].chars().count().saturating_sub(WIDTH / 2));
    let shown: String = text.chars().skip(start).take(WIDTH).collect();
    let dots = |cut: bool| if cut { "..." } else { "" };
    format!("{}{shown}{}", dots(start > 0), dots(text.chars().count() > start + WIDTH))
}

async fn type_word(cluster: &Cluster, device: usize, node: &str, position: usize, word: &str) -> Result<()> {
    patch(cluster, device, node, json!({ "edits": [{ "position": position, "insert": word }] })).await
}

async fn patch(cluster: &Cluster, device: usize, node: &str, body: Value) -> Result<()> {
    let api = cluster.devices[device].api()?;
    let _: WriteReply = api.patch(&format!("/v1/nodes/{}", encode(node)), &body).await?;
    Ok(())
}

/// When a device shows the plan as due on that day.
async fn wait_for_metadata(cluster: &Cluster, device: usize, due: &str) -> Result<Instant> {
    const TIME_MAX: Duration = Duration::from_secs(30);
    let started = Instant::now();
    loop {
        let plan: Value = cluster.devices[device].api()?.get("/v1/nodes/plan").await?;
        if plan["metadata"]["due"] == due {
            return Ok(Instant::now());
        }
        ensure!(started.elapsed() < TIME_MAX, "Cleo does not hear of Ben's change");
        tokio::time::sleep(POLL / 10).await;
    }
}

async fn states(cluster: &Cluster, out: &mut (dyn Write + Send)) -> Result<()> {
    for number in ALL {
        let status = cluster.status(number).await?;
        let name = &cluster.devices[number].name;
        writeln!(out, "   {name:5} {:6} operations, state {}", status.store.ops, &status.state_digest[..16])?;
    }
    Ok(())
}
