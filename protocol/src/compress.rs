//! Compression of packets and segments, and its undoing within bounds.
//!
//! What arrives compressed was written by somebody else. A few kilobytes can announce, or really hold, gigabytes, so
//! [`decompress`] believes nothing: it checks the encoded size before it looks inside, decodes in chunks of 64 KiB, stops at the
//! first byte past the bound, and never reserves memory for a size that the data only declares. It takes exactly one frame (one
//! gzip member): bytes behind it are an error, since two readers could disagree about them.
//!
//! Formats: gzip (RFC 1952), Zstandard (RFC 8878). Document: `CompressionType`, "Sync Protocol".
//!
//! Compressed bytes differ between releases of the libraries. They are never hashed or signed: what is inside is.

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::{DParameter, get_frame_content_size};

#[cfg(test)]
mod tests;

/// A packet of more operations than this is compressed.
pub const COMPRESS_ABOVE_OPERATIONS: usize = 10;

/// The level for zstd. The lowest regular one: segments are small, made on the fly and read once, and on such data the higher
/// levels take several times as long for a few per cent.
pub const ZSTD_LEVEL: i32 = 1;

/// The level for gzip: zlib's default.
pub const GZIP_LEVEL: u32 = 6;

/// The largest window a zstd frame may ask for, as a power of two: 8 MiB, what RFC 8878 asks every decoder to support. A frame that
/// wants more is refused before any of it is decoded. Ours ask for at most 512 KiB.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Up to this many decoded bytes no ratio is asked for: a small packet of equal operations may shrink a lot, and costs nothing to
/// decode.
pub const RATIO_FREE_BYTES: usize = 64 << 10;

/// How many bytes are decoded at a time: a decoder may pass its bound by this much before it is stopped.
const CHUNK_BYTES: usize = 64 << 10;

/// The first bytes of a zstd frame (RFC 8878, section 3.1.1). Skippable frames begin otherwise, and are refused.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How the operations of a packet are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum CompressionType {
    /// Not at all.
    #[default]
    None,
    /// One gzip member.
    Gzip,
    /// One zstd frame.
    Zstd,
}

impl CompressionType {
    /// The document's rule: compress above [`COMPRESS_ABOVE_OPERATIONS`].
    #[must_use]
    pub const fn for_operations(count: usize) -> Self {
        if count > COMPRESS_ABOVE_OPERATIONS { Self::Zstd } else { Self::None }
    }
}

/// What a reader takes from a peer. Checked in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that may arrive.
    pub encoded_max: usize,
    /// The most bytes they may become.
    pub decoded_max: usize,
    /// The most decoded bytes for each encoded one. Does not apply to the first [`RATIO_FREE_BYTES`].
    pub ratio_max: usize,
}

impl Limits {
    /// The most bytes that so many encoded ones may become.
    #[must_use]
    pub const fn decoded_max_of(&self, encoded: usize) -> usize {
        let by_ratio = encoded.saturating_mul(self.ratio_max);
        let by_ratio = if by_ratio < RATIO_FREE_BYTES { RATIO_FREE_BYTES } else { by_ratio };
        if by_ratio < self.decoded_max { by_ratio } else { self.decoded_max }
    }

    /// The most bytes that these may become, without decoding any of them: what a zstd frame says of itself, if that is less than is allowed.
    /// It may lie, so whoever relies on this decodes with it as [`Self::decoded_max`].
    #[must_use]
    pub fn decoded_max_of_frame(&self, bytes: &[u8], compression: CompressionType) -> usize {
        let allowed = self.decoded_max_of(bytes.len());
        let said = match compression {
            CompressionType::None => return bytes.len().min(allowed),
            // It says so only at its end, and only the rest of a division.
            CompressionType::Gzip => None,
            CompressionType::Zstd => get_frame_content_size(bytes).ok().flatten(),
        };
        said.and_then(|said| usize::try_from(said).ok()).map_or(allowed, |said| said.min(allowed))
    }
}

/// The environment failed while compressing: out of memory, in practice.
#[derive(Debug, thiserror::Error)]
#[error("compressing {bytes} bytes failed")]
pub struct CompressError {
    /// How much there was to compress.
    pub bytes: usize,
    /// What the library says.
    #[source]
    pub source: io::Error,
}

