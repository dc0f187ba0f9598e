//! Where the fuzzers start: the golden vectors, and what they do not cover.

use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::ids::unhex;
use nodespace_protocol::op::Segment;
use nodespace_protocol::session::Message;

/// The bytes of the cases in one file of golden vectors. A file that cannot be read is no seed.
fn cases(file: &str) -> Vec<Vec<u8>> {
    let file: serde_json::Value = serde_json::from_str(file).unwrap_or_default();
    let cases = file["cases"].as_array().cloned().unwrap_or_default();
    cases.iter().filter_map(|case| unhex(case["bytes"].as_str()?)).collect()
}

macro_rules! vectors {
    ($($name:ident = $file:literal: $doc:literal),+ $(,)?) => {
        $(
            #[doc = $doc]
            pub fn $name() -> Vec<Vec<u8>> {
                cases(include_str!(concat!("../../tests/vectors/", $file, ".json")))
            }
        )+
    };
}

vectors! {
    headers = "header": "Headers of operations.",
    payloads = "payload": "Payloads of operations on nodes.",
    actions = "action": "Payloads of operations on the workspace.",
    segments = "segment": "Segments.",
    runs = "run": "Segments of one small workspace.",
    tickets = "ticket": "Texts of tickets.",
    device_tickets = "device_ticket": "Texts of device tickets.",
    vectors = "vector": "Quantised vectors.",
    deltas = "delta": "JSON texts of content deltas.",
}

/// Session messages; also a frame of segments large enough to be compressed.
pub fn messages() -> Vec<Vec<u8>> {
    let mut messages = cases(include_str!("../../tests/vectors/session.json"));
    let segments = runs().iter().filter_map(|bytes| Segment::decode(bytes).ok()).collect();
    messages.push(Message::Segments(segments).encode());
    messages
}

/// Frames of gzip.
pub fn gzip() -> Vec<Vec<u8>> {
    compressed(CompressionType::Gzip)
}

/// Frames of zstd.
pub fn zstd() -> Vec<Vec<u8>> {
    compressed(CompressionType::Zstd)
}

fn compressed(compression: CompressionType) -> Vec<Vec<u8>> {
    let plain = [Vec::new(), b"hello, hello, hello".to_vec(), vec![0; 100_000], runs().concat()];
    plain.iter().filter_map(|bytes| compress(bytes, compression).ok()).collect()
}

/// Editing traces and conformance histories.
pub fn traces() -> Vec<Vec<u8>> {
    let trace = br#"{"startContent":"ab","endContent":"axb","txns":[{"parents":[],"agent":0,"patches":[[1,0,"x"]]},{"parents":[0],"agent":1,"patches":[[0,1,""],[0,0,"a"]]}]}"#;
    let histories = br#"[{"endContent":"xy","txns":[{"span":[0,1],"parents":[],"agent":"a","seqStart":0,"ops":[[0,0,"x"]]},{"span":[1,2],"parents":[0],"agent":"b","seqStart":0,"ops":[[1,0,"y"]]}]}]"#;
    vec![trace.to_vec(), histories.to_vec()]
}

/// Several segments behind one another, each with its length before it, as the target `resigned` reads them.
pub fn scripts() -> Vec<Vec<u8>> {
    let framed = |segment: &Vec<u8>| [&(segment.len() as u16).to_le_bytes()[..], segment].concat();
    let segments: Vec<Vec<u8>> = segments().iter().chain(&runs()).map(framed).collect();
    let mut scripts = segments.clone();
    scripts.extend(segments.windows(3).map(<[Vec<u8>]>::concat));
    scripts.push(segments.concat());
    scripts
}

/// Packets of the documented view.
pub fn packets() -> Vec<Vec<u8>> {
    crate::packet::seeds()
}

/// Checkpoints of a small workspace.
pub fn checkpoints() -> Vec<Vec<u8>> {
    crate::checkpoint::seeds()
}
