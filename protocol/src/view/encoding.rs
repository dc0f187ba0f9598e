//! Packets as bytes: JSON or CBOR, uncompressed, gzip or zstd, read within bounds.
//!
//! There is no envelope. As in HTTP, the content type says the encoding and the content encoding the compression; and since
//! the first bytes of the five forms differ, a file says it by itself ([`decode_any`]).
//!
//! Reading goes from cheap to dear, and nothing is allocated by a length that the data only declares:
//!
//! 1. the size as it arrived, then decompression within [`Limits`];
//! 2. one pass over the bytes that counts values (a byte of CBOR can become a value of 32 bytes) and refuses numbers that JSON
//!    does not have;
//! 3. the parser, with a bound on nesting, then on each list;
//! 4. nothing may follow the value.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compress::{CompressError, CompressionType, DecompressError, Limits, compress, decompress};
use crate::wire::DEPTH_MAX;

/// The most bytes of a packet as it travels, by default. A sender with more to say sends another packet.
pub const PACKET_ENCODED_BYTES_MAX: usize = 8 << 20;
/// The most bytes of a packet once decompressed, by default. Room for an operation of the hard cap in JSON, escaped, several times.
pub const PACKET_DECODED_BYTES_MAX: usize = 32 << 20;
/// The most decompressed bytes for each that arrived. Views of typing shrink 10- to 20-fold, bare segments of much the same edits
/// 40-fold. A sender whose packet is refused for shrinking too well sends it uncompressed.
pub const PACKET_RATIO_MAX: usize = 128;
/// The most values (numbers, texts, members, elements) in a packet. With what a value takes in memory this bounds a packet to some
/// 128 MiB. One operation of the largest size cannot reach it, so a sender that does can send less at a time.
pub const PACKET_VALUES_MAX: usize = 2 << 20;
/// The deepest nesting of a packet in CBOR: a JSON value of the deepest allowed kind, inside a view, inside a packet, with
/// room for what newer programs may add. (The JSON reader has its own bound of 128; values inside views are checked in both.)
pub const PACKET_DEPTH_MAX: usize = DEPTH_MAX + 16;

/// What a relay or device takes unless it was told otherwise.
pub const PACKET_LIMITS: Limits =
    Limits { encoded_max: PACKET_ENCODED_BYTES_MAX, decoded_max: PACKET_DECODED_BYTES_MAX, ratio_max: PACKET_RATIO_MAX };

/// How a packet is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/cbor` (RFC 8949).
    Cbor,
}

/// How a packet is written and compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Inside.
    pub encoding: Encoding,
    /// Outside.
    pub compression: CompressionType,
}

/// Why bytes are no packet, or a packet no bytes.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// Compressing failed here.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// A bound was passed, or the bytes are not one whole frame.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The first byte begins neither a JSON object nor a CBOR map.
    #[error("neither a JSON object nor a CBOR map: the first byte is {0:?}")]
    UnknownEncoding(Option<u8>),
    /// More values than [`PACKET_VALUES_MAX`].
    #[error("the packet holds more than {max} values")]
    TooManyValues {
        /// The bound.
        max: usize,
    },
    /// An infinity or NaN.
    #[error("a number at byte {position} is infinite or undefined")]
    NotFinite {
        /// Where.
        position: usize,
    },
    /// Cut off, or not CBOR.
    #[error("malformed CBOR at byte {position}")]
    MalformedCbor {
        /// Where.
        position: usize,
    },
    /// Not the CBOR of this structure.
    #[error("not the CBOR of this structure")]
    Cbor(#[source] ciborium::de::Error<std::io::Error>),
    /// Not the JSON of this structure.
    #[error("not the JSON of this structure")]
    Json(#[source] serde_json::Error),
    /// Bytes behind the value.
    #[error("{0} bytes follow the end of the packet")]
    Trailing(usize),
    /// A value that cannot be written, such as an undefined number.
    #[error("the packet cannot be written: {0}")]
    Unwritable(String),
}

impl PacketError {
    /// A stable name, for answers and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Compress(_) => "compression_failed",
            Self::Decompress(DecompressError::EncodedTooLarge { .. } | DecompressError::DecodedTooLarge { .. }) => "packet_too_large",
            Self::Decompress(_) => "malformed_compression",
            Self::UnknownEncoding(_) => "unknown_encoding",
            Self::TooManyValues { .. } => "too_many_values",
            Self::NotFinite { .. } => "number_not_finite",
            Self::MalformedCbor { .. } | Self::Cbor(_) => "malformed_cbor",
            Self::Json(_) => "malformed_json",
            Self::Trailing(_) => "trailing_bytes",
            Self::Unwritable(_) => "unwritable",
        }
    }
}