/// Why bytes were not decompressed. All of it is the sender's doing.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// More bytes than [`Limits::encoded_max`].
    #[error("{encoded} encoded bytes, at most {max} are taken")]
    EncodedTooLarge {
        /// What arrived.
        encoded: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes hold more than the limits allow for their number; decoding was stopped there.
    #[error("{encoded} encoded bytes hold more than the allowed {max}")]
    DecodedTooLarge {
        /// What arrived.
        encoded: usize,
        /// What it might have become.
        max: usize,
    },
    /// The bytes end before the frame does.
    #[error("the compressed frame is cut off")]
    Truncated,
    /// The frame ends before the bytes do.
    #[error("{0} bytes behind the compressed frame")]
    TrailingBytes(usize),
    /// Not a frame of this type, or a damaged one.
    #[error("not a valid {compression:?} frame")]
    Invalid {
        /// What was expected.
        compression: CompressionType,
        /// What the library says.
        #[source]
        source: io::Error,
    },
}

/// Compresses bytes.
///
/// # Errors
/// When the library cannot get memory.
pub fn compress(bytes: &[u8], compression: CompressionType) -> Result<Vec<u8>, CompressError> {
    let failed = |source| CompressError { bytes: bytes.len(), source };
    match compression {
        CompressionType::None => Ok(bytes.to_vec()),
        CompressionType::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
            encoder.write_all(bytes).map_err(failed)?;
            encoder.finish().map_err(failed)
        }
        CompressionType::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(failed),
    }
}

/// Decompresses exactly one frame, within limits.
///
/// # Errors
/// When a limit is passed, or the bytes are not one whole frame.
pub fn decompress(bytes: &[u8], compression: CompressionType, limits: Limits) -> Result<Vec<u8>, DecompressError> {
    if bytes.len() > limits.encoded_max {
        return Err(DecompressError::EncodedTooLarge { encoded: bytes.len(), max: limits.encoded_max });
    }
    let mut decoded = Decoded { bytes: Vec::new(), encoded: bytes.len(), max: limits.decoded_max_of(bytes.len()) };
    match compression {
        CompressionType::None => decoded.push(bytes)?,
        CompressionType::Gzip => gunzip(bytes, &mut decoded)?,
        CompressionType::Zstd => unzstd(bytes, &mut decoded)?,
    }
    Ok(decoded.bytes)
}

/// Decoded bytes that never outgrow their bound.
struct Decoded {
    bytes: Vec<u8>,
    encoded: usize,
    max: usize,
}

impl Decoded {
    fn push(&mut self, chunk: &[u8]) -> Result<(), DecompressError> {
        let length = self.bytes.len() + chunk.len();
        if length > self.max {
            return Err(DecompressError::DecodedTooLarge { encoded: self.encoded, max: self.max });
        }
        if length > self.bytes.capacity() {
            // Doubling, as a vector would by itself, but not past the bound.
            let capacity = (2 * self.bytes.capacity()).clamp(length, self.max);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

fn gunzip(bytes: &[u8], decoded: &mut Decoded) -> Result<(), DecompressError> {
    let mut decoder = GzDecoder::new(bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match decoder.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => decoded.push(&chunk[..length])?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(DecompressError::Truncated),
            Err(source) => return Err(DecompressError::Invalid { compression: CompressionType::Gzip, source }),
        }
    }
    whole(decoder.into_inner().len())
}

fn unzstd(bytes: &[u8], decoded: &mut Decoded) -> Result<(), DecompressError> {
    let invalid = |source| DecompressError::Invalid { compression: CompressionType::Zstd, source };
    let magic = &bytes[..bytes.len().min(ZSTD_MAGIC.len())];
    if !ZSTD_MAGIC.starts_with(magic) {
        return Err(invalid(io::Error::new(io::ErrorKind::InvalidData, "no zstd magic number")));
    }
    let mut decoder = Decoder::new().map_err(invalid)?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(invalid)?;
    let mut input = InBuffer::around(bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut output = OutBuffer::around(chunk.as_mut_slice());
        // The hint is 0 when the frame is complete and everything of it was given out.
        let hint = decoder.run(&mut input, &mut output).map_err(invalid)?;
        let length = output.pos();
        decoded.push(&chunk[..length])?;
        if hint == 0 {
            return whole(bytes.len() - input.pos());
        }
        if length < CHUNK_BYTES && input.pos() == bytes.len() {
            return Err(DecompressError::Truncated);
        }
    }
}

fn whole(trailing: usize) -> Result<(), DecompressError> {
    if trailing == 0 { Ok(()) } else { Err(DecompressError::TrailingBytes(trailing)) }
}
