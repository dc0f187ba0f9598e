//! Importing Markdown: into the journal, then into the table, then read by id.

use std::path::{Path, PathBuf};
use std::time::Instant;

use nodespace_node::engine::Workspace;
use nodespace_node::import::markdown_files;
use nodespace_node::model::{ImportDocument, ImportRequest};

use crate::support::{Done, Random, Times, create, open, shown};

/// How often the import is made, each time into a new home.
const ROUNDS: usize = 3;

/// Reads by id.
const READS: usize = 10_000;

/// The book where it is present, else the corpus of the repository.
fn folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("NODESPACE_DATA").map_or_else(|| manifest.join("../../shared/data"), PathBuf::from);
    let book = data.join("rust-book");
    if book.is_dir() { book } else { manifest.join("../testnet/corpus") }
}

fn documents(folder: &Path) -> Done<Vec<ImportDocument>> {
    let read = |path: &PathBuf| -> Done<ImportDocument> {
        let relative = path.strip_prefix(folder)?.to_string_lossy().into_owned();
        Ok(ImportDocument { path: relative, markdown: std::fs::read_to_string(path)? })
    };
    markdown_files(folder)?.iter().map(read).collect()
}

pub(crate) async fn corpus() -> Done {
    let folder = folder();
    let documents = documents(&folder)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    println!("\nimport of {name}, {} files, projection on", documents.len());
    for round in 0..ROUNDS {
        let home = tempfile::tempdir()?;
        create(home.path())?;
        let (device, workspace) = open(home.path(), true).await?;
        shown(&workspace).await?;
        let request = ImportRequest { documents: documents.clone(), under: None };
        let began = Instant::now();
        let report = workspace.import(None, request, |_| {}).await?;
        let imported = began.elapsed();
        let began = Instant::now();
        let rows = shown(&workspace).await?.projection.rows;
        let visible = began.elapsed();
        let rate = report.counts.created as f64 / imported.as_secs_f64();
        println!(
            "  {:6} nodes in {:6.3} s = {rate:8.0} nodes/s; all {rows} rows in the table {:6.3} s later",
            report.counts.created,
            imported.as_secs_f64(),
            visible.as_secs_f64(),
        );
        if round + 1 == ROUNDS {
            let ids = workspace.read(|replica| replica.node_ids()).await?;
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            println!("  get by id       {}", reads(&workspace, &ids).await?.line());
        }
        device.close().await?;
    }
    Ok(())
}

/// Reads nodes by id, each as likely.
pub(crate) async fn reads(workspace: &Workspace, ids: &[String]) -> Done<Times> {
    let (mut random, mut times) = (Random::new(3), Times::default());
    for _ in 0..READS {
        let id = &ids[random.below(ids.len())];
        let began = Instant::now();
        workspace.node(id).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}
