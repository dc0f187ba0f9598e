//! Small messages between devices, beside sessions, and what is noted about them: in CBOR.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deep a message may nest: a list of lists of pairs, and room to grow.
const DEPTH_MAX: usize = 8;

/// A message as bytes.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    ciborium::into_writer(value, &mut bytes).unwrap_or_default();
    bytes
}

/// A message from bytes; `None` when they are not one.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX).ok()
}
