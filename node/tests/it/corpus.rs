//! Real documents: the small corpus of the repository always, the large one where it is present.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nodespace_node::import::markdown::parse;
use nodespace_node::import::{Outline, import_file, import_folder, markdown_files};

use crate::words;

/// Reads a folder and holds every document to: something in it, no word lost, and the export reads back as the same tree.
fn check(folder: &Path) -> Vec<Outline> {
    for path in markdown_files(folder).unwrap() {
        let source = fs::read_to_string(&path).unwrap();
        let document = import_file(&path).unwrap();
        assert!(document.nodes.len() > 1, "{} has no nodes", path.display());
        let exported = document.to_markdown();
        assert_eq!(words::counts(&exported), words::counts(&source), "{} lost or doubled words", path.display());
        let again = parse(document.title(), &exported);
        let shape = |outline: &Outline| -> Vec<_> {
            outline.nodes.iter().map(|node| (node.kind.clone(), node.content.clone(), node.parent)).collect()
        };
        assert_eq!(shape(&again), shape(&document), "the export of {} reads back otherwise", path.display());
    }
    import_folder(folder).unwrap()
}

#[test]
fn the_small_corpus_imports_whole() {
    let outlines = check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testnet/corpus"));
    assert_eq!(outlines.len(), 6);
    let deepest = outlines.iter().flat_map(Outline::depths).max().unwrap();
    assert!(deepest >= 5, "the corpus should nest, but its deepest node stands at {deepest}");
}

#[test]
fn the_book_imports_whole() {
    let data =
        std::env::var_os("NODESPACE_DATA").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = data.join("rust-book/src");
    if !folder.is_dir() {
        writeln!(std::io::stderr(), "skipped: there is no {} (set NODESPACE_DATA)", folder.display()).unwrap();
        return;
    }
    let outlines = check(&folder);
    assert_eq!(outlines.len(), 97);
    assert!(outlines.iter().map(|outline| outline.nodes.len()).sum::<usize>() > 5_000);
}
