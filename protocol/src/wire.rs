//! Reading bytes that somebody else wrote: bounds first, then types.
//!
//! Two forms are used. CBOR (RFC 8949, deterministic, definite lengths) for what is hashed and for messages; a plain
//! byte form with LEB128 integers for bulk, where every byte counts. Neither reader allocates from a declared length: what is
//! taken is always a slice of what is there.

use minicbor::data::Type;

use crate::ids::{NodeId, NodeIdError};

/// The deepest nesting of a JSON value in a payload.
pub(crate) const DEPTH_MAX: usize = 16;

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("the input ends inside {0}")]
    Truncated(&'static str),
    /// Bytes were left over after the value.
    #[error("{0} bytes follow the end of the value")]
    Trailing(usize),
    /// A length beyond the bound.
    #[error("{what} has {found}, at most {max} is allowed")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// A value of the right shape that is not allowed here.
    #[error("{0}")]
    Invalid(&'static str),
    /// A format version this program does not know.
    #[error("format version {0} is not known here; a newer program wrote this")]
    UnknownVersion(u64),
    /// The bytes are not CBOR of the expected shape.
    #[error("malformed CBOR in {what} at byte {position}: {why}")]
    Cbor {
        /// What was being read.
        what: &'static str,
        /// Where it went wrong.
        position: usize,
        /// The reader's words.
        why: String,
    },
    /// Not a node id.
    #[error("malformed node id: {0}")]
    NodeId(#[from] NodeIdError),
}

impl DecodeError {
    /// Wraps the CBOR reader's error with the name of what was read.
    pub(crate) fn cbor(what: &'static str) -> impl Fn(minicbor::decode::Error) -> Self {
        move |error| {
            if error.is_end_of_input() {
                Self::Truncated(what)
            } else {
                Self::Cbor { what, position: error.position().unwrap_or(0), why: error.to_string() }
            }
        }
    }
}

/// Appends an unsigned LEB128 integer.
pub(crate) fn put_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer as zigzag LEB128.
pub(crate) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// A cursor over bytes that never reads past their end.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated(what))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated(what))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (first, rest) = self.bytes.split_first().ok_or(DecodeError::Truncated(what))?;
        self.bytes = rest;
        Ok(*first)
    }

    /// A LEB128 integer in its shortest form: a value has one encoding.
    pub(crate) fn uint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            if shift == 63 && byte > 1 || byte == 0 && shift > 0 {
                return Err(DecodeError::Invalid("an integer is longer than it need be or exceeds 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("an integer is longer than 64 bits"))
    }

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let value = self.uint(what)?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    /// A length that must not exceed `max`, nor what is left to read.
    pub(crate) fn len(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let found = self.uint(what)?;
        if found > max as u64 {
            return Err(DecodeError::TooLarge { what, found, max: max as u64 });
        }
        if found > self.remaining() as u64 {
            return Err(DecodeError::Truncated(what));
        }
        Ok(found as usize)
    }

    pub(crate) const fn finish(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.bytes.len())) }
    }
}

/// Writing CBOR into a vector cannot fail.
pub(crate) type Encoder<'a> = minicbor::Encoder<&'a mut Vec<u8>>;

