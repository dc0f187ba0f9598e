//! The payload: what an operation changes.
//!
//! CBOR, a map with small integer keys in ascending order; a key that is absent means "not changed". One structure serves every
//! type, so that merging looks at fields, not at types; [`Payload::decode`] checks that a type has the fields it must and none
//! it must not. `docs/PROTOCOL.md` lists the keys.

use serde_json::Value;

use super::header::OpType;
use super::json;
use crate::delta::TextChange;
use crate::ids::{ConflictId, NodeId, OpHash};
use crate::membership::action::{self, WorkspaceAction};
use crate::text::TextPatch;
use crate::tree::Side;
use crate::wire::{self, DEPTH_MAX, DecodeError, EncodeResult, Encoder};

/// The longest node type, model name or mention in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The most mentions one operation may add or remove, and the most conflicts it may settle.
pub const LIST_MAX: usize = 1024;
/// The most edits one operation may make. Each costs 24 bytes once it is read and as few as three on the wire: without a bound a
/// payload could take eight times its size. 64 KiB of payload, the default, hold hardly more.
pub const EDITS_MAX: u64 = 16_384;

/// The op a place leans on, as the author names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceAnchor {
    /// The beginning of the parent's list.
    Start,
    /// An operation of the author's own log, by distance back.
    Own(u64),
    /// Another log's operation.
    Other(OpHash),
}

/// Where a node goes: under which parent, and beside what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parent; `None` = the top level.
    pub parent: Option<NodeId>,
    /// The operation that placed the neighbour.
    pub anchor: PlaceAnchor,
    /// On which side of it.
    pub side: Side,
}

/// What an attached embedding is: two embeddings compare only when model and dimension agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingNote {
    /// The model's name, as the application calls it.
    pub model: String,
    /// Components of the vector.
    pub dimension: u32,
    /// BLAKE3 of the text it was computed from, in [`crate::crypto::Domain::Content`].
    pub source: [u8; 32],
}

/// Everything an operation can say. Fields that are `None` or empty are not changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Content.
    pub text: Option<TextChange>,
    /// The node's type, an open string.
    pub node_type: Option<String>,
    /// A JSON merge patch (RFC 7396) on the metadata; always an object.
    pub metadata: Option<Value>,
    /// Node ids newly mentioned.
    pub mentions_added: Vec<NodeId>,
    /// Node ids no longer mentioned.
    pub mentions_removed: Vec<NodeId>,
    /// Conflicts this operation settles.
    pub resolves: Vec<ConflictId>,
    /// What the attachment is.
    pub embedding: Option<EmbeddingNote>,
    /// Parent and order.
    pub place: Option<Place>,
    /// On a delete: whether the node can come back by itself.
    pub soft_delete: Option<bool>,
    /// A change of the workspace.
    pub action: Option<Box<WorkspaceAction>>,
}

/// Why a payload means nothing. The operation stays in its log and changes nothing, on every device alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The bytes are no payload.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A field that its type must have is missing.
    #[error("a {kind:?} operation needs {field}")]
    Missing {
        /// The operation's type.
        kind: OpType,
        /// What is missing.
        field: &'static str,
    },
    /// A field that its type must not have.
    #[error("a {kind:?} operation cannot carry {field}")]
    Unexpected {
        /// The operation's type.
        kind: OpType,
        /// What is too much.
        field: &'static str,
    },
    /// Encrypted in a way this program does not read.
    #[error("the payload is encrypted by method {0}, which is not known here")]
    Encrypted(u8),
}

mod key {
    pub(super) const EDITS: u8 = 0;
    pub(super) const REPLACE: u8 = 1;
    pub(super) const NODE_TYPE: u8 = 2;
    pub(super) const METADATA: u8 = 3;
    pub(super) const MENTIONS_ADDED: u8 = 4;
    pub(super) const MENTIONS_REMOVED: u8 = 5;
    pub(super) const RESOLVES: u8 = 6;
    pub(super) const EMBEDDING: u8 = 7;
    pub(super) const PLACE: u8 = 8;
    pub(super) const SOFT_DELETE: u8 = 9;
    pub(super) const ACTION: u8 = 10;
}

/// What each type must and may carry, by key.
const fn fields_of(kind: OpType) -> (&'static [u8], &'static [u8]) {
    use key::*;
    match kind {
        OpType::Create => (&[REPLACE, NODE_TYPE, PLACE], &[METADATA, MENTIONS_ADDED, EMBEDDING]),
        OpType::Update => (&[], &[EDITS, REPLACE, NODE_TYPE, METADATA, MENTIONS_ADDED, MENTIONS_REMOVED, RESOLVES, EMBEDDING]),
        OpType::Delete => (&[SOFT_DELETE], &[RESOLVES]),
        OpType::Move => (&[PLACE], &[RESOLVES]),
        OpType::Metadata => (&[METADATA], &[RESOLVES]),
        OpType::Workspace => (&[ACTION], &[]),
    }
}

