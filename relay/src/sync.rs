//! A packet and its answer. The document's `CloudSyncService`.
//!
//! ```text
//!   bytes ─▶ decompressed and parsed within bounds
//!         ─▶ checked (`SyncSecurity`): sender, structure, rate, authors, integrity, content
//!         ─▶ pushed: one turn of the workspace; what is stored is acknowledged
//!         ─▶ pulled: what comes after the packet's cursor, up to a page
//!         ─▶ answer, with the relay's signed word on its log
//! ```
//!
//! A packet with nothing to push still pulls. What it holds of the memory for bodies ([`Share`]) goes with it: into the thread that reads
//! it, into the workspace's queue, until all of them are done with it, whether anybody waits for the answer or not.

mod answer;
mod intake;

use std::sync::Arc;

use axum::body::Bytes;
use nodespace_protocol::ids::OpHash;
use nodespace_protocol::view::consistency::VerifiedOps;
use nodespace_protocol::view::{Cursor, SyncResponse};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::attachments::Attachments;
use crate::auth::{Caller, Grant};
use crate::config::QuotaConfig;
use crate::key::RelayKey;
use crate::limits::Limits;
use crate::memory::Share;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::store::{Database, Epoch, StoreError, WorkspaceRow};
use crate::workspace::{Hub, PushJob, Pushed};
use intake::Intake;

pub use answer::{Compression, PAGE_BOUNDS};
pub use intake::SEGMENT_BYTES_MAX;

/// How an answer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct SyncOptions {
    /// Whether it brings a view of each operation; by default when the packet is JSON.
    pub views: Option<bool>,
    /// Whether it brings what comes after the packet's cursor: a device that empties a long queue asks for that once, at the end.
    pub pull: bool,
    /// How it may be compressed.
    pub compression: Compression,
}

/// An answer as bytes.
#[derive(Clone, Debug)]
pub struct SyncAnswer {
    /// The body.
    pub bytes: Vec<u8>,
    /// How it is written.
    pub encoding: nodespace_protocol::view::Encoding,
    /// How it is compressed.
    pub compression: nodespace_protocol::compress::CompressionType,
}

/// The fewest packets that are read and checked at once, however few cores there are.
const INTAKES_MIN: usize = 4;
/// The most, however many there are: each takes memory that is not charged to it.
const INTAKES_MAX: usize = 16;

/// How many packets may be read and checked at once: twice as many as there are cores. Turns share the threads with them, and hold locks
/// while they wait for one.
pub(crate) fn intakes() -> Arc<Semaphore> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((2 * cores).clamp(INTAKES_MIN, INTAKES_MAX)))
}

/// Takes packets. The document's `CloudSyncService`.
#[derive(Clone, Debug)]
pub struct CloudSyncService {
    pub(crate) database: Database,
    pub(crate) hub: Hub,
    pub(crate) limits: Limits,
    pub(crate) attachments: Attachments,
    pub(crate) metrics: Metrics,
    pub(crate) key: RelayKey,
    pub(crate) quota: QuotaConfig,
    pub(crate) intakes: Arc<Semaphore>,
}

