//! The kinds of writes, as requests.

use hyper::Method;
use serde_json::{Value, json};

use super::words::{self, BASE};
use super::{ATTEMPTS_MAX, Work, Writer};
use crate::cluster::api::answer::{Node, WriteReply};
use crate::cluster::api::{Api, ApiError, encode};

/// People mostly work on what is recent: the latest so many nodes.
const RECENT: u64 = 200;

impl Writer {
    pub(super) async fn act(&mut self, api: &Api, work: Work) -> Result<(), ApiError> {
        match work {
            Work::Create => self.create(api).await,
            Work::Edit => self.edit(api).await,
            Work::Metadata | Work::Retag => self.tag(api, work).await,
            Work::Move | Work::Tangle => self.put_below(api, work).await,
            Work::Delete => match self.any_node() {
                Some(node) => self.send(api, (Method::DELETE, &path(&node, "")), None, work).await,
                None => self.create(api).await,
            },
            Work::Rewrite => match self.hot_node() {
                Some(node) => {
                    let text = words::sentence(&mut self.dice);
                    self.send(api, (Method::PATCH, &path(&node, "")), Some(json!({ "content": text })), work).await
                }
                None => self.create(api).await,
            },
            Work::Toggle => match self.hot_node() {
                Some(node) if self.dice.chance(500) => self.send(api, (Method::DELETE, &path(&node, "")), None, work).await,
                Some(node) => self.send(api, (Method::POST, &path(&node, "/restore")), None, work).await,
                None => self.create(api).await,
            },
        }
    }

    async fn create(&mut self, api: &Api) -> Result<(), ApiError> {
        let id = uuid::Builder::from_random_bytes(self.dice.bytes()).into_uuid().to_string();
        let word = self.word();
        let content = format!("{BASE}{word} {}", words::sentence(&mut self.dice));
        let parent = self.any_node().filter(|_| self.dice.chance(800));
        let body = json!({ "id": id, "content": content, "parent_id": parent });
        let sent = self.ledger.now();
        let reply = api.post("/v1/nodes", &body).await?;
        self.note(reply, Work::Create, sent, Some(word));
        Ok(())
    }

    /// Types a word between two others, as an application does: with the heads it has read, so that a position means the text it was read in.
    async fn edit(&mut self, api: &Api) -> Result<(), ApiError> {
        let Some(node) = self.any_node() else { return self.create(api).await };
        let word = self.word();
        for attempt in 1.. {
            let read: Node = api.get(&path(&node, "")).await?;
            let position = words::gap(&read.content, &mut self.dice);
            let edit = json!({ "position": position, "insert": format!("{word} ") });
            let body = json!({ "edits": [edit], "expected_heads": read.heads });
            let sent = self.ledger.now();
            match api.patch(&path(&node, ""), &body).await {
                Ok(reply) => {
                    self.note(reply, Work::Edit, sent, Some(word));
                    break;
                }
                // Somebody else was faster: read again.
                Err(error) if error.code() == Some("stale_version") && attempt < ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn tag(&mut self, api: &Api, work: Work) -> Result<(), ApiError> {
        let node = if work == Work::Retag { self.hot_node() } else { self.any_node() };
        let Some(node) = node else { return self.create(api).await };
        let body = json!({ "metadata": { "status": words::pick(&mut self.dice), "priority": self.dice.below(1000) } });
        self.send(api, (Method::PATCH, &path(&node, "")), Some(body), work).await
    }

    async fn put_below(&mut self, api: &Api, work: Work) -> Result<(), ApiError> {
        let tangles = work == Work::Tangle;
        let (node, parent) = if tangles { (self.hot_node(), self.hot_node()) } else { (self.any_node(), self.any_node()) };
        let (Some(node), Some(parent)) = (node, parent) else { return self.create(api).await };
        if node == parent {
            return self.create(api).await;
        }
        let place = if self.dice.chance(500) { "first" } else { "last" };
        self.send(api, (Method::POST, &path(&node, "/move")), Some(json!({ "parent_id": parent, "place": place })), work).await
    }

    async fn send(&self, api: &Api, (method, path): (Method, &str), body: Option<Value>, work: Work) -> Result<(), ApiError> {
        let sent = self.ledger.now();
        let reply: WriteReply = api.ask(method, path, body.as_ref()).await?;
        self.note(reply, work, sent, None);
        Ok(())
    }

    /// A node that this device knows and nobody quarrels about.
    fn any_node(&mut self) -> Option<String> {
        let dice = &mut self.dice;
        let chosen = self.ledger.node(self.device, |count| {
            let recent = RECENT.min(count as u64);
            if dice.chance(700) { count.saturating_sub(1 + dice.below(recent) as usize) } else { dice.index(count) }
        });
        chosen.filter(|node| !self.hot.contains(node))
    }

    fn hot_node(&mut self) -> Option<String> {
        self.dice.pick(&self.hot).cloned()
    }

    /// A word that nobody else has.
    fn word(&mut self) -> String {
        self.written += 1;
        format!("w{}x{}x{}", self.device, self.phase, self.written)
    }
}

fn path(node: &str, rest: &str) -> String {
    format!("/v1/nodes/{}{rest}", encode(node))
}