const FIELD_NAMES: [&str; 11] = [
    "text edits",
    "a whole text",
    "a node type",
    "metadata",
    "added mentions",
    "removed mentions",
    "settled conflicts",
    "an embedding",
    "a place",
    "the soft-delete flag",
    "a workspace action",
];

impl Payload {
    /// The bytes of this payload: its one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let keys = self.keys();
        wire::encode_with(|e| {
            e.map(keys.len() as u64)?;
            for key in keys {
                e.u8(key)?;
                self.encode_field(e, key)?;
            }
            Ok(())
        })
    }

    /// The keys that are present, ascending.
    fn keys(&self) -> Vec<u8> {
        let present = [
            matches!(self.text, Some(TextChange::Edits(_))),
            matches!(self.text, Some(TextChange::Replace(_))),
            self.node_type.is_some(),
            self.metadata.is_some(),
            !self.mentions_added.is_empty(),
            !self.mentions_removed.is_empty(),
            !self.resolves.is_empty(),
            self.embedding.is_some(),
            self.place.is_some(),
            self.soft_delete.is_some(),
            self.action.is_some(),
        ];
        (0..).zip(present).filter_map(|(key, present)| present.then_some(key)).collect()
    }

    fn encode_field(&self, e: &mut Encoder<'_>, key: u8) -> EncodeResult {
        match key {
            key::EDITS | key::REPLACE => encode_text(e, self.text.as_ref()),
            key::NODE_TYPE => e.str(self.node_type.as_deref().unwrap_or_default()).map(drop),
            key::METADATA => json::encode(e, self.metadata.as_ref().unwrap_or(&Value::Null)),
            key::MENTIONS_ADDED => encode_ids(e, &self.mentions_added),
            key::MENTIONS_REMOVED => encode_ids(e, &self.mentions_removed),
            key::RESOLVES => {
                e.array(self.resolves.len() as u64)?;
                self.resolves.iter().try_for_each(|id| e.bytes(&id.0).map(drop))
            }
            key::EMBEDDING => match &self.embedding {
                Some(note) => e.array(3)?.str(&note.model)?.u32(note.dimension)?.bytes(&note.source).map(drop),
                None => e.null().map(drop),
            },
            key::PLACE => match &self.place {
                Some(place) => encode_place(e, place),
                None => e.null().map(drop),
            },
            key::SOFT_DELETE => e.bool(self.soft_delete.unwrap_or(true)).map(drop),
            _ => match &self.action {
                Some(action) => action::encode(e, action),
                None => e.null().map(drop),
            },
        }
    }

    /// Reads and checks the payload of an operation of type `kind`.
    ///
    /// # Errors
    /// When the bytes are malformed, or the fields are not those of the type.
    pub fn decode(kind: OpType, bytes: &[u8]) -> Result<Self, PayloadError> {
        const WHAT: &str = "a payload";
        let d = &mut minicbor::Decoder::new(bytes);
        let count = d.map().map_err(DecodeError::cbor(WHAT))?.ok_or(DecodeError::Invalid("maps have definite lengths"))?;
        let (required, optional) = fields_of(kind);
        let mut payload = Self::default();
        let mut seen = 0_u16;
        for _ in 0..count {
            let key = d.u8().map_err(DecodeError::cbor(WHAT))?;
            if usize::from(key) >= FIELD_NAMES.len() {
                return Err(DecodeError::Invalid("unknown payload field").into());
            }
            if seen >> key != 0 {
                return Err(DecodeError::Invalid("payload fields are strictly ascending").into());
            }
            if !required.contains(&key) && !optional.contains(&key) {
                return Err(PayloadError::Unexpected { kind, field: FIELD_NAMES[usize::from(key)] });
            }
            seen |= 1 << key;
            payload.decode_field(d, key)?;
        }
        wire::finish(d)?;
        wire::shortest(bytes)?;
        if let Some(missing) = required.iter().find(|key| seen & (1 << **key) == 0) {
            return Err(PayloadError::Missing { kind, field: FIELD_NAMES[usize::from(*missing)] });
        }
        if seen & 0b11 == 0b11 {
            return Err(PayloadError::Unexpected { kind, field: "both text edits and a whole text" });
        }
        Ok(payload)
    }

    fn decode_field(&mut self, d: &mut minicbor::Decoder<'_>, key: u8) -> Result<(), DecodeError> {
        match key {
            key::EDITS => self.text = Some(TextChange::Edits(decode_edits(d)?)),
            key::REPLACE => self.text = Some(TextChange::Replace(d.str().map_err(DecodeError::cbor("a text"))?.to_owned())),
            key::NODE_TYPE => self.node_type = Some(decode_name(d, "a node type")?),
            key::METADATA => {
                let value = json::decode(d)?;
                if !value.is_object() {
                    return Err(DecodeError::Invalid("a metadata patch is an object"));
                }
                self.metadata = Some(value);
            }
            key::MENTIONS_ADDED => self.mentions_added = decode_list(d, wire::decode_node_id)?,
            key::MENTIONS_REMOVED => self.mentions_removed = decode_list(d, wire::decode_node_id)?,
            key::RESOLVES => self.resolves = decode_list(d, |d| wire::decode_array(d, "a conflict id").map(ConflictId))?,
            key::EMBEDDING => self.embedding = Some(decode_embedding(d)?),
            key::PLACE => self.place = Some(decode_place(d)?),
            key::SOFT_DELETE => self.soft_delete = Some(d.bool().map_err(DecodeError::cbor("the soft-delete flag"))?),
            _ => self.action = Some(Box::new(action::decode(d)?)),
        }
        Ok(())
    }

    /// Whether the metadata patch nests too deep to be written.
    pub fn metadata_too_deep(&self) -> bool {
        self.metadata.as_ref().is_some_and(|value| json::depth(value) > DEPTH_MAX)
    }
}