impl CloudSyncService {
    /// Takes a packet and answers it. The document's `process_sync_packet`.
    ///
    /// # Errors
    /// When it is refused. Nothing of it was stored then, unless the reason is the relay's own: the answer may have come to nothing later.
    pub async fn process_sync_packet(
        &self,
        caller: &Caller,
        bytes: Bytes,
        share: Share,
        options: SyncOptions,
    ) -> Result<SyncAnswer, Refusal> {
        self.metrics.packet(bytes.len());
        let (Intake { encoding, cursor, segments, carried }, share) = self.take_in(caller, bytes, share).await?;
        let share = Arc::new(share);
        let caught_up = self.caught_up(caller, cursor.epoch).await?;
        let caller = caught_up.as_ref().unwrap_or(caller);
        let cursor = self.check_cursor(caller, cursor)?;
        let pushed = self.push(caller, segments, &share).await?;
        // As the turn left it; without one, as it was when the caller was looked up.
        let row = pushed.row.clone().or_else(|| caller.row.clone());
        let mut row = row.ok_or_else(|| Refusal::not_found("unknown_workspace", "this relay does not hold the workspace"))?;
        // A turn does not look at how much there is of attachments.
        row.attachment_bytes = caller.row.as_ref().map_or(0, |row| row.attachment_bytes).max(row.attachment_bytes);
        if !carried.is_empty() && !pushed.applied.is_empty() {
            Box::pin(self.attachments.store_carried(caller.workspace, &row, &carried)).await;
        }
        let views = options.views.unwrap_or(encoding == nodespace_protocol::view::Encoding::Json);
        let mut response = if options.pull {
            self.pull(caller, &row, cursor, &pushed, views).await?
        } else {
            self.database.epoch().check(cursor.epoch)?;
            SyncResponse { more: row.version > cursor.version, ..SyncResponse::nothing_new(cursor) }
        };
        response.applied_operations = pushed.applied.iter().map(OpHash::uuid).collect();
        response.conflicts = pushed.conflicts;
        response.left_out = pushed.left_out;
        let (operations, conflicts) = (response.segments.len(), response.conflicts.len());
        // What has no operations is written at once.
        let write = move || answer::encode(&response, encoding, options.compression);
        let answer = if operations + conflicts == 0 { write()? } else { in_thread(write).await?? };
        self.metrics.answer(operations, answer.bytes.len(), conflicts);
        Ok(answer)
    }

    /// Reads and checks a packet, where that holds up nobody else. Its share is what that may take meanwhile, and then what is left of it.
    async fn take_in(&self, caller: &Caller, bytes: Bytes, mut share: Share) -> Result<(Intake, Share), Refusal> {
        let (caller, limits, runtime) = (caller.clone(), self.limits.clone(), Handle::current());
        // Whoever waits here holds nothing that others want.
        let permit = Arc::clone(&self.intakes).acquire_owned().await.ok();
        in_thread(move || -> Result<(Intake, Share), Refusal> {
            let intake = Intake::of(bytes, &caller, &limits, &runtime, &mut share);
            drop(permit);
            let intake = intake?;
            share.set_to(intake.bytes())?;
            Ok((intake, share))
        })
        .await?
    }

    /// The caller as of the epoch that a cursor names, if that is later than the caller's and has begun by now: another instance may have
    /// told the device of it before this one has heard, and no answer is to lead back to the epoch before. What was read of the workspace
    /// may be of that one, so its row is read again.
    async fn caught_up(&self, caller: &Caller, named: Epoch) -> Result<Option<Caller>, Refusal> {
        if named <= caller.epoch {
            return Ok(None);
        }
        let epoch = self.database.within(self.database.epoch().look(self.database.read())).await?;
        if epoch == caller.epoch {
            return Ok(None);
        }
        let row = self.database.within(WorkspaceRow::read(self.database.read(), &caller.workspace)).await?;
        let number = |row: &Option<WorkspaceRow>| row.as_ref().map(|row| row.number);
        if number(&row) != number(&caller.row) {
            // It was deleted, or is another one: what the caller may do there has to be looked up anew.
            return Err(StoreError::SetBack.into());
        }
        Ok(Some(Caller { epoch, row, ..caller.clone() }))
    }

    /// Where the answer begins. A cursor of another epoch counts versions that are void: from the beginning then.
    fn check_cursor(&self, caller: &Caller, cursor: Cursor) -> Result<Cursor, Refusal> {
        let beginning = Cursor { epoch: caller.epoch, version: 0 };
        if cursor.epoch != caller.epoch {
            return Ok(beginning);
        }
        let held = caller.row.as_ref().map_or(0, |row| row.version);
        if cursor.version > held {
            self.metrics.cursor_ahead();
            tracing::warn!(workspace = %caller.workspace.short(), cursor.version, held, "a device names a version that was never given out");
            let message =
                format!("the cursor names version {} of this epoch, the log ends at {held}; start again from version 0", cursor.version);
            return Err(Refusal::new(axum::http::StatusCode::CONFLICT, "cursor_ahead", message));
        }
        Ok(cursor)
    }

