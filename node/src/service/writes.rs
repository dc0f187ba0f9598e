//! Writes: one at a time or as a batch; each durable when it is answered.

use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::fold::embedding::content_hash;
use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::replica::{NewEmbedding, NewNode, NodeUpdate, TextUpdate};
use nodespace_protocol::text::TextPatch;
use serde_json::Value;

use super::{nodes, parse};
use crate::engine::{DeviceReplica, Workspace};
use crate::model::batch::BATCH_ITEMS_MAX;
use crate::model::{
    BatchItem, BatchOutcome, BatchReply, BatchRequest, CreateNode, DeleteNode, ErrorCode, MoveNode, PutEmbedding, ServiceError, UpdateNode,
    WriteReply,
};

/// What a write did: to which node, by which operation if one was needed.
type Written = Result<(NodeId, Option<OpHash>), ServiceError>;

impl Workspace {
    /// Makes a node.
    ///
    /// # Errors
    /// When the id is taken, the parent or sibling is not there, or a value cannot be written.
    pub async fn create_node(&self, client: Option<String>, request: CreateNode) -> Result<WriteReply, ServiceError> {
        self.one(client, BatchItem::Create { create: request }).await
    }

    /// Changes a node.
    ///
    /// # Errors
    /// When it is not there, has another version than expected, or a value cannot be written; nothing is changed then.
    pub async fn update_node(&self, client: Option<String>, id: &str, request: UpdateNode) -> Result<WriteReply, ServiceError> {
        self.one(client, BatchItem::Update { id: id.to_owned(), update: request }).await
    }

    /// Moves a node.
    ///
    /// # Errors
    /// When node, parent or sibling is not there, or the node would come to lie below itself.
    pub async fn move_node(&self, client: Option<String>, id: &str, request: MoveNode) -> Result<WriteReply, ServiceError> {
        self.one(client, BatchItem::Move { id: id.to_owned(), to: request }).await
    }

    /// Deletes a node. Its children stay, below a placeholder.
    ///
    /// # Errors
    /// When it is not there, or has another version than expected.
    pub async fn delete_node(&self, client: Option<String>, id: &str, request: DeleteNode) -> Result<WriteReply, ServiceError> {
        self.one(client, BatchItem::Delete { id: id.to_owned(), how: request }).await
    }

    /// Brings a deleted node back as it was.
    ///
    /// # Errors
    /// When it never was, or was deleted for good.
    pub async fn restore_node(&self, client: Option<String>, id: &str) -> Result<WriteReply, ServiceError> {
        self.one(client, BatchItem::Restore { id: id.to_owned() }).await
    }

    /// Attaches an embedding of the node's present text. The full vector stays on this device; what travels is its 8-bit form.
    ///
    /// # Errors
    /// When the node is not there, or the vector has another length than the model's others, or is not finite.
    pub async fn put_embedding(
        &self,
        client: Option<String>,
        id: &str,
        model: &str,
        request: PutEmbedding,
    ) -> Result<WriteReply, ServiceError> {
        self.one(client, BatchItem::Embed { id: id.to_owned(), model: model.to_owned(), embedding: request }).await
    }

    /// Many writes, each with an outcome of its own, all durable when it is answered.
    ///
    /// # Errors
    /// When there are too many items, or the store fails; a failing item is an outcome, not an error.
    pub async fn batch(&self, client: Option<String>, request: BatchRequest) -> Result<BatchReply, ServiceError> {
        let count = request.items.len();
        if count > BATCH_ITEMS_MAX {
            let message = format!("a batch has at most {BATCH_ITEMS_MAX} items, this one has {count}: send several");
            return Err(ServiceError::new(ErrorCode::TooLarge, message));
        }
        let feed = self.feed();
        let outcomes = self
            .write(client, move |replica, now| {
                let mut outcomes = Vec::with_capacity(request.items.len());
                for item in request.items {
                    outcomes.push(match apply(replica, now, item).and_then(|written| reply(replica, &feed, written)) {
                        Ok(reply) => BatchOutcome::Done(Box::new(reply)),
                        // A store that failed has answered nobody: the whole batch is refused by its commit.
                        Err(error) => BatchOutcome::Failed(error.0),
                    });
                }
                Ok(outcomes)
            })
            .await?;
        let done = outcomes.iter().filter(|outcome| matches!(outcome, BatchOutcome::Done(_))).count();
        Ok(BatchReply { failed: outcomes.len() - done, done, outcomes })
    }

    async fn one(&self, client: Option<String>, item: BatchItem) -> Result<WriteReply, ServiceError> {
        let feed = self.feed();
        self.write(client, move |replica, now| {
            let written = apply(replica, now, item)?;
            reply(replica, &feed, written)
        })
        .await
    }
}

fn reply(replica: &DeviceReplica, feed: &Arc<crate::engine::Feed>, (id, op): (NodeId, Option<OpHash>)) -> Result<WriteReply, ServiceError> {
    let cursor = feed.cursor_after(replica).to_string();
    Ok(WriteReply { node: nodes::now(replica, &id)?, op: op.map(|op| op.to_string()), cursor })
}