/// What an infallible encoder answers.
pub(crate) type EncodeResult = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// Encodes with a closure into a fresh vector.
pub(crate) fn encode_with(write: impl FnOnce(&mut Encoder<'_>) -> EncodeResult) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    encode_into(&mut out, write);
    out
}

/// Encodes with a closure, appending to `out`.
pub(crate) fn encode_into(out: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<'_>) -> EncodeResult) {
    write(&mut minicbor::Encoder::new(out)).expect("a vector takes every byte");
}

/// Node ids in CBOR: 16 bytes for a UUID, text otherwise.
pub(crate) fn encode_node_id(e: &mut Encoder<'_>, id: &NodeId) -> EncodeResult {
    match id {
        NodeId::Uuid(uuid) => e.bytes(uuid.as_bytes())?,
        NodeId::Text(text) => e.str(text)?,
    };
    Ok(())
}

/// The inverse of [`encode_node_id`]; refuses a UUID written as text, since a value has one encoding.
pub(crate) fn decode_node_id(d: &mut minicbor::Decoder<'_>) -> Result<NodeId, DecodeError> {
    const WHAT: &str = "a node id";
    match d.datatype().map_err(DecodeError::cbor(WHAT))? {
        Type::Bytes => Ok(NodeId::Uuid(uuid::Uuid::from_bytes(decode_array(d, WHAT)?))),
        Type::String => {
            let id = NodeId::parse(d.str().map_err(DecodeError::cbor(WHAT))?)?;
            if matches!(id, NodeId::Uuid(_)) {
                return Err(DecodeError::Invalid("a UUID node id travels as 16 bytes, not as text"));
            }
            Ok(id)
        }
        _ => Err(DecodeError::Invalid("a node id is 16 bytes or text")),
    }
}

/// A byte string of exactly `N` bytes.
pub(crate) fn decode_array<const N: usize>(d: &mut minicbor::Decoder<'_>, what: &'static str) -> Result<[u8; N], DecodeError> {
    let bytes = d.bytes().map_err(DecodeError::cbor(what))?;
    bytes.try_into().map_err(|_| DecodeError::TooLarge { what, found: bytes.len() as u64, max: N as u64 })
}

/// An array of known length.
pub(crate) fn expect_array(d: &mut minicbor::Decoder<'_>, len: u64, what: &'static str) -> Result<(), DecodeError> {
    match d.array().map_err(DecodeError::cbor(what))? {
        Some(found) if found == len => Ok(()),
        Some(found) => Err(DecodeError::TooLarge { what, found, max: len }),
        None => Err(DecodeError::Invalid("arrays have definite lengths")),
    }
}

/// An array of at most `max` elements.
pub(crate) fn bounded_array(d: &mut minicbor::Decoder<'_>, max: u64, what: &'static str) -> Result<u64, DecodeError> {
    match d.array().map_err(DecodeError::cbor(what))? {
        Some(found) if found <= max => Ok(found),
        Some(found) => Err(DecodeError::TooLarge { what, found, max }),
        None => Err(DecodeError::Invalid("arrays have definite lengths")),
    }
}

/// Reads `null` as `None`, anything else with `read`.
pub(crate) fn nullable<'a, T>(
    d: &mut minicbor::Decoder<'a>,
    what: &'static str,
    read: impl FnOnce(&mut minicbor::Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if d.datatype().map_err(DecodeError::cbor(what))? == Type::Null {
        d.null().map_err(DecodeError::cbor(what))?;
        return Ok(None);
    }
    read(d).map(Some)
}

/// Refuses heads that are longer than they need be: of well-formed items of definite length, the part of determinism (RFC 8949,
/// section 4.2.1) that the reader of CBOR lets pass.
pub(crate) fn shortest(mut bytes: &[u8]) -> Result<(), DecodeError> {
    const LONG: DecodeError = DecodeError::Invalid("a length or an integer is longer than it need be");
    const WHAT: &str = "a CBOR head";
    while let Some((first, rest)) = bytes.split_first() {
        let (major, info) = (first >> 5, first & 31);
        let len = match info {
            24..=27 => 1_usize << (info - 24),
            _ => 0,
        };
        let (argument, rest) = rest.split_at_checked(len).ok_or(DecodeError::Truncated(WHAT))?;
        let value = argument.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let least = [0, 24, 1 << 8, 0, 1 << 16, 0, 0, 0, 1 << 32][len];
        if major != 7 && value < least {
            return Err(LONG);
        }
        let value = if len == 0 { info.into() } else { value };
        let content = if matches!(major, 2 | 3) { usize::try_from(value).unwrap_or(usize::MAX) } else { 0 };
        bytes = rest.get(content..).ok_or(DecodeError::Truncated(WHAT))?;
    }
    Ok(())
}

/// Refuses bytes after the value.
pub(crate) fn finish(d: &minicbor::Decoder<'_>) -> Result<(), DecodeError> {
    match d.input().len() - d.position() {
        0 => Ok(()),
        left => Err(DecodeError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip_in_one_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_uint(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.uint("value"), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(Reader::new(&out).int("value"), Ok(value));
        }
        assert!(Reader::new(&[0x80, 0x00]).uint("padded").is_err());
        assert!(Reader::new(&[0xff; 10]).uint("long").is_err());
        assert_eq!(Reader::new(&[0x80]).uint("cut"), Err(DecodeError::Truncated("cut")));
    }

    #[test]
    fn lengths_are_bounded_by_what_is_there() {
        assert_eq!(Reader::new(&[5, 0]).len(100, "blob"), Err(DecodeError::Truncated("blob")));
        assert!(matches!(Reader::new(&[5, 0]).len(4, "blob"), Err(DecodeError::TooLarge { found: 5, max: 4, .. })));
    }
}
