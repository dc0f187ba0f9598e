//! An import as a whole: a pure machine that writes a request's documents a few hundred nodes at a time.
//!
//! The driver's contract:
//!
//! 1. Make it ([`Import::new`]); that reads all the Markdown and takes its time, so not where others are served.
//! 2. Call [`Import::step`] with the replica until it answers [`Step::Done`]. Between two steps others may write.
//! 3. After each step make the replica durable, and only then keep what [`Import::take_records`] gives: a record must not tell of nodes that
//!    were lost. A record that is lost itself costs no more than a second look.
//! 4. [`Import::report`] says what was done.
//!
//! Nothing is lost when an import stops in the middle: run again it finds what it wrote and goes on.

use std::collections::{BTreeMap, HashSet, VecDeque};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{NewNode, Replica, WriteError};
use nodespace_protocol::store::{Store, StoreError};
use nodespace_protocol::tree::Position;

use super::apply::{Applying, DocumentPlace};
use super::found;
use super::identity::Minter;
use super::kind;
use super::path::{DocumentPath, folder_name};
use super::plan::Plan;
use super::record::Record;
use super::{FILE_BYTES_MAX, Outline, markdown};
use crate::model::{DocumentOutcome, ErrorCode, ImportDocument, ImportReport, ImportRequest, Progress, ServiceError};

/// How many nodes a step looks at when its driver has no reason for another number: some tens of milliseconds.
pub const STEP_NODES_DEFAULT: usize = 500;

/// Whether an import is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// There is more to do.
    More,
    /// All documents have their outcome.
    Done,
}

/// A record to be kept: key and bytes.
pub type KeptRecord = (String, Vec<u8>);

/// Gives the kept bytes of a record.
pub type Load<S> = dyn Fn(&S, &str) -> Result<Option<Vec<u8>>, StoreError>;

/// An import in progress.
#[derive(Debug)]
pub struct Import {
    under: Option<NodeId>,
    /// By path.
    waiting: VecDeque<Waiting>,
    /// The paths of all documents of the request, in order: what stands beside a new one.
    paths: Vec<DocumentPath>,
    current: Option<Current>,
    /// The folders that have been looked after.
    folders: BTreeMap<String, NodeId>,
    records: Vec<KeptRecord>,
    report: ImportReport,
    nodes_total: u64,
    nodes_done: u64,
}

/// A document that has not begun.
#[derive(Debug)]
struct Waiting {
    /// Its place in the request.
    at: usize,
    path: DocumentPath,
    outline: Outline,
}

/// The document that is being written.
#[derive(Debug)]
struct Current {
    at: usize,
    applying: Applying,
    /// The kept record as it was.
    record: Option<Vec<u8>>,
    nodes: u64,
}