impl Framing {
    /// The compression that the first bytes show: gzip and zstd begin as neither JSON nor a CBOR map does.
    pub fn detect_compression(bytes: &[u8]) -> CompressionType {
        match bytes {
            [0x1f, 0x8b, ..] => CompressionType::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => CompressionType::Zstd,
            _ => CompressionType::None,
        }
    }
}

impl Encoding {
    /// The encoding that uncompressed bytes show.
    ///
    /// # Errors
    /// When they begin neither a JSON object nor a CBOR map.
    pub fn detect(bytes: &[u8]) -> Result<Self, PacketError> {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Ok(Self::Json),
            _ if matches!(bytes.first(), Some(0xa0..=0xbf)) => Ok(Self::Cbor),
            _ => Err(PacketError::UnknownEncoding(bytes.first().copied())),
        }
    }
}

/// Writes a value.
///
/// # Errors
/// When it holds a number that is not finite, or compression fails.
pub fn encode<T: Serialize>(value: &T, framing: Framing) -> Result<Vec<u8>, PacketError> {
    let bytes = match framing.encoding {
        Encoding::Json => serde_json::to_vec(value).map_err(|error| PacketError::Unwritable(error.to_string()))?,
        Encoding::Cbor => {
            let mut bytes = Vec::new();
            ciborium::into_writer(value, &mut bytes).map_err(|error| PacketError::Unwritable(error.to_string()))?;
            bytes
        }
    };
    Ok(if framing.compression == CompressionType::None { bytes } else { compress(&bytes, framing.compression)? })
}

/// Reads a value that was written in a known way.
///
/// # Errors
/// See [`PacketError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8], framing: Framing, limits: Limits) -> Result<T, PacketError> {
    let decoded = decompress(bytes, framing.compression, limits)?;
    parse(&decoded, framing.encoding)
}

/// Reads a value, telling how it was written from its bytes.
///
/// # Errors
/// See [`PacketError`].
pub fn decode_any<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<(T, Framing), PacketError> {
    let compression = Framing::detect_compression(bytes);
    let decoded = decompress(bytes, compression, limits)?;
    let encoding = Encoding::detect(&decoded)?;
    Ok((parse(&decoded, encoding)?, Framing { encoding, compression }))
}

/// Reads a value from uncompressed bytes.
///
/// # Errors
/// See [`PacketError`].
pub fn parse<T: DeserializeOwned>(bytes: &[u8], encoding: Encoding) -> Result<T, PacketError> {
    scan(bytes, encoding)?;
    parse_scanned(bytes, encoding)
}

/// The second step of reading: counts the values in uncompressed bytes, which is the measure of what they take as a structure. Answers no
/// fewer than there are.
///
/// # Errors
/// When there are more than [`PACKET_VALUES_MAX`], or a number is one that JSON does not have.
pub fn scan(bytes: &[u8], encoding: Encoding) -> Result<usize, PacketError> {
    let values = match encoding {
        Encoding::Json => scan_json(bytes),
        Encoding::Cbor => scan_cbor(bytes)?,
    };
    if values > PACKET_VALUES_MAX { Err(PacketError::TooManyValues { max: PACKET_VALUES_MAX }) } else { Ok(values) }
}

/// The steps after [`scan`]: reads a value from uncompressed bytes that have passed that.
///
/// # Errors
/// See [`PacketError`].
pub fn parse_scanned<T: DeserializeOwned>(bytes: &[u8], encoding: Encoding) -> Result<T, PacketError> {
    match encoding {
        Encoding::Json => serde_json::from_slice(bytes).map_err(PacketError::Json),
        Encoding::Cbor => {
            let mut rest = bytes;
            let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, PACKET_DEPTH_MAX).map_err(PacketError::Cbor)?;
            if rest.is_empty() { Ok(value) } else { Err(PacketError::Trailing(rest.len())) }
        }
    }
}

/// Counts what separates values outside of strings, which is no less than there are values.
fn scan_json(bytes: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1_usize, false, false);
    for byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b',' | b':' | b'[' | b'{') => values += 1,
            _ => {}
        }
    }
    values
}

