//! Tests of the text merge engine.
//!
//! Properties: (1) every conformance history gives its one right text; (2) every trace ends in its end text, whole or cut into
//! single edits; (3) any graph gives the text of a slow, obvious model, in any order of arrival and any batching, with the tracker
//! dropped at any time; (4) so do checkouts, void verdicts and overlap verdicts; (5) nothing panics on edits that do not fit.

mod conformance;
mod crowd;
mod model;
mod model_graph;
mod parts;
mod random;
mod touching;
mod traces;

use std::io::Read as _;
use std::path::PathBuf;

use super::{EventIndex, GapBuffer, TextMerge};

/// A file of the shared data, unpacked. `None`, and a line that says so, when the data is not there.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "tests may read their data and say that it is missing")]
fn data(name: &str) -> Option<Vec<u8>> {
    let folder =
        std::env::var("NODESPACE_DATA").map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = folder.join("traces").join(name);
    let Ok(packed) = std::fs::read(&path) else {
        eprintln!("skipped: no {} (set NODESPACE_DATA to the folder of the test data)", path.display());
        return None;
    };
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).expect("the data is gzip");
    Some(unpacked)
}

fn events(indices: &[u32]) -> Vec<EventIndex> {
    indices.iter().map(|index| EventIndex(*index)).collect()
}

/// Merges and returns the text.
fn merged<K: Ord + Clone>(merge: &mut TextMerge<K>, base: &str) -> String {
    let mut text = GapBuffer::from(base);
    merge.merge(&mut text);
    assert_eq!(text.len(), merge.len() as usize);
    text.to_string()
}
