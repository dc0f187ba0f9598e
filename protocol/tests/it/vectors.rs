//! Golden vectors: the bytes of every wire form, in `tests/vectors/*.json`, for this implementation and for those in other languages.
//!
//! A file holds cases: a name, the bytes in hex, and facts about them (hashes, ids, digests). For every case
//!
//! 1. the values built here encode to the bytes in the file, and the facts hold;
//! 2. the bytes in the file decode, and what was decoded encodes to the same bytes.
//!
//! `NODESPACE_BLESS=1 cargo test -p nodespace-protocol --test it` writes the files anew. A file that changes is a change of the
//! protocol: two programs that disagree about it cannot sync. It needs a new version number in the form concerned and a line in
//! `CHANGELOG.md`. New cases are welcome at any time.

mod digest;
mod header;
mod membership;
mod payload;
mod segment;
mod session;
mod small;

use std::collections::BTreeMap;
use std::path::PathBuf;

use nodespace_protocol::ids::{hex, unhex};
use serde::{Deserialize, Serialize};

/// One vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    name: String,
    /// In hex.
    bytes: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct File {
    /// What the bytes are, for readers.
    about: String,
    /// The version of the form.
    version: u32,
    cases: Vec<Case>,
}

impl Case {
    fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), bytes: hex(bytes), facts: BTreeMap::new() }
    }

    fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }
}

/// The version of all forms, until one of them gets its own.
const VERSION: u32 = 1;

/// Compares the cases built here with the file `name`, and hands every case's bytes in the file to `again`, which decodes and
/// encodes them.
fn check(name: &str, about: &str, cases: Vec<Case>, again: impl Fn(&Case, &[u8]) -> Vec<u8>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(format!("{name}.json"));
    if blessed() {
        write(&path, &File { about: about.to_owned(), version: VERSION, cases: cases.clone() });
    }
    let file = read(&path);
    assert_eq!(file.version, VERSION, "{name}: vectors of another version");
    for case in &file.cases {
        let bytes = unhex(&case.bytes).unwrap_or_else(|| panic!("{name}, {}: the bytes are not hex", case.name));
        assert_eq!(hex(&again(case, &bytes)), case.bytes, "{name}, {}: what was decoded encodes differently", case.name);
    }
    for (ours, theirs) in cases.iter().zip(&file.cases) {
        assert_eq!(ours, theirs, "{name}: what is encoded here is not what the file has");
    }
    assert_eq!(cases.len(), file.cases.len(), "{name}: number of cases");
}

#[expect(clippy::disallowed_methods, reason = "tests may be told by the environment to write the vectors anew")]
fn blessed() -> bool {
    std::env::var("NODESPACE_BLESS").is_ok_and(|value| value == "1")
}

#[expect(clippy::disallowed_methods, reason = "vectors are files")]
fn write(path: &PathBuf, file: &File) {
    let mut text = serde_json::to_string_pretty(file).unwrap();
    text.push('\n');
    std::fs::write(path, text).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "vectors are files")]
fn read(path: &PathBuf) -> File {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}
