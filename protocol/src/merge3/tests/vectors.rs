//! The golden vectors: what version 1 answers, for ever.

use serde::Deserialize;

use super::*;

const VECTORS: &str = include_str!("../../../tests/vectors/merge3.json");

#[derive(Deserialize)]
struct Vectors {
    version: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    base: String,
    left: String,
    right: String,
    granularity: Granularity,
    result: Merge3,
}

#[test]
fn golden_vectors_hold() {
    let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.version, MERGE3_VERSION, "other results need another version and their own vectors");
    for Case { name, base, left, right, granularity, result } in vectors.cases {
        assert_eq!(merge3(&base, &left, &right, granularity), result, "{name}");
    }
}
