//! Many writes in one request: each with an outcome of its own, all durable together.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::node::{CreateNode, DeleteNode, MoveNode, PutEmbedding, UpdateNode, WriteReply};

/// The most items of one batch; more is refused with `too_large`.
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum BatchItem {
    /// Make a node.
    Create {
        /// The node.
        #[serde(flatten)]
        create: CreateNode,
    },
    /// Change a node.
    Update {
        /// Which.
        id: String,
        /// How.
        #[serde(flatten)]
        update: UpdateNode,
    },
    /// Move a node.
    Move {
        /// Which.
        id: String,
        /// Where to.
        #[serde(flatten)]
        to: MoveNode,
    },
    /// Delete a node.
    Delete {
        /// Which.
        id: String,
        /// How.
        #[serde(flatten)]
        how: DeleteNode,
    },
    /// Bring a deleted node back.
    Restore {
        /// Which.
        id: String,
    },
    /// Attach an embedding.
    Embed {
        /// Which node.
        id: String,
        /// The model's name.
        model: String,
        /// The vector.
        #[serde(flatten)]
        embedding: PutEmbedding,
    },
}

/// What `do` may say.
const KINDS: &[&str] = &["create", "update", "move", "delete", "restore", "embed"];

// By hand, since serde cannot refuse unknown members behind `flatten`: derived code would pass over a misspelt one in silence.
impl<'de> Deserialize<'de> for BatchItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut left = Map::deserialize(deserializer)?;
        let kind: String = take(&mut left, "do")?;
        Ok(match kind.as_str() {
            "create" => Self::Create { create: rest(left)? },
            "update" => Self::Update { id: take(&mut left, "id")?, update: rest(left)? },
            "move" => Self::Move { id: take(&mut left, "id")?, to: rest(left)? },
            "delete" => Self::Delete { id: take(&mut left, "id")?, how: rest(left)? },
            "restore" => {
                let id = take(&mut left, "id")?;
                match left.keys().next() {
                    None => Self::Restore { id },
                    Some(name) => return Err(D::Error::unknown_field(name, &["do", "id"])),
                }
            }
            "embed" => Self::Embed { id: take(&mut left, "id")?, model: take(&mut left, "model")?, embedding: rest(left)? },
            other => return Err(D::Error::unknown_variant(other, KINDS)),
        })
    }
}

fn take<E: Error>(members: &mut Map<String, Value>, name: &'static str) -> Result<String, E> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(E::custom(format_args!("`{name}` is not a string"))),
        None => Err(E::missing_field(name)),
    }
}

fn rest<T: DeserializeOwned, E: Error>(members: Map<String, Value>) -> Result<T, E> {
    serde_json::from_value(Value::Object(members)).map_err(E::custom)
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The writes, in this order; each sees what those before it did. One that fails does not stop the others.
    pub items: Vec<BatchItem>,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// Done and durable.
    Done(Box<WriteReply>),
    /// Not done; nothing of this item was written.
    Failed(ErrorBody),
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchReply {
    /// One for each item, in their order.
    pub outcomes: Vec<BatchOutcome>,
    /// How many were done.
    pub done: usize,
    /// How many failed.
    pub failed: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BatchItem, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_item_comes_back_as_it_was_written() {
        let id = || "a".to_owned();
        let create = CreateNode { content: "text".to_owned(), ..CreateNode::default() };
        let update = UpdateNode {
            content: Some("text".to_owned()),
            expected_version: Some(7),
            expected_heads: Some(vec!["0a".to_owned()]),
            ..UpdateNode::default()
        };
        let items = [
            BatchItem::Create { create },
            BatchItem::Update { id: id(), update },
            BatchItem::Move { id: id(), to: MoveNode { parent_id: Some("b".to_owned()), ..MoveNode::default() } },
            BatchItem::Delete { id: id(), how: DeleteNode { hard: true, ..DeleteNode::default() } },
            BatchItem::Restore { id: id() },
            BatchItem::Embed { id: id(), model: "m".to_owned(), embedding: PutEmbedding { vector: vec![0.1, -3.5e-20] } },
        ];
        for item in items {
            assert_eq!(read(&serde_json::to_string(&item).unwrap()).unwrap(), item);
        }
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        for (text, named) in [
            (r#"{"do":"create","parent_Id":"a"}"#, "parent_Id"),
            (r#"{"do":"update","id":"a","contents":"x"}"#, "contents"),
            (r#"{"do":"move","id":"a","parent":"b"}"#, "parent"),
            (r#"{"do":"delete","id":"a","hrad":true}"#, "hrad"),
            (r#"{"do":"restore","id":"a","hard":true}"#, "hard"),
            (r#"{"do":"embed","id":"a","model":"m"}"#, "vector"),
            (r#"{"do":"restore"}"#, "id"),
            (r#"{"do":"restore","id":7}"#, "id"),
            (r#"{"do":"erase","id":"a"}"#, "erase"),
            (r#"{"id":"a"}"#, "do"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(&format!("`{named}`")), "{text}: {error}");
        }
    }
}
