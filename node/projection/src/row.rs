//! One node as the table shows it.
//!
//! A row is what the fold of the log says of a node, in the names and shapes an application knows: the caller makes rows, this crate only
//! keeps them. [`Row::digest`] lets a doctor compare what the log says with what the table holds without moving whole rows about.

use serde_json::Value;

use crate::metadata;

/// The longest id, type name or model name, in bytes. A longer one is refused: ids enter filters and indexes whole.
pub const NAME_BYTES_MAX: usize = 1024;

/// The longest content, in bytes. A longer one is refused; it is above what the protocol lets a node hold, so only a broken caller meets it.
pub const CONTENT_BYTES_MAX: usize = 64 << 20;

/// The most dimensions a vector may have. A longer one is refused.
pub const DIMENSION_MAX: usize = 16_384;

/// One node of the table `nodes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The node's id; no two rows have the same.
    pub id: String,
    /// The node's type, an open name such as `text` or `task` (column `type`).
    pub node_type: String,
    /// The node's text.
    pub content: String,
    /// The node's metadata, usually an object.
    pub metadata: Value,
    /// The parent's id; `None` for a root, or while the parent is not known.
    pub parent_id: Option<String>,
    /// The id of the topmost ancestor.
    pub root_id: Option<String>,
    /// The sibling immediately before this one; `None` means first.
    pub before_sibling_id: Option<String>,
    /// How many ancestors the node has, when the caller knows.
    pub depth: Option<u32>,
    /// When the node was made, in UTC microseconds since 1970.
    pub created_at: i64,
    /// When the node was last changed, in UTC microseconds since 1970.
    pub modified_at: i64,
    /// The ids of the nodes this one mentions.
    pub mentions: Vec<String>,
    /// Whether the node is deleted; such rows stay, and searches leave them out unless asked.
    pub deleted: bool,
    /// The node's vectors.
    pub embeddings: Embeddings,
}

/// What a row says of its node's vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Embeddings {
    /// Leave the vectors as they are in the table; a new row has none.
    ///
    /// The log carries vectors quantised, the table at full precision: a change of text must not need the full vector in order to keep it.
    #[default]
    Keep,
    /// These are all the vectors the node has. A vector of zeros counts as none.
    Replace(Vec<Embedding>),
}

/// One vector, and the model that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The name of the model; vectors of different models are never compared.
    pub model: String,
    /// The vector at full precision.
    pub vector: Vec<f32>,
}

impl Embedding {
    /// Whether this vector says nothing: it has no element, or only zeros.
    ///
    /// Applications store zeros for "none", and the cosine of a vector of zeros is not a number.
    pub fn is_none(&self) -> bool {
        self.vector.iter().all(|element| *element == 0.0)
    }
}

/// A change to the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This is the node now; boxed because a row is large beside an id.
    Upsert(Box<Row>),
    /// There is no such node (any more); an unknown id is no error.
    Remove(String),
}

impl Change {
    /// The id this is about.
    pub fn id(&self) -> &str {
        match self {
            Self::Upsert(row) => &row.id,
            Self::Remove(id) => id,
        }
    }
}

/// Why a row cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The node has no id.
    #[error("a node without an id cannot be stored: give it one")]
    NoId,
    /// A name is longer than [`NAME_BYTES_MAX`].
    #[error("the {field} of node {id:?} has {bytes} bytes; at most {NAME_BYTES_MAX} are kept: shorten it")]
    NameTooLong {
        /// The node, cut to a readable length.
        id: String,
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The text is longer than [`CONTENT_BYTES_MAX`].
    #[error("the content of node {id:?} has {bytes} bytes; at most {CONTENT_BYTES_MAX} are kept: split the node")]
    ContentTooLong {
        /// The node.
        id: String,
        /// The text's length.
        bytes: usize,
    },
    /// The metadata nests deeper than [`metadata::DEPTH_MAX`].
    #[error("the metadata of node {id:?} nests deeper than {} levels: flatten it", metadata::DEPTH_MAX)]
    MetadataTooDeep {
        /// The node.
        id: String,
    },
    /// A vector has an element that is not a finite number.
    #[error("element {index} of node {id:?}'s vector of model {model:?} is not a finite number: compute the vector again")]
    NotFinite {
        /// The node.
        id: String,
        /// The model.
        model: String,
        /// The first such element.
        index: usize,
    },
    /// A vector has more elements than [`DIMENSION_MAX`].
    #[error("node {id:?}'s vector of model {model:?} has {found} elements; at most {DIMENSION_MAX} are kept")]
    TooManyDimensions {
        /// The node.
        id: String,
        /// The model.
        model: String,
        /// How many elements there are.
        found: usize,
    },
    /// A vector has another length than the model's others.
    #[error(
        "node {id:?}'s vector of model {model:?} has {found} elements, that model's vectors have {expected}: use another name for another model"
    )]
    WrongDimension {
        /// The node.
        id: String,
        /// The model.
        model: String,
        /// The length of the model's vectors.
        expected: usize,
        /// The length of this one.
        found: usize,
    },
    /// There are more models than the table has columns for.
    #[error(
        "node {id:?} has a vector of model {model:?}, but the table already holds {limit} models: remove vectors of models no longer used and rebuild"
    )]
    TooManyModels {
        /// The node.
        id: String,
        /// The model there is no column for.
        model: String,
        /// How many models a table may hold.
        limit: usize,
    },
}