    async fn push(&self, caller: &Caller, segments: Vec<VerifiedOps>, share: &Arc<Share>) -> Result<Pushed, Refusal> {
        let seen_version = caller.row.as_ref().map_or(0, |row| row.version);
        let job = PushJob { user: caller.user, device: caller.device, segments, seen_version };
        if job.segments.is_empty() {
            // Nothing to push: the workspace must be here to be pulled.
            return caller.row().map(|_| Pushed::default());
        }
        self.check_grant(caller, &job).await?;
        let founds = caller.row.is_none();
        let pushed = match self.hub.push(caller.workspace, job, Arc::clone(share)).await {
            // It was not founded: perhaps because the database has counted what its user has brought since it was counted here.
            Err(refusal) if founds && refusal.code == "unknown_workspace" => {
                self.check_founded(caller).await?;
                return Err(refusal);
            }
            pushed => pushed?,
        };
        match pushed.left_out.iter().find(|left_out| !left_out.waits) {
            Some(refused) if pushed.applied.is_empty() => {
                Err(Refusal::new(axum::http::StatusCode::FORBIDDEN, stable_code(&refused.code), &refused.message))
            }
            _ => Ok(pushed),
        }
    }

    async fn check_grant(&self, caller: &Caller, job: &PushJob) -> Result<(), Refusal> {
        match caller.grant {
            Grant::Member(_) => Ok(()),
            Grant::Newcomer if job.brings_membership() => Ok(()),
            Grant::Newcomer => Err(Refusal::forbidden("join_first", "bring the operation that makes this device a member's first")),
            // It goes on with what it brought.
            Grant::Founder if caller.row.is_some() => Ok(()),
            Grant::Founder if !job.founds() => {
                Err(Refusal::not_found("unknown_workspace", "this relay does not hold the workspace; its founding operation brings it"))
            }
            Grant::Founder => self.check_founded(caller).await,
        }
    }

    /// Whether the caller may bring one more workspace. Looked at before anything is done for it; the database decides when it is added.
    async fn check_founded(&self, caller: &Caller) -> Result<(), Refusal> {
        let founded = self.database.within(WorkspaceRow::founded_by(self.database.read(), &caller.user)).await?;
        if founded < u64::from(self.quota.workspaces_per_user) {
            return Ok(());
        }
        let message = format!("this relay keeps {} workspaces of one user", self.quota.workspaces_per_user);
        Err(Refusal::forbidden("too_many_workspaces", message))
    }

    async fn pull(
        &self,
        caller: &Caller,
        row: &WorkspaceRow,
        cursor: Cursor,
        pushed: &Pushed,
        views: bool,
    ) -> Result<SyncResponse, Refusal> {
        let page = match answer::Page::of_own(row, cursor.version, pushed.added.as_ref()) {
            Some(page) => page,
            None => answer::Page::read(&self.database, row, cursor.version).await?,
        };
        // What was read belongs to one epoch: a database that was set back meanwhile was noticed before it answered.
        self.database.epoch().check(cursor.epoch)?;
        let (mut response, ops) = page.response(&self.key, caller.workspace, cursor, &pushed.applied)?;
        response.more = response.latest_version < row.version;
        if views && !ops.is_empty() {
            response.new_operations = answer::views(&self.hub, caller.workspace, ops).await?;
        }
        Ok(response)
    }
}

/// The protocol's codes are static; what came through an answer's text is found again among them.
fn stable_code(code: &str) -> &'static str {
    const CODES: [&str; 5] = ["not_authorised", "bad_chain", "bad_clock", "no_membership_named", "unreadable_workspace_operation"];
    CODES.into_iter().find(|known| *known == code).unwrap_or("refused")
}

/// Runs what computes for long where it holds up nobody else.
pub(crate) async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(panicked = error.is_panic(), "a request's work ended early; this is a fault of the relay");
        let message = "a fault of the relay; what was sent is perhaps not stored";
        Refusal::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "relay_fault", message)
    })
}
