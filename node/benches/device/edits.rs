//! Edits: one at a time against the disk alone, many at once against one.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nodespace_node::engine::Workspace;
use nodespace_node::model::{TextEdit, UpdateNode};

use crate::support::{Done, Random, Times, create, fill, id, open};

/// Nodes that are edited.
const NODES: usize = 1_000;

/// Edits, one at a time.
const EDITS: usize = 5_000;

/// Writers at once.
const WRITERS: usize = 64;

/// How often one and many take turns.
const ROUNDS: usize = 6;

/// How long a turn takes.
const TURN: Duration = Duration::from_secs(2);

/// A word typed over the beginning of a text, which stays as long as it was.
pub(crate) fn edit(random: &mut Random) -> UpdateNode {
    let insert = random.word();
    let delete = insert.chars().count() as u32;
    UpdateNode { edits: Some(vec![TextEdit { position: 0, delete, insert }]), ..UpdateNode::default() }
}

async fn journal_bytes(workspace: &Workspace) -> Done<usize> {
    Ok(workspace.read(|replica| replica.store().journal().size_bytes()).await? as usize)
}

/// One edit at a time, in turns with an append and `fdatasync` of as many bytes to a plain file in the same folder.
pub(crate) async fn alone(projection: bool) -> Done {
    let home = tempfile::tempdir()?;
    create(home.path())?;
    let (device, workspace) = open(home.path(), projection).await?;
    fill(&workspace, NODES).await?;
    let mut plain = File::options().create_new(true).append(true).open(workspace.folder().join("plain"))?;
    let mut random = Random::new(2);
    let (mut edits, mut appends, mut hops) = (Times::default(), Times::default(), Times::default());
    let (mut held, mut bytes) = (journal_bytes(&workspace).await?, 0);
    for _ in 0..EDITS {
        let (node, update) = (id(random.below(NODES)), edit(&mut random));
        let began = Instant::now();
        workspace.update_node(None, &node, update).await?;
        edits.push(began.elapsed());
        let began = Instant::now();
        let now = journal_bytes(&workspace).await?;
        hops.push(began.elapsed());
        let buffer = vec![0x5a; now - held];
        (held, bytes) = (now, bytes + buffer.len());
        let began = Instant::now();
        plain.write_all(&buffer)?;
        plain.sync_data()?;
        appends.push(began.elapsed());
    }
    println!("\none edit at a time, {} bytes each, projection {}", bytes / EDITS, if projection { "on" } else { "off" });
    println!("  edit, durable          {}", edits.line());
    println!("  append and fdatasync   {}", appends.line());
    println!("  to the writer and back {}", hops.line());
    println!(
        "  ratio                  p50 {:8.2}      p99 {:8.2}",
        ratio(&mut edits, &mut appends, 50),
        ratio(&mut edits, &mut appends, 99)
    );
    device.close().await?;
    Ok(())
}

fn ratio(times: &mut Times, others: &mut Times, percent: usize) -> f64 {
    times.percentile(percent) / others.percentile(percent)
}

/// Many writers against one, in turns.
pub(crate) async fn together() -> Done {
    let home = tempfile::tempdir()?;
    create(home.path())?;
    let (device, workspace) = open(home.path(), false).await?;
    fill(&workspace, NODES).await?;
    println!("\nedits in a second, turns of {} s, projection off", TURN.as_secs());
    let (mut one, mut many) = (0.0, 0.0);
    for round in 0..ROUNDS {
        let alone = turn(&workspace, 1, round).await?;
        let together = turn(&workspace, WRITERS, round).await?;
        println!("  1 writer {alone:8.0}   {WRITERS} writers {together:8.0}   ratio {:6.1}", together / alone);
        (one, many) = (one + alone, many + together);
    }
    println!("  all rounds: ratio {:.1}", many / one);
    device.close().await?;
    Ok(())
}

/// Edits in a second of so many writers.
async fn turn(workspace: &Workspace, writers: usize, round: usize) -> Done<f64> {
    let began = Instant::now();
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(write(workspace.clone(), began, (round * WRITERS + writer) as u64))).collect();
    let mut edits = 0;
    for task in tasks {
        edits += task.await?.map_err(|error| error.to_string())?;
    }
    Ok(edits as f64 / began.elapsed().as_secs_f64())
}

async fn write(workspace: Workspace, began: Instant, seed: u64) -> Result<usize, nodespace_node::model::ServiceError> {
    let (mut random, mut edits) = (Random::new(1_000 + seed), 0);
    while began.elapsed() < TURN {
        let (node, update) = (id(random.below(NODES)), edit(&mut random));
        workspace.update_node(None, &node, update).await?;
        edits += 1;
    }
    Ok(edits)
}
