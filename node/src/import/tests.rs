//! Importing into a replica in memory, again and again.

use std::collections::BTreeMap;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::replica::{Author, Founding, NewNode, Replica};
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::tree::Position;

use super::{Import, Step};
use crate::model::{ImportDocument, ImportReport, ImportRequest};

mod changes;
mod edges;
mod random;

/// A device with a workspace and its records.
pub(crate) struct Device {
    pub(crate) replica: Replica<MemoryStore>,
    pub(crate) records: BTreeMap<String, Vec<u8>>,
    clock_ms: u64,
}

impl Device {
    /// Founds the workspace; the same on every call, so that two devices can be of one.
    pub(crate) fn new() -> Self {
        let key = KeyPair::from_seed(&[1; 32]);
        let certificate = Certificate::issue(&KeyPair::from_seed(&[101; 32]), key.device());
        let founding = Founding { name: "test".into(), policy: Policy::default(), secret: [9; 32] };
        let author = Author { key, epoch: 1 };
        let replica = Replica::found(MemoryStore::new(), author, certificate, founding, Timestamp::from_ms(1_000)).unwrap();
        Self { replica, records: BTreeMap::new(), clock_ms: 1_000 }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        self.clock_ms += 1;
        Timestamp::from_ms(self.clock_ms)
    }

    pub(crate) fn import_in_steps(&mut self, request: ImportRequest, budget: usize) -> ImportReport {
        let mut import = Import::new(request).unwrap();
        loop {
            let now = self.now();
            let records = self.records.clone();
            let step = import.step(&mut self.replica, &move |_, key| Ok(records.get(key).cloned()), now, budget).unwrap();
            self.records.extend(import.take_records());
            if step == Step::Done {
                let progress = import.progress();
                assert_eq!(Some(progress.done), progress.total);
                return import.report();
            }
        }
    }

    /// Imports files given as (path, text).
    pub(crate) fn import(&mut self, files: &[(&str, &str)]) -> ImportReport {
        self.import_in_steps(request(files), 500)
    }

    /// The living tree as indented lines: type and text.
    pub(crate) fn tree(&self) -> String {
        let mut lines = Vec::new();
        let mut waiting: Vec<(NodeId, usize)> = self.replica.tree().children(None).into_iter().rev().map(|id| (id, 0)).collect();
        while let Some((id, depth)) = waiting.pop() {
            let view = self.replica.view(&id).unwrap();
            let mark = if view.deleted { "x " } else { "" };
            lines.push(format!("{}{mark}{} {}", "  ".repeat(depth), view.node_type, view.content.replace('\n', "|")));
            waiting.extend(self.replica.tree().children(Some(&id)).into_iter().rev().map(|child| (child, depth + 1)));
        }
        lines.join("\n")
    }

    /// The id of the only living node with a text.
    pub(crate) fn id(&self, text: &str) -> NodeId {
        let views = self.replica.node_ids().into_iter().map(|id| self.replica.view(&id).unwrap());
        let mut found: Vec<NodeId> = views.filter(|view| view.content == text && !view.deleted).map(|view| view.id).collect();
        assert_eq!(found.len(), 1, "nodes with the text {text:?}");
        found.remove(0)
    }

    pub(crate) fn edit(&mut self, text: &str, new: &str) {
        let (id, now) = (self.id(text), self.now());
        self.replica.set_text(now, &id, new).unwrap();
    }

    pub(crate) fn add(&mut self, id: &str, parent: &NodeId, text: &str) {
        let now = self.now();
        self.replica.create(now, NewNode::text(NodeId::parse(id).unwrap(), Some(parent.clone()), text)).unwrap();
    }

    pub(crate) fn relocate(&mut self, text: &str, parent: &NodeId) {
        let (id, now) = (self.id(text), self.now());
        self.replica.move_node(now, &id, Some(parent), &Position::Last).unwrap();
    }

    pub(crate) fn delete(&mut self, text: &str) {
        let (id, now) = (self.id(text), self.now());
        self.replica.delete(now, &id, true).unwrap();
    }
}

pub(crate) fn request(files: &[(&str, &str)]) -> ImportRequest {
    let document = |(path, markdown): &(&str, &str)| ImportDocument { path: (*path).into(), markdown: (*markdown).into() };
    ImportRequest { documents: files.iter().map(document).collect(), under: None }
}

/// What an import did, in short: only what is not nought.
pub(crate) fn short(report: &ImportReport) -> String {
    let counts = &report.counts;
    let each = [
        ("created", counts.created),
        ("updated", counts.updated),
        ("moved", counts.moved),
        ("deleted", counts.deleted),
        ("unchanged", counts.unchanged),
        ("kept", counts.kept),
        ("overwritten", counts.overwritten),
        ("failed", report.failed),
        ("operations", report.operations),
    ];
    each.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