fn encode_text(e: &mut Encoder<'_>, text: Option<&TextChange>) -> EncodeResult {
    match text {
        Some(TextChange::Edits(patches)) => {
            e.array(patches.len() as u64 * 3)?;
            for patch in patches {
                e.u32(patch.position)?.u32(patch.delete)?.str(&patch.insert)?;
            }
        }
        Some(TextChange::Replace(text)) => {
            e.str(text)?;
        }
        None => {
            e.null()?;
        }
    }
    Ok(())
}

fn decode_edits(d: &mut minicbor::Decoder<'_>) -> Result<Vec<TextPatch>, DecodeError> {
    const WHAT: &str = "text edits";
    let cbor = DecodeError::cbor(WHAT);
    let items = wire::bounded_array(d, EDITS_MAX * 3, WHAT)?;
    if items % 3 != 0 {
        return Err(DecodeError::Invalid("text edits are triples of position, deleted and inserted"));
    }
    let mut patches = Vec::with_capacity(usize::from(items == 3));
    for _ in 0..items / 3 {
        patches.push(TextPatch {
            position: d.u32().map_err(&cbor)?,
            delete: d.u32().map_err(&cbor)?,
            insert: d.str().map_err(&cbor)?.into(),
        });
    }
    Ok(patches)
}

fn encode_ids(e: &mut Encoder<'_>, ids: &[NodeId]) -> EncodeResult {
    e.array(ids.len() as u64)?;
    ids.iter().try_for_each(|id| wire::encode_node_id(e, id))
}

fn decode_list<'a, T>(
    d: &mut minicbor::Decoder<'a>,
    read: impl Fn(&mut minicbor::Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = wire::bounded_array(d, LIST_MAX as u64, "elements of a payload list")?;
    if count == 0 {
        return Err(DecodeError::Invalid("an empty list is left out"));
    }
    (0..count).map(|_| read(d)).collect()
}

fn decode_name(d: &mut minicbor::Decoder<'_>, what: &'static str) -> Result<String, DecodeError> {
    let name = d.str().map_err(DecodeError::cbor(what))?;
    if name.len() > NAME_BYTES_MAX {
        return Err(DecodeError::TooLarge { what, found: name.len() as u64, max: NAME_BYTES_MAX as u64 });
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(DecodeError::Invalid("a name is not empty and has no control characters"));
    }
    Ok(name.to_owned())
}

fn decode_embedding(d: &mut minicbor::Decoder<'_>) -> Result<EmbeddingNote, DecodeError> {
    wire::expect_array(d, 3, "an embedding note")?;
    Ok(EmbeddingNote {
        model: decode_name(d, "a model name")?,
        dimension: d.u32().map_err(DecodeError::cbor("a dimension"))?,
        source: wire::decode_array(d, "a content hash")?,
    })
}

fn encode_place(e: &mut Encoder<'_>, place: &Place) -> EncodeResult {
    e.array(3)?;
    match &place.parent {
        Some(parent) => wire::encode_node_id(e, parent)?,
        None => {
            e.null()?;
        }
    }
    match place.anchor {
        PlaceAnchor::Start => e.null()?,
        PlaceAnchor::Own(distance) => e.u64(distance)?,
        PlaceAnchor::Other(hash) => e.bytes(&hash.0)?,
    };
    e.bool(matches!(place.side, Side::Right))?;
    Ok(())
}

fn decode_place(d: &mut minicbor::Decoder<'_>) -> Result<Place, DecodeError> {
    use minicbor::data::Type;
    const WHAT: &str = "a place";
    let cbor = DecodeError::cbor(WHAT);
    wire::expect_array(d, 3, WHAT)?;
    let parent = wire::nullable(d, WHAT, wire::decode_node_id)?;
    let anchor = match d.datatype().map_err(&cbor)? {
        Type::Null => {
            d.null().map_err(&cbor)?;
            PlaceAnchor::Start
        }
        Type::Bytes => PlaceAnchor::Other(OpHash(wire::decode_array(d, WHAT)?)),
        _ => PlaceAnchor::Own(d.u64().map_err(&cbor)?),
    };
    let side = if d.bool().map_err(&cbor)? { Side::Right } else { Side::Left };
    Ok(Place { parent, anchor, side })
}