impl Row {
    /// Checks what can be checked of a row alone.
    pub fn check(&self) -> Result<(), RowError> {
        if self.id.is_empty() {
            return Err(RowError::NoId);
        }
        for (field, text) in self.names() {
            if text.len() > NAME_BYTES_MAX {
                return Err(RowError::NameTooLong { id: brief(&self.id), field, bytes: text.len() });
            }
        }
        if self.content.len() > CONTENT_BYTES_MAX {
            return Err(RowError::ContentTooLong { id: self.id.clone(), bytes: self.content.len() });
        }
        if metadata::nests_too_deep(&self.metadata) {
            return Err(RowError::MetadataTooDeep { id: self.id.clone() });
        }
        let Embeddings::Replace(embeddings) = &self.embeddings else { return Ok(()) };
        embeddings.iter().try_for_each(|embedding| self.check_embedding(embedding))
    }

    /// Takes out what no table holds: text beyond the bound, metadata that nests too deep, vectors that are none. Names are within their
    /// bounds wherever a row comes from. Answers what was taken out.
    pub(crate) fn take_out_unfit(&mut self) -> Vec<RowError> {
        let mut unfit = Vec::new();
        if self.content.len() > CONTENT_BYTES_MAX {
            unfit.push(RowError::ContentTooLong { id: self.id.clone(), bytes: self.content.len() });
            self.content.truncate(self.content.floor_char_boundary(CONTENT_BYTES_MAX));
        }
        if metadata::nests_too_deep(&self.metadata) {
            unfit.push(RowError::MetadataTooDeep { id: self.id.clone() });
            self.metadata = Value::Object(serde_json::Map::new());
        }
        let Embeddings::Replace(embeddings) = std::mem::replace(&mut self.embeddings, Embeddings::Replace(Vec::new())) else {
            self.embeddings = Embeddings::Keep;
            return unfit;
        };
        let (fit, bad): (Vec<_>, Vec<_>) = embeddings.into_iter().partition(|embedding| self.check_embedding(embedding).is_ok());
        unfit.extend(bad.iter().filter_map(|embedding| self.check_embedding(embedding).err()));
        self.embeddings = Embeddings::Replace(fit);
        unfit
    }

    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let optional = [("parent id", &self.parent_id), ("root id", &self.root_id), ("sibling id", &self.before_sibling_id)];
        let named = [("id", self.id.as_str()), ("type", self.node_type.as_str())];
        let mentions = self.mentions.iter().map(|mention| ("mention", mention.as_str()));
        named.into_iter().chain(optional.into_iter().filter_map(|(field, id)| Some((field, id.as_deref()?)))).chain(mentions)
    }

    fn check_embedding(&self, embedding: &Embedding) -> Result<(), RowError> {
        let (id, model) = (&self.id, &embedding.model);
        if model.len() > NAME_BYTES_MAX {
            return Err(RowError::NameTooLong { id: id.clone(), field: "model name", bytes: model.len() });
        }
        if embedding.vector.len() > DIMENSION_MAX {
            return Err(RowError::TooManyDimensions { id: id.clone(), model: model.clone(), found: embedding.vector.len() });
        }
        match embedding.vector.iter().position(|element| !element.is_finite()) {
            Some(index) => Err(RowError::NotFinite { id: id.clone(), model: model.clone(), index }),
            None => Ok(()),
        }
    }

    /// A hash of everything but the vectors: rows are alike if, and only if, their digests are.
    ///
    /// Vectors are left out because the log holds them quantised and the table at full precision.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("nodespace projection row v1");
        let mut text = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        text(self.id.as_bytes());
        text(self.node_type.as_bytes());
        text(self.content.as_bytes());
        text(metadata::to_text(&self.metadata).as_bytes());
        for id in [&self.parent_id, &self.root_id, &self.before_sibling_id] {
            text(&[u8::from(id.is_some())]);
            text(id.as_deref().unwrap_or_default().as_bytes());
        }
        text(&self.depth.map_or(-1, i64::from).to_le_bytes());
        text(&self.created_at.to_le_bytes());
        text(&self.modified_at.to_le_bytes());
        text(&(self.mentions.len() as u64).to_le_bytes());
        self.mentions.iter().for_each(|mention| text(mention.as_bytes()));
        text(&[u8::from(self.deleted)]);
        Digest(*hasher.finalize().as_bytes())
    }

    /// About how many bytes the row takes in memory, for cutting batches.
    pub(crate) fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        let vectors = match &self.embeddings {
            Embeddings::Keep => 0,
            Embeddings::Replace(embeddings) => embeddings.iter().map(|embedding| embedding.vector.len() * size_of::<f32>()).sum(),
        };
        FIXED + self.content.len() + vectors + metadata::bytes(&self.metadata)
    }
}

/// A hash over one row; see [`Row::digest`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// The start of a name that is too long to print whole.
fn brief(name: &str) -> String {
    const CHARS: usize = 64;
    name.chars().take(CHARS).collect()
}
