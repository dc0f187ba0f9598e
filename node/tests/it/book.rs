//! A whole book into a workspace and out again, where the book is present; the small corpus always.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nodespace_node::export::{MarkdownExport, MarkdownFile, Walk};
use nodespace_node::import::job::STEP_NODES_DEFAULT;
use nodespace_node::import::{Import, Step, markdown_files};
use nodespace_node::model::{ImportDocument, ImportReport, ImportRequest};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::replica::{Author, Founding, Replica};
use nodespace_protocol::store::MemoryStore;

struct Device {
    replica: Replica<MemoryStore>,
    records: BTreeMap<String, Vec<u8>>,
    clock_ms: u64,
}

impl Device {
    fn new() -> Self {
        let key = KeyPair::from_seed(&[1; 32]);
        let certificate = Certificate::issue(&KeyPair::from_seed(&[101; 32]), key.device());
        let founding = Founding { name: "book".into(), policy: Policy::default(), secret: [9; 32] };
        let author = Author { key, epoch: 1 };
        let replica = Replica::found(MemoryStore::new(), author, certificate, founding, Timestamp::from_ms(1)).unwrap();
        Self { replica, records: BTreeMap::new(), clock_ms: 1 }
    }

    fn import(&mut self, documents: Vec<ImportDocument>) -> ImportReport {
        let mut import = Import::new(ImportRequest { documents, under: None }).unwrap();
        loop {
            self.clock_ms += 1;
            let (records, now) = (self.records.clone(), Timestamp::from_ms(self.clock_ms));
            let step = import.step(&mut self.replica, &move |_, key| Ok(records.get(key).cloned()), now, STEP_NODES_DEFAULT).unwrap();
            self.records.extend(import.take_records());
            if step == Step::Done {
                return import.report();
            }
        }
    }

    fn export(&self) -> Vec<MarkdownFile> {
        let mut walk = Walk::begin(&self.replica, None, false).unwrap();
        let (mut export, mut files) = (MarkdownExport::new(), Vec::new());
        while let Some(page) = walk.page(&self.replica, 300).unwrap() {
            files.extend(page.into_iter().filter_map(|node| export.push(node)));
        }
        files.extend(export.finish());
        files
    }
}

fn documents(folder: &Path) -> Vec<ImportDocument> {
    let document = |path: PathBuf| ImportDocument {
        path: format!("corpus/{}", path.strip_prefix(folder).unwrap().display()),
        markdown: fs::read_to_string(&path).unwrap(),
    };
    markdown_files(folder).unwrap().into_iter().map(document).collect()
}

/// In, in again, out, and into another device: nothing is written twice, and the same files come out of both.
fn check(folder: &Path) -> ImportReport {
    let mut device = Device::new();
    let documents = documents(folder);
    let started = Instant::now();
    let report = device.import(documents.clone());
    let rate = report.counts.created as f64 / started.elapsed().as_secs_f64();
    writeln!(std::io::stderr(), "{} nodes of {} files, {rate:.0} nodes a second", report.counts.created, report.documents)
        .expect("standard error is open");
    assert_eq!((report.failed, report.documents), (0, documents.len() as u64));
    assert_eq!(report.operations, report.counts.created);
    let again = device.import(documents.clone());
    assert_eq!((again.operations, again.counts.unchanged), (0, report.counts.created));
    device.records.clear();
    assert_eq!(device.import(documents.clone()).operations, 0);
    let files = device.export();
    assert_eq!(
        files.iter().map(|file| &file.path).collect::<Vec<_>>(),
        documents.iter().map(|document| &document.path).collect::<Vec<_>>()
    );
    let mut other = Device::new();
    let exported = files.iter().map(|file| ImportDocument { path: file.path.clone(), markdown: file.markdown.clone() });
    other.import(exported.collect());
    assert_eq!(other.replica.node_ids(), device.replica.node_ids());
    assert_eq!(other.export(), files);
    report
}

#[test]
fn the_small_corpus_comes_out_as_it_went_in() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testnet/corpus"));
}

#[test]
fn the_book_comes_out_as_it_went_in() {
    let data =
        std::env::var_os("NODESPACE_DATA").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = data.join("rust-book/src");
    if !folder.is_dir() {
        writeln!(std::io::stderr(), "skipped: there is no {} (set NODESPACE_DATA)", folder.display()).expect("standard error is open");
        return;
    }
    assert!(check(&folder).counts.created > 5_000);
}
