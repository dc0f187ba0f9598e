//! From the bytes of a body to what they say, in no more memory than there is.

use axum::body::Bytes;
use nodespace_protocol::compress::{CompressionType, Limits, decompress};
use nodespace_protocol::view::encoding::{self, PacketError};
use nodespace_protocol::view::{Encoding, Framing};
use serde::de::DeserializeOwned;

use super::Share;
use crate::refusal::Refusal;

/// About what a value takes, a number say, beside the bytes of texts.
const VALUE_BYTES: u64 = 64;

/// Decompresses and parses a body. Its share takes before each step what that may need, and is left at what was needed last: whoever knows
/// what is kept sets it to that.
///
/// What could need more than there is for all large ones has to be the only one of them.
pub(crate) fn unfold<T: DeserializeOwned>(bytes: Bytes, limits: Limits, share: &mut Share) -> Result<(T, Framing), Refusal> {
    let compression = Framing::detect_compression(&bytes);
    let text = match compression {
        CompressionType::None if bytes.len() <= limits.encoded_max => bytes,
        _ => {
            let decoded_max = limits.decoded_max_of_frame(&bytes, compression);
            share.grow_to((bytes.len() as u64 + decoded_max as u64).min(share.bytes_max()))?;
            let text = decompress(&bytes, compression, Limits { decoded_max, ..limits });
            drop(bytes);
            Bytes::from(text.map_err(|error| Refusal::from(&PacketError::from(error)))?)
        }
    };
    let encoding = Encoding::detect(&text).map_err(|error| Refusal::from(&error))?;
    let values = encoding::scan(&text, encoding).map_err(|error| Refusal::from(&error))?;
    // The text, and once more in pieces.
    share.set_to((2 * text.len() as u64 + VALUE_BYTES * values as u64).min(share.bytes_max()))?;
    let value = encoding::parse_scanned(&text, encoding).map_err(|error| Refusal::from(&error))?;
    Ok((value, Framing { encoding, compression }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use nodespace_protocol::compress::compress;
    use serde_json::Value;

    use super::super::Memory;
    use super::*;
    use crate::config::ServerConfig;

    const LIMITS: Limits = Limits { encoded_max: 8 << 20, decoded_max: 32 << 20, ratio_max: 128 };
    /// What there is for large ones of the least memory.
    const LARGE_BYTES: u64 = 48 << 20;

    /// A memory that has so many bytes left for large ones, and the share of who has the others.
    fn memory(left: u64) -> (Memory, Share) {
        let memory = Memory::new(&ServerConfig { bodies_mib: 0, ..ServerConfig::default() });
        let mut others = memory.share();
        others.grow_to(LARGE_BYTES - left).unwrap();
        (memory, others)
    }

    /// JSON of so many bytes, which shrink to about an eighth.
    fn json(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length / 8];
        getrandom::fill(&mut bytes).unwrap();
        let mut text = nodespace_protocol::ids::hex(&bytes);
        text.extend(std::iter::repeat_n('x', length - text.len() - br#"{"x":""}"#.len()));
        format!("{{\"x\":\"{text}\"}}").into_bytes()
    }

    /// A zstd frame that does not say how much it holds.
    fn silent(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unfolded(bytes: Vec<u8>, share: &mut Share) -> Result<Framing, &'static str> {
        let unfolded = unfold::<Value>(Bytes::from(bytes), LIMITS, share);
        unfolded.map(|(_, framing)| framing).map_err(|refusal| refusal.code)
    }

    #[test]
    fn what_may_be_decoded_is_there_before_it_is() {
        let text = json(4 << 20);
        // No JSON, and nobody comes to see that.
        let garbage = vec![b'x'; text.len()];
        let said = compress(&text, CompressionType::Zstd).unwrap();
        for (bytes, least) in [
            (said.clone(), text.len() as u64),
            (compress(&garbage, CompressionType::Zstd).unwrap(), 64 << 10),
            (compress(&text, CompressionType::Gzip).unwrap(), 32 << 20),
            (silent(&text), 32 << 20),
        ] {
            let (memory, others) = memory(least);
            let before = memory.held();
            assert_eq!(unfolded(bytes, &mut memory.share()), Err("relay_busy"), "{least}");
            assert_eq!(memory.held(), before, "it is given back");
            drop(others);
        }
        // Twice the text, and hardly more: what a frame says of itself counts, not how much it could hold.
        let (memory, _others) = memory(9 << 20);
        let mut share = memory.share();
        assert_eq!(unfolded(said, &mut share).unwrap().compression, CompressionType::Zstd);
        assert_eq!(share.bytes / (1 << 20), 8);
    }

    #[test]
    fn a_frame_that_says_too_little_of_itself_is_refused() {
        let mut frame = compress(&json(1 << 20), CompressionType::Zstd).unwrap();
        let at = frame.windows(4).take(16).position(|four| four == (1_u32 << 20).to_le_bytes()).unwrap();
        frame[at..at + 4].copy_from_slice(&100_000_u32.to_le_bytes());
        let (memory, _others) = memory(512 << 10);
        assert!(matches!(unfolded(frame, &mut memory.share()), Err("packet_too_large" | "malformed_compression")));
    }

    #[test]
    fn values_count_by_what_they_take() {
        let numbers = format!("{{\"x\":[0{}]}}", ",0".repeat(100_000)).into_bytes();
        let (memory, others) = memory(1 << 20);
        assert_eq!(unfolded(numbers.clone(), &mut memory.share()), Err("relay_busy"));
        drop(others);
        let mut share = memory.share();
        unfolded(numbers.clone(), &mut share).unwrap();
        assert_eq!(share.bytes, 2 * numbers.len() as u64 + 64 * 100_004);
        assert_eq!(memory.held(), share.bytes);
    }

    #[test]
    fn what_needs_more_than_there_is_has_to_be_alone() {
        let numbers = format!("{{\"x\":[0{}]}}", ",0".repeat(1 << 20)).into_bytes();
        let (memory, others) = memory(LARGE_BYTES - 1);
        assert_eq!(unfolded(numbers.clone(), &mut memory.share()), Err("relay_busy"));
        drop(others);
        let mut share = memory.share();
        unfolded(numbers, &mut share).unwrap();
        assert_eq!(share.bytes, LARGE_BYTES);
    }
}