impl Import {
    /// Reads a request. A document that cannot be imported gets its outcome at once.
    ///
    /// # Errors
    /// When `under` is no node id.
    pub fn new(request: ImportRequest) -> Result<Self, ServiceError> {
        let invalid =
            |error: nodespace_protocol::ids::NodeIdError| ServiceError::new(ErrorCode::InvalidRequest, format!("`under`: {error}"));
        let under = request.under.as_deref().map(NodeId::parse).transpose().map_err(invalid)?;
        let mut report = ImportReport::default();
        let mut waiting: Vec<Waiting> = Vec::with_capacity(request.documents.len());
        let mut paths = HashSet::new();
        for (at, document) in request.documents.into_iter().enumerate() {
            let mut outcome = DocumentOutcome { path: document.path.clone(), ..DocumentOutcome::default() };
            match read(document).and_then(|(path, outline)| once(&mut paths, path).map(|path| (path, outline))) {
                Ok((path, outline)) => waiting.push(Waiting { at, path, outline }),
                Err(refusal) => {
                    report.failed += 1;
                    outcome.error = Some(refusal.0);
                }
            }
            report.outcomes.push(outcome);
        }
        waiting.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            under,
            paths: waiting.iter().map(|document| document.path.clone()).collect(),
            nodes_total: waiting.iter().map(|document| document.outline.nodes.len() as u64).sum(),
            nodes_done: 0,
            waiting: waiting.into(),
            current: None,
            folders: BTreeMap::new(),
            records: Vec::new(),
            report,
        })
    }

    /// Looks at up to about `budget` nodes and writes what is to be written. `load` gives the kept bytes of a record.
    ///
    /// # Errors
    /// When this device cannot write at all, the node to import under is not there, or storage fails. What only keeps one document from
    /// being imported becomes its outcome instead.
    pub fn step<S: Store>(&mut self, replica: &mut Replica<S>, load: &Load<S>, now: Timestamp, budget: usize) -> Result<Step, WriteError> {
        let before = replica.store().op_count();
        let mut budget = budget.max(1);
        let mut outcome = Ok(Step::More);
        while budget > 0 && matches!(outcome, Ok(Step::More)) {
            outcome = self.part(replica, load, now, &mut budget);
        }
        self.report.operations += u64::from(replica.store().op_count() - before);
        outcome
    }

    /// The records of documents that are wholly written: keep them once the writes are durable.
    pub fn take_records(&mut self) -> Vec<KeptRecord> {
        std::mem::take(&mut self.records)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let current = self.current.as_ref().map_or(0, |current| (current.applying.done() as u64).min(current.nodes));
        Progress { step: "importing".to_owned(), done: self.nodes_done + current, total: Some(self.nodes_total) }
    }

    /// What was done so far; all of it after [`Step::Done`].
    #[must_use]
    pub fn report(self) -> ImportReport {
        self.report
    }

    /// One document, or as much of it as the budget allows.
    fn part<S: Store>(&mut self, replica: &mut Replica<S>, load: &Load<S>, now: Timestamp, budget: &mut usize) -> Result<Step, WriteError> {
        let Some(mut current) = self.current.take() else { return self.begin_next(replica, load, now, budget) };
        match current.applying.step(replica, now, budget) {
            Ok(false) => self.current = Some(current),
            Ok(true) => self.end(current, None)?,
            Err(error) => self.end(current, Some(error))?,
        }
        Ok(Step::More)
    }

    fn begin_next<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        load: &Load<S>,
        now: Timestamp,
        budget: &mut usize,
    ) -> Result<Step, WriteError> {
        let Some(next) = self.waiting.pop_front() else { return Ok(Step::Done) };
        *budget -= 1;
        let nodes = next.outline.nodes.len() as u64;
        match self.begin(replica, load, now, next) {
            Ok(current) => self.current = Some(current),
            Err((at, error)) => {
                self.nodes_done += nodes;
                self.fail(at, error)?;
            }
        }
        Ok(Step::More)
    }

    /// Makes a document's folders and plan.
    fn begin<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        load: &Load<S>,
        now: Timestamp,
        next: Waiting,
    ) -> Result<Current, (usize, WriteError)> {
        let Waiting { at, path, outline } = next;
        let failed = |error: WriteError| (at, error);
        let minter = self.minter(replica);
        let parent = self.folders(replica, &minter, &path, now).map_err(failed)?;
        let key = Record::key(self.under.as_ref(), path.as_str());
        let record = load(replica.store(), &key).map_err(|error| failed(error.into()))?;
        let kept = record.as_deref().and_then(Record::decode);
        // Files of one date in several folders are all of that day.
        let id = path.date().unwrap_or_else(|| minter.document(path.as_str()));
        let position = self.position(replica, &minter, &path, path.folders().last(), parent.as_ref());
        let place = DocumentPlace { parent, position };
        let nodes = outline.nodes.len() as u64;
        let plan = Plan::make(replica, &minter, path, id, outline, kept).map_err(|error| failed(error.into()))?;
        Ok(Current { at, applying: Applying::new(plan, place), record, nodes })
    }

    fn end(&mut self, current: Current, error: Option<WriteError>) -> Result<(), WriteError> {
        let outcome = &mut self.report.outcomes[current.at];
        outcome.id = current.applying.plan.nodes.first().map(|node| node.id.to_string());
        outcome.counts = current.applying.counts;
        self.report.counts.add(&current.applying.counts);
        self.nodes_done += current.nodes;
        if let Some(error) = error {
            return self.fail(current.at, error);
        }
        self.report.documents += 1;
        let bytes = current.applying.plan.record().encode();
        if current.record.as_ref() != Some(&bytes) {
            self.records.push((Record::key(self.under.as_ref(), current.applying.plan.path.as_str()), bytes));
        }
        Ok(())
    }

    /// Notes why a document was not imported, unless nothing can be.
    fn fail(&mut self, at: usize, error: WriteError) -> Result<(), WriteError> {
        let stops = matches!(
            error,
            WriteError::ReadOnly
                | WriteError::NotMember
                | WriteError::Viewer
                | WriteError::OwnLogBehind
                | WriteError::Forked
                | WriteError::Workspace(_)
                | WriteError::Store(_)
        );
        let no_place = matches!(&error, WriteError::UnknownNode(id) if Some(id) == self.under.as_ref());
        if stops || no_place {
            return Err(error);
        }
        self.report.failed += 1;
        self.report.outcomes[at].error = Some(ServiceError::from(error).0);
        Ok(())
    }

    fn minter<S: Store>(&self, replica: &Replica<S>) -> Minter {
        let secret = replica.membership().secret().unwrap_or_else(|| replica.workspace().0);
        Minter::new(&secret, self.under.as_ref())
    }

    /// Makes the folders of a document that are missing; answers the innermost. One that was deleted or moved here stays so.
    fn folders<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        minter: &Minter,
        path: &DocumentPath,
        now: Timestamp,
    ) -> Result<Option<NodeId>, WriteError> {
        let mut parent = self.under.clone();
        let mut outer = None;
        for folder in path.folders() {
            let known = self.folders.get(folder).cloned();
            let id = match known {
                Some(known) => known,
                None => self.folder(replica, minter, path, &Folder { path: folder, outer, parent: parent.clone() }, now)?,
            };
            (parent, outer) = (Some(id), Some(folder));
        }
        Ok(parent)
    }

    fn folder<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        minter: &Minter,
        path: &DocumentPath,
        folder: &Folder<'_>,
        now: Timestamp,
    ) -> Result<NodeId, WriteError> {
        let id = minter.folder(folder.path);
        if found::exists(replica, &id)? {
            self.report.counts.unchanged += 1;
        } else {
            let position = self.position(replica, minter, path, folder.outer, folder.parent.as_ref());
            let text = NewNode::text(id.clone(), folder.parent.clone(), folder_name(folder.path));
            replica.create(now, NewNode { node_type: kind::FOLDER.to_owned(), position, ..text })?;
            self.report.counts.created += 1;
        }
        self.folders.insert(folder.path.to_owned(), id.clone());
        Ok(id)
    }

    /// Where the entry of a folder that a document is, or lies in, is put: beside what this import has beside it, else after all others.
    fn position<S: Store>(
        &self,
        replica: &Replica<S>,
        minter: &Minter,
        path: &DocumentPath,
        folder: Option<&str>,
        parent: Option<&NodeId>,
    ) -> Position {
        let tree = replica.tree();
        let own = path.entry_of(folder);
        let sibling = |other: &DocumentPath| {
            let entry = other.entry_of(folder).filter(|entry| Some(*entry) != own)?;
            let ids = [other.date().filter(|_| entry == other.as_str()), Some(entry_id(minter, other, entry))];
            Some(ids.into_iter().flatten().find(|id| tree.parent(id).as_ref().map(Option::as_ref) == Some(parent)))
        };
        // Sorted as they are, the paths within a folder stand together.
        let within = |other: &&DocumentPath| other.entry_of(folder).is_some();
        let at = self.paths.partition_point(|other| other < path);
        if let Some(before) = self.paths[..at].iter().rev().take_while(within).find_map(sibling).flatten() {
            return Position::After(before);
        }
        match self.paths[at..].iter().take_while(within).find_map(sibling).flatten() {
            Some(after) => tree.before_sibling(&after).map_or(Position::First, Position::After),
            None => Position::Last,
        }
    }
}

