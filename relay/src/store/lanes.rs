//! Lanes on which turns are written: whoever gets one takes along what waits for one.
//!
//! What a statement costs PostgreSQL is for a good part the same for one workspace as for sixteen, and so is the wait for the disk at its
//! end. So few statements write turns at one time, and each writes all that have gathered meanwhile. When little is written a turn finds
//! a lane free, and is written at once.
//!
//! **Invariant:** a turn is answered as written only after the COMMIT of a statement that wrote it. Whatever else became of it with others
//! (its row was locked or stood elsewhere, the statement failed, whoever wrote it was let go of) its own asker writes it again, alone: by a
//! statement that moves the row from where it stood, or does nothing. So nobody has to know what became of the first one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::turns::{Turn, write_several};
use super::{Database, StoreError, chain};

/// The fewest lanes, and the most: while one waits for the disk another one is worked at, and more make for fewer turns each.
const LANES_MIN: usize = 2;
const LANES_MAX: usize = 8;
/// What one statement writes at most, beyond its first turn.
const TURNS_MAX: usize = 64;
const OPERATIONS_MAX: usize = 4_096;
const BYTES_MAX: u64 = 8 << 20;

/// The lanes of a database.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    free: Arc<Semaphore>,
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
}

/// A turn that waits for a lane.
#[derive(Debug)]
struct Waiting {
    turn: Arc<Turn>,
    /// Whether it was written; no answer when nobody knows.
    answer: oneshot::Sender<bool>,
}

impl Lanes {
    /// As many as there are cores, within bounds.
    pub(super) fn new() -> Self {
        let lanes = std::thread::available_parallelism().map_or(LANES_MIN, usize::from).clamp(LANES_MIN, LANES_MAX);
        Self { free: Arc::new(Semaphore::new(lanes)), waiting: Arc::default() }
    }

    /// Writes a turn with whatever others wait, or waits until it is written with others. Answers whether it is known to be.
    async fn write_together(&self, database: &Database, turn: &Arc<Turn>) -> bool {
        let (answer, mut written) = oneshot::channel();
        self.lock().push_back(Waiting { turn: Arc::clone(turn), answer });
        let lane = tokio::select! {
            biased;
            written = &mut written => return written.unwrap_or(false),
            lane = self.free.acquire() => lane,
        };
        let Some(others) = self.take_along(turn) else {
            // It is being written.
            drop(lane);
            return written.await.unwrap_or(false);
        };
        let all: Vec<&Turn> = std::iter::once(&**turn).chain(others.iter().map(|other| &*other.turn)).collect();
        let moved = database.write_several(&all).await.unwrap_or_else(|error| {
            tracing::debug!(error = %chain(&error), turns = all.len(), "turns could not be written together; each is written alone");
            Vec::new()
        });
        let is_written = |turn: &Turn| moved.contains(&turn.from.number);
        for Waiting { turn, answer } in others {
            // Who has gone meanwhile does not want to know.
            answer.send(is_written(&turn)).ok();
        }
        is_written(turn)
    }

    /// Takes a turn out of those that wait, and others that fit into one statement with it: at most one of a workspace, the longest waiting
    /// first. `None` when the turn does not wait any more.
    fn take_along(&self, turn: &Arc<Turn>) -> Option<Vec<Waiting>> {
        let mut waiting = self.lock();
        waiting.retain(|other| !other.answer.is_closed());
        let own = waiting.iter().position(|other| Arc::ptr_eq(&other.turn, turn))?;
        waiting.remove(own);
        let (mut operations, mut bytes) = (turn.operations.len(), turn.bytes());
        let mut taken: Vec<Waiting> = Vec::new();
        let mut left = VecDeque::with_capacity(waiting.len());
        for other in waiting.drain(..) {
            let more = (other.turn.operations.len(), other.turn.bytes());
            let fits = operations + more.0 <= OPERATIONS_MAX && bytes + more.1 <= BYTES_MAX && taken.len() + 1 < TURNS_MAX;
            let is_of = |number: i64| number == other.turn.from.number;
            let is_second = is_of(turn.from.number) || taken.iter().any(|taken| is_of(taken.turn.from.number));
            if fits && !is_second {
                (operations, bytes) = (operations + more.0, bytes + more.1);
                taken.push(other);
            } else {
                left.push_back(other);
            }
        }
        *waiting = left;
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // Nothing in here panics half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Writes a turn that one statement writes (see [`NodeRows::is_at_once`](super::NodeRows::is_at_once)), if its workspace still stands where
    /// it did. Answers whether that was so. Each statement has its time; the wait for a lane is as long as those of others take.
    pub(crate) async fn write_turn(&self, turn: &Arc<Turn>) -> Result<bool, StoreError> {
        if self.lanes().write_together(self, turn).await {
            return Ok(true);
        }
        // Its row is waited for, and whoever else wants to write does not wait for that.
        let alone = async {
            let mut connection = self.writers().take().await.map_err(StoreError::doing("connecting for a turn"))?;
            let written = turn.write(&mut connection).await?;
            connection.keep();
            Ok(written)
        };
        self.within(alone).await
    }

    async fn write_several(&self, turns: &[&Turn]) -> Result<Vec<i64>, StoreError> {
        let together = async {
            let mut connection = self.writers().take().await.map_err(StoreError::doing("connecting for turns"))?;
            let moved = write_several(&mut connection, turns).await?;
            connection.keep();
            Ok(moved)
        };
        self.within(together).await
    }
}

#[cfg(test)]
mod tests;
