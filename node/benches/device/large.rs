//! A large workspace: made, read by id, searched, opened by another process.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nodespace_node::engine::{Device, OpenOptions, Workspace};
use nodespace_node::model::{BatchItem, PutEmbedding, SearchRequest};

use crate::OPEN;
use crate::edits::edit;
use crate::import::reads;
use crate::support::{BATCH, Done, Random, Times, batch, create, fill, id, idle, memory, open, shown};

/// The argument of the other process that starts its projection.
pub(crate) const WITH_PROJECTION: &str = "with-projection";

const WITHOUT_PROJECTION: &str = "without-projection";
const MODEL: &str = "bench";
const DIMENSION: usize = 384;
const SEARCHES: usize = 200;

/// How long the other process rests before its memory is looked at again.
const REST: Duration = Duration::from_secs(5);

pub(crate) async fn workspace(nodes: usize, edits: usize) -> Done {
    let home = tempfile::tempdir()?;
    create(home.path())?;
    println!("\n{nodes} nodes, {edits} edits, a vector of {DIMENSION} numbers each");
    write(home.path(), nodes, edits).await?;
    again(home.path(), WITHOUT_PROJECTION)?;
    let (device, workspace) = open(home.path(), true).await?;
    let began = Instant::now();
    shown(&workspace).await?;
    println!("  table made anew                     {:8.1} s", began.elapsed().as_secs_f64());
    embed(&workspace, nodes).await?;
    let began = Instant::now();
    shown(&workspace).await?;
    println!("  then all vectors in the table       {:8.1} s", began.elapsed().as_secs_f64());
    idle(&workspace).await?;
    println!("  then tidied and indexed             {:8.1} s", began.elapsed().as_secs_f64());
    search(&workspace).await?;
    let began = Instant::now();
    device.close().await?;
    println!("  closed in                           {:8.1} s", began.elapsed().as_secs_f64());
    again(home.path(), WITHOUT_PROJECTION)?;
    again(home.path(), WITH_PROJECTION)
}

/// Nodes and edits, without a table beside them; and reads by id.
async fn write(home: &Path, nodes: usize, edits: usize) -> Done {
    let (device, workspace) = open(home, false).await?;
    let began = Instant::now();
    fill(&workspace, nodes).await?;
    println!("  made in batches of {BATCH}             {:8.0} nodes/s", nodes as f64 / began.elapsed().as_secs_f64());
    let (began, mut random) = (Instant::now(), Random::new(4));
    for start in (0..edits).step_by(BATCH) {
        let items = (start..edits.min(start + BATCH)).map(|_| BatchItem::Update { id: id(random.below(nodes)), update: edit(&mut random) });
        batch(&workspace, items.collect()).await?;
    }
    if edits > 0 {
        println!("  edited in batches of {BATCH}           {:8.0} edits/s", edits as f64 / began.elapsed().as_secs_f64());
    }
    let ids: Vec<String> = (0..nodes).map(id).collect();
    println!("  get by id       {}", reads(&workspace, &ids).await?.line());
    let began = Instant::now();
    device.close().await?;
    println!("  closed in                           {:8.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

async fn embed(workspace: &Workspace, nodes: usize) -> Done {
    let (began, mut random) = (Instant::now(), Random::new(5));
    for start in (0..nodes).step_by(BATCH) {
        let items = (start..nodes.min(start + BATCH)).map(|number| BatchItem::Embed {
            id: id(number),
            model: MODEL.to_owned(),
            embedding: PutEmbedding { vector: random.unit_vector(DIMENSION) },
        });
        batch(workspace, items.collect()).await?;
    }
    println!("  vectors put in batches of {BATCH}      {:8.0} vectors/s", nodes as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// Searches of each kind, in turns.
async fn search(workspace: &Workspace) -> Done {
    let mut random = Random::new(6);
    let mut times = [Times::default(), Times::default(), Times::default(), Times::default()];
    let mut hits = [0; 4];
    for _ in 0..SEARCHES {
        let (one, two) = (random.word(), format!("{} {}", random.word(), random.word()));
        let vector = Some(random.unit_vector(DIMENSION));
        let requests = [
            SearchRequest { text: Some(one), ..SearchRequest::default() },
            SearchRequest { text: Some(two.clone()), ..SearchRequest::default() },
            SearchRequest { vector: vector.clone(), ..SearchRequest::default() },
            SearchRequest { text: Some(two), vector, ..SearchRequest::default() },
        ];
        for (kind, request) in requests.into_iter().enumerate() {
            let began = Instant::now();
            hits[kind] += workspace.search(request).await?.hits.len();
            times[kind].push(began.elapsed());
        }
    }
    for (kind, name) in ["one word", "two words", "a vector", "words, vector"].iter().enumerate() {
        println!("  search {name:13} {}, {:.0} hits each", times[kind].line(), hits[kind] as f64 / SEARCHES as f64);
    }
    Ok(())
}

/// In a process of its own: the memory of this one says nothing about opening.
fn again(home: &Path, projection: &str) -> Done {
    let status = Command::new(std::env::current_exe()?).arg(OPEN).arg(home).arg(projection).status()?;
    if status.success() { Ok(()) } else { Err("opening the home in another process failed".into()) }
}

/// The other process: opens, and looks at its memory.
pub(crate) async fn open_again(home: &Path, projection: bool) -> Done {
    let began = Instant::now();
    let device = Device::open(OpenOptions { projection, ..OpenOptions::new(home) }).await?;
    let workspace = device.workspace(None)?;
    println!("  opened by another process in        {:8.1} ms; {}", began.elapsed().as_secs_f64() * 1e3, memory());
    if projection {
        device.start().await;
        let status = shown(&workspace).await?;
        println!(
            "    {} rows in the table after        {:8.1} ms; {}",
            status.projection.rows,
            began.elapsed().as_secs_f64() * 1e3,
            memory()
        );
    }
    tokio::time::sleep(REST).await;
    println!("    {} s later                                     {}", REST.as_secs(), memory());
    device.close().await?;
    Ok(())
}