/// A folder that is to be made.
struct Folder<'a> {
    path: &'a str,
    /// The folder it lies in.
    outer: Option<&'a str>,
    /// That one's node.
    parent: Option<NodeId>,
}

/// The node of an entry on a document's path.
fn entry_id(minter: &Minter, path: &DocumentPath, entry: &str) -> NodeId {
    if entry == path.as_str() { minter.document(entry) } else { minter.folder(entry) }
}

/// Checks a document and reads its Markdown.
fn read(document: ImportDocument) -> Result<(DocumentPath, Outline), ServiceError> {
    let path = DocumentPath::parse(&document.path).map_err(|error| ServiceError::new(ErrorCode::InvalidValue, error.to_string()))?;
    if document.markdown.len() as u64 > FILE_BYTES_MAX {
        let message = format!("`{}` is larger than {FILE_BYTES_MAX} bytes; split it into several files", path.as_str());
        return Err(ServiceError::new(ErrorCode::TooLarge, message));
    }
    let outline = markdown::parse(path.title(), &document.markdown);
    Ok((path, outline))
}

/// Refuses a path that the request has already: the second text would be taken for a change of the first.
fn once(paths: &mut HashSet<String>, path: DocumentPath) -> Result<DocumentPath, ServiceError> {
    if paths.insert(path.as_str().to_owned()) {
        return Ok(path);
    }
    let message = format!("`{}` is in the request twice; import each file once", path.as_str());
    Err(ServiceError::new(ErrorCode::InvalidValue, message))
}
