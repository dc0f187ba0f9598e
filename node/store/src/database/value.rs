//! A value with its checksum, compressed where that pays.
//!
//! ```text
//! checksum u32 over the key and what follows | length before compression u32, 0 = not compressed | bytes
//! ```

use zstd::bulk::{Compressor, Decompressor};

use super::Failure;

/// Smaller values are kept as they are.
const COMPRESS_BYTES_MIN: usize = 512;
/// The most bytes a value may say that it decompresses to.
const VALUE_BYTES_MAX: u32 = 1 << 30;
const HEADER_BYTES: usize = 8;

/// Makes stored values.
pub(crate) struct Packer(Option<Compressor<'static>>);

impl Packer {
    pub(crate) fn new() -> Self {
        Self(Compressor::new(1).ok())
    }

    /// The stored form of a value. Compressed when that saves an eighth.
    pub(crate) fn pack(&mut self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let compressor = self.0.as_mut().filter(|_| (COMPRESS_BYTES_MIN..VALUE_BYTES_MAX as usize).contains(&bytes.len()));
        let compressed = compressor.and_then(|compressor| compressor.compress(bytes).ok());
        let compressed = compressed.filter(|compressed| compressed.len() < bytes.len() - bytes.len() / 8);
        let (stored, raw_len) = compressed.as_deref().map_or((bytes, 0), |compressed| (compressed, bytes.len() as u32));
        let mut out = vec![0; HEADER_BYTES];
        out[4..8].copy_from_slice(&raw_len.to_le_bytes());
        out.extend_from_slice(stored);
        let crc = checksum(key, &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// Reads stored values.
#[derive(Default)]
pub(crate) struct Unpacker(Option<Decompressor<'static>>);

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The value of a stored form.
    pub(crate) fn unpack(&mut self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, Failure> {
        let short = || Failure::Damaged("a value is shorter than its header");
        let (crc, rest) = stored.split_first_chunk::<4>().ok_or_else(short)?;
        if u32::from_le_bytes(*crc) != checksum(key, rest) {
            return Err(Failure::Damaged("the checksum of a value does not fit"));
        }
        let (raw_len, bytes) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        match u32::from_le_bytes(*raw_len) {
            0 => Ok(bytes.to_vec()),
            len if len <= VALUE_BYTES_MAX => self.decompress(bytes, len as usize),
            _ => Err(Failure::Damaged("a value has a length that is never written")),
        }
    }

    fn decompress(&mut self, bytes: &[u8], len: usize) -> Result<Vec<u8>, Failure> {
        if self.0.is_none() {
            self.0 = Some(Decompressor::new().map_err(redb::Error::Io)?);
        }
        let decompressed = self.0.as_mut().and_then(|decompressor| decompressor.decompress(bytes, len).ok());
        decompressed.filter(|raw| raw.len() == len).ok_or(Failure::Damaged("a value cannot be decompressed"))
    }
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_damage_is_seen() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        for bytes in [vec![], vec![7], vec![7; 10_000], (0..9999_u32).map(|at| ((at * at) >> 7) as u8).collect()] {
            let stored = packer.pack(b"key", &bytes);
            assert_eq!(unpacker.unpack(b"key", &stored).ok(), Some(bytes.clone()));
            assert!(unpacker.unpack(b"other", &stored).is_err(), "a value under another key");
            for at in 0..stored.len().min(40) {
                let mut damaged = stored.clone();
                damaged[at] ^= 1;
                assert!(unpacker.unpack(b"key", &damaged).is_err(), "byte {at} changed");
            }
        }
    }
}
