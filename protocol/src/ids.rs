//! Names of things: workspaces, users, devices, logs, operations and document nodes.
//!
//! Every name is a fixed-size value with a total order, so that maps keyed by it iterate alike on every device.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "hex32")] pub [u8; 32]);

        impl $name {
            /// The raw 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first four bytes in hex: enough to tell names apart in a log line.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
    };
}

bytes32!(
    /// A workspace: the unit of sharing. The hash of its genesis operation.
    WorkspaceId
);
bytes32!(
    /// A user: an Ed25519 public key that certifies devices.
    UserId
);
bytes32!(
    /// A device: the Ed25519 public key that signs its operations.
    DeviceId
);
bytes32!(
    /// A relay: the Ed25519 public key that signs its checkpoints.
    RelayId
);
bytes32!(
    /// An operation: BLAKE3 over its header bytes (see [`crate::op`]).
    OpHash
);
bytes32!(
    /// A conflict: BLAKE3 over its field and its sorted participants (see [`crate::conflict`]).
    ConflictId
);

impl OpHash {
    /// The operation's id in the documented view: a UUIDv8 made of the hash's first 16 bytes, so it costs nothing on the wire
    /// and cannot lie.
    pub fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// One device's log in one incarnation of its store.
///
/// The epoch is random and kept outside every backup: a store that was restored or copied starts a new log instead of
/// continuing the old one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Who signs this log.
    pub device: DeviceId,
    /// The incarnation; random, non-zero.
    pub epoch: u32,
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08x}", self.device.short(), self.epoch)
    }
}

/// The longest node id in bytes, as UTF-8.
pub const NODE_ID_BYTES_MAX: usize = 128;

/// A document node's id: a UUID, or a short string such as the date `2025-08-30`.
///
/// The textual form of a UUID (lower case, hyphenated) and the UUID are the same id: [`NodeId::parse`] folds them together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// 16 bytes on the wire.
    Uuid(Uuid),
    /// 1 to 128 bytes of UTF-8 without control characters, and not the text of a UUID.
    Text(Arc<str>),
}

/// Why a string is no node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    /// The empty string names nothing.
    #[error("a node id must not be empty")]
    Empty,
    /// Longer than [`NODE_ID_BYTES_MAX`].
    #[error("a node id has at most {NODE_ID_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Control characters are refused: ids are shown, logged and used in queries.
    #[error("a node id must not contain control characters, found U+{0:04X}")]
    ControlCharacter(u32),
}

impl NodeId {
    /// Parses an id as applications write it.
    ///
    /// # Errors
    /// When the text is empty, longer than 128 bytes, or holds a control character.
    pub fn parse(text: &str) -> Result<Self, NodeIdError> {
        if text.len() == 36
            && let Ok(uuid) = Uuid::try_parse(text)
            && uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text
        {
            return Ok(Self::Uuid(uuid));
        }
        Self::check(text)?;
        Ok(Self::Text(text.into()))
    }

    fn check(text: &str) -> Result<(), NodeIdError> {
        if text.is_empty() {
            return Err(NodeIdError::Empty);
        }
        if text.len() > NODE_ID_BYTES_MAX {
            return Err(NodeIdError::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(NodeIdError::ControlCharacter(c.into())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "{uuid}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl std::str::FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// The inverse of [`hex`]; `None` when the text is not an even number of hex digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// 32 bytes as hex in human-readable formats and as a byte string in binary ones.
mod hex32 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.serialize_str(&super::hex(bytes)) } else { serializer.serialize_bytes(bytes) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let bytes = if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
            super::unhex(&text).ok_or_else(|| serde::de::Error::custom("expected hex digits"))?
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec()
        };
        bytes.try_into().map_err(|_| serde::de::Error::custom("expected 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_and_its_text_are_one_id() {
        let uuid = Uuid::from_u128(7);
        assert_eq!(NodeId::parse(&uuid.to_string()).unwrap(), NodeId::Uuid(uuid));
        let upper = NodeId::parse("0000000A-0000-0000-0000-000000000000").unwrap();
        assert!(matches!(upper, NodeId::Text(_)), "another spelling is another id: {upper:?}");
    }

    #[test]
    fn unfit_node_ids_are_named() {
        assert_eq!(NodeId::parse(""), Err(NodeIdError::Empty));
        assert_eq!(NodeId::parse("a\u{7}b"), Err(NodeIdError::ControlCharacter(7)));
        assert_eq!(NodeId::parse(&"x".repeat(129)), Err(NodeIdError::TooLong(129)));
        assert!(NodeId::parse("2025-08-30").is_ok());
    }

    #[test]
    fn hex_round_trips() {
        assert_eq!(unhex(&hex(&[0, 1, 254, 255])), Some(vec![0, 1, 254, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