/// Does one write.
pub(crate) fn apply(replica: &mut DeviceReplica, now: Timestamp, item: BatchItem) -> Written {
    match item {
        BatchItem::Create { create } => self::create(replica, now, create),
        BatchItem::Update { id, update } => self::update(replica, now, &id, update),
        BatchItem::Move { id, to } => relocate(replica, now, &id, &to),
        BatchItem::Delete { id, how } => {
            let id = checked(replica, &id, how.expected_heads.as_deref(), how.expected_version)?;
            let op = replica.delete(now, &id, !how.hard)?;
            Ok((id, Some(op)))
        }
        BatchItem::Restore { id } => {
            let id = parse::node_id(&id)?;
            let deleted = replica.view(&id)?.deleted;
            let op = if deleted { Some(replica.restore_node(now, &id)?) } else { None };
            Ok((id, op))
        }
        BatchItem::Embed { id, model, embedding } => embed(replica, now, &id, model, embedding.vector),
    }
}

fn create(replica: &mut DeviceReplica, now: Timestamp, request: CreateNode) -> Written {
    let id = match &request.id {
        Some(id) => parse::node_id(id)?,
        None => NodeId::Uuid(uuid::Uuid::from_bytes(random_uuid()?)),
    };
    let node = NewNode {
        id: id.clone(),
        node_type: request.node_type.unwrap_or_else(|| "text".to_owned()),
        content: request.content,
        metadata: Value::Object(request.metadata),
        mentions: parse::node_ids(&request.mentions)?,
        parent: request.parent_id.as_deref().map(parse::node_id).transpose()?,
        position: parse::position(&request.place)?,
    };
    let op = replica.create(now, node)?;
    Ok((id, Some(op)))
}

/// The bytes of a random (version 4) UUID.
fn random_uuid() -> Result<[u8; 16], ServiceError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ServiceError::new(ErrorCode::Internal, format!("the system gives no random numbers: {error}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
}

fn update(replica: &mut DeviceReplica, now: Timestamp, id: &str, request: UpdateNode) -> Written {
    let id = checked(replica, id, request.expected_heads.as_deref(), request.expected_version)?;
    let text = match (request.content, request.edits) {
        (Some(_), Some(_)) => {
            return Err(ServiceError::new(ErrorCode::InvalidRequest, "give either `content` or `edits`, not both"));
        }
        (Some(content), None) => Some(TextUpdate::Whole(content)),
        (None, Some(edits)) => {
            Some(TextUpdate::Edits(edits.into_iter().map(|edit| TextPatch::new(edit.position, edit.delete, edit.insert)).collect()))
        }
        (None, None) => None,
    };
    let update = NodeUpdate {
        text,
        node_type: request.node_type,
        metadata: request.metadata.map(Value::Object),
        mentions_added: parse::node_ids(&request.add_mentions)?,
        mentions_removed: parse::node_ids(&request.remove_mentions)?,
    };
    let op = replica.update(now, &id, update)?;
    Ok((id, op))
}

fn relocate(replica: &mut DeviceReplica, now: Timestamp, id: &str, request: &MoveNode) -> Written {
    let id = checked(replica, id, request.expected_heads.as_deref(), request.expected_version)?;
    let parent = request.parent_id.as_deref().map(parse::node_id).transpose()?;
    let op = replica.move_node(now, &id, parent.as_ref(), &parse::position(&request.place)?)?;
    Ok((id, Some(op)))
}

fn embed(replica: &mut DeviceReplica, now: Timestamp, id: &str, model: String, vector: Vec<f32>) -> Written {
    let id = parse::node_id(id)?;
    let source = replica.node(&id)?.map(|state| content_hash(state.content())).unwrap_or_default();
    super::embeddings::check(replica, &model, &vector)?;
    let embedding = NewEmbedding { model, vector };
    let op = replica.attach_embedding(now, &id, &embedding)?;
    // The operation carries the 8-bit form; the full vector is kept for the table.
    replica.store().put_vector(&id, &embedding.model, &source, &embedding.vector)?;
    Ok((id, Some(op)))
}

/// The node's id, if it has the heads and the version that were expected.
fn checked(replica: &DeviceReplica, id: &str, heads: Option<&[String]>, version: Option<u64>) -> Result<NodeId, ServiceError> {
    let id = parse::node_id(id)?;
    if heads.is_none() && version.is_none() {
        return Ok(id);
    }
    let expected = heads.map(parse::heads).transpose()?;
    let present = replica.heads(&id)?;
    let found = present.iter().map(|head| head.version).max().unwrap_or_default();
    let message = if version.is_some_and(|version| version != found) {
        format!("node `{id}` has version {found}, not {}: read it again and decide anew", version.unwrap_or_default())
    } else if expected.is_some_and(|expected| expected != present.iter().map(|head| head.hash).collect()) {
        format!("node `{id}` has other heads than those expected (its version is {found}): read it again and decide anew")
    } else {
        return Ok(id);
    };
    let mut error = ServiceError::new(ErrorCode::StaleVersion, message);
    error.0.version = Some(found);
    Err(error)
}
