//! Walking a folder, and what is said of files that cannot be read.

use std::fs;
use std::path::PathBuf;

use nodespace_node::import::{FILE_BYTES_MAX, ImportError, import_file, import_folder, markdown_files};

/// A fresh folder of this test's own, below the target folder.
fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("folder-{name}-{}", std::process::id()));
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_come_in_the_order_of_their_names() {
    let folder = scratch("order");
    fs::create_dir_all(folder.join("b")).unwrap();
    fs::create_dir_all(folder.join(".hidden")).unwrap();
    for name in ["c.md", "a.MD", "b/two.markdown", "b/one.md", ".hidden/x.md", ".y.md", "picture.png"] {
        fs::write(folder.join(name), "text").unwrap();
    }
    let found: Vec<_> = markdown_files(&folder).unwrap().iter().map(|path| path.strip_prefix(&folder).unwrap().to_path_buf()).collect();
    assert_eq!(found, ["a.MD", "b/one.md", "b/two.markdown", "c.md"].map(PathBuf::from));
    let titles: Vec<_> = import_folder(&folder).unwrap().iter().map(|outline| outline.title().to_owned()).collect();
    assert_eq!(titles, ["a", "one", "two", "c"]);
    fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_to_the_folder_itself_is_not_followed() {
    let folder = scratch("circle");
    fs::write(folder.join("a.md"), "text").unwrap();
    std::os::unix::fs::symlink(&folder, folder.join("again")).unwrap();
    assert_eq!(markdown_files(&folder).unwrap().len(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_is_not_utf8_is_named_with_the_place() {
    let folder = scratch("utf8");
    let path = folder.join("latin.md");
    fs::write(&path, b"caf\xe9").unwrap();
    let error = import_folder(&folder).unwrap_err();
    assert!(matches!(&error, ImportError::NotUtf8 { path: named, source } if *named == path && source.valid_up_to() == 3));
    assert_eq!(error.to_string(), format!("{} is not UTF-8: it is valid up to byte 3", path.display()));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = scratch("large");
    let path = folder.join("large.md");
    fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(import_file(&path).unwrap_err(), ImportError::TooLarge { path: named } if named == path));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_missing_folder_is_named() {
    let path = PathBuf::from("no/such/folder");
    assert!(matches!(import_folder(&path).unwrap_err(), ImportError::Read { path: named, .. } if named == path));
}