/// Walks over the heads of all items without regard to nesting: counts them and looks at floating-point numbers.
fn scan_cbor(bytes: &[u8]) -> Result<usize, PacketError> {
    let (mut position, mut values) = (0, 0_usize);
    while position < bytes.len() {
        let malformed = PacketError::MalformedCbor { position };
        let (major, info) = (bytes[position] >> 5, bytes[position] & 31);
        let argument_bytes = match info {
            0..=23 | 31 => 0,
            24..=27 => 1_usize << (info - 24),
            _ => return Err(malformed),
        };
        let Some(argument) = bytes.get(position + 1..position + 1 + argument_bytes) else { return Err(malformed) };
        let argument = argument.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if major == 7 && !is_finite(info, argument) {
            return Err(PacketError::NotFinite { position });
        }
        position += 1 + argument_bytes;
        if matches!(major, 2 | 3) && info != 31 {
            let len = if argument_bytes == 0 { u64::from(info) } else { argument };
            let left = bytes.len() - position;
            position += usize::try_from(len).ok().filter(|len| *len <= left).ok_or(malformed)?;
        }
        values += 1;
    }
    Ok(values)
}

/// Whether a simple or floating-point item is not an infinity or NaN: those have all exponent bits set (IEEE 754).
const fn is_finite(info: u8, bits: u64) -> bool {
    let exponent = match info {
        25 => 0x7c00,
        26 => 0x7f80_0000,
        27 => 0x7ff0_0000_0000_0000,
        _ => return true,
    };
    bits & exponent != exponent
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PacketError> {
        parse(bytes, Encoding::Cbor)
    }

    #[test]
    fn undefined_numbers_are_refused_in_every_width() {
        for bytes in [&[0xf9, 0x7e, 0][..], &[0xf9, 0xfc, 0], &[0xfa, 0x7f, 0x80, 0, 0], &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]] {
            assert!(matches!(cbor::<Value>(bytes), Err(PacketError::NotFinite { position: 0 })), "{bytes:?}");
        }
        assert_eq!(cbor::<Value>(&[0xf9, 0x3c, 0]).unwrap(), json!(1.0));
        // The same bits inside a text are text.
        assert_eq!(cbor::<Vec<String>>(&[0x81, 0x63, b'a', b'b', b'c']).unwrap(), ["abc"]);
        assert!(matches!(parse::<Value>(b"1e999", Encoding::Json), Err(PacketError::Json(_))));
    }

    #[test]
    fn nesting_and_counts_are_bounded() {
        let nested = |n: usize| [vec![0x81; n], vec![0]].concat();
        assert!(cbor::<Value>(&nested(20)).is_ok());
        assert!(matches!(cbor::<Value>(&nested(100_000)), Err(PacketError::Cbor(ciborium::de::Error::RecursionLimitExceeded))));
        assert!(parse::<Value>("[".repeat(100_000).as_bytes(), Encoding::Json).is_err());
        let many = PACKET_VALUES_MAX + 1;
        let array = [&[0x9a][..], &(many as u32).to_be_bytes(), &vec![0; many]].concat();
        assert!(matches!(cbor::<Value>(&array), Err(PacketError::TooManyValues { .. })));
        let text = format!("[{}0]", "0,".repeat(many));
        assert!(matches!(parse::<Value>(text.as_bytes(), Encoding::Json), Err(PacketError::TooManyValues { .. })));
        let commas = json!([",".repeat(many)]).to_string();
        assert!(parse::<Value>(commas.as_bytes(), Encoding::Json).is_ok(), "punctuation in a text is text");
    }

    #[test]
    fn announced_lengths_are_not_believed() {
        for head in [[0x9b], [0xbb], [0x5b], [0x7b]] {
            let bytes = [&head[..], &[0x7f; 8]].concat();
            assert!(cbor::<Value>(&bytes).is_err());
            assert!(cbor::<Vec<u64>>(&bytes).is_err());
        }
    }

    #[test]
    fn what_follows_is_refused() {
        assert!(matches!(cbor::<Value>(&[0x01, 0x02]), Err(PacketError::Trailing(1))));
        assert!(matches!(parse::<Value>(b"{} {}", Encoding::Json), Err(PacketError::Json(_))));
        assert!(matches!(Encoding::detect(b""), Err(PacketError::UnknownEncoding(None))));
        assert!(matches!(Encoding::detect(b"[1]"), Err(PacketError::UnknownEncoding(Some(b'[')))));
    }
}
