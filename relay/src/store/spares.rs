//! Connections that stay at hand between two questions.
//!
//! A pool asks each connection that comes back to it whether it is still there: a round trip more for each question, however short. So
//! one whose question was answered to the end waits here for the next one, for a moment. When that is over it goes back to its pool,
//! which asks it.
//!
//! **Invariant:** only a connection that has answered everything it was asked waits here. One that was let go of half-way, or has failed,
//! goes to its pool, which waits for the rest of the answer or closes it.
//!
//! **Invariant:** whoever asks the pool itself is not kept waiting by what waits here: it is at most half of the pool, and nothing is
//! added while the pool has no connection to give.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

/// How long a connection stays out of its pool. It is as long as the pool takes one to be there that it was given back.
const MOMENT: Duration = Duration::from_secs(1);

/// The connections of a pool that wait for the next question.
#[derive(Clone, Debug)]
pub(crate) struct Spares {
    pool: PgPool,
    pool_max: u32,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    spares: Vec<Spare>,
    /// The pool is being closed: everything goes back.
    is_closed: bool,
}

#[derive(Debug)]
struct Spare {
    connection: PoolConnection<Postgres>,
    /// When it was taken from the pool.
    since: Instant,
}

impl Spare {
    fn is_stale(&self) -> bool {
        self.since.elapsed() > MOMENT
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Going back takes a runtime, and there may be none any more; the pool is not needed any more either.
        self.spares.drain(..).for_each(|spare| drop(spare.connection.detach()));
    }
}

/// A connection for one question. Unless it is kept it goes back to its pool.
#[derive(Debug)]
pub(crate) struct Lent {
    spare: Spare,
    spares: Spares,
}

impl Lent {
    /// It has answered everything: it stays at hand.
    pub(crate) fn keep(self) {
        self.spares.put(self.spare);
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.spare.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.spare.connection
    }
}

impl Spares {
    /// Of a pool of at most so many connections.
    pub(super) fn of(pool: PgPool, pool_max: u32) -> Self {
        Self { pool, pool_max, waiting: Arc::default() }
    }

    /// A connection: one that waits, or one of the pool.
    pub(crate) async fn take(&self) -> Result<Lent, sqlx::Error> {
        let spare = match self.pop() {
            Some(spare) => spare,
            None => {
                let connection = self.pool.acquire().await?;
                Spare { connection, since: Instant::now() }
            }
        };
        Ok(Lent { spare, spares: self.clone() })
    }

    fn pop(&self) -> Option<Spare> {
        self.give_back_stale();
        self.lock().spares.pop()
    }

    fn put(&self, spare: Spare) {
        let has_more = self.pool.num_idle() > 0 || self.pool.size() < self.pool_max;
        let mut waiting = self.lock();
        let is_room = waiting.spares.len() < self.pool_max as usize / 2;
        if has_more && is_room && !waiting.is_closed && !spare.is_stale() {
            waiting.spares.push(spare);
        }
    }

    /// Gives back to the pool what has waited for long enough.
    pub(super) fn give_back_stale(&self) {
        let stale: Vec<Spare> = self.lock().spares.extract_if(.., |spare| spare.is_stale()).collect();
        drop(stale);
    }

    /// Gives everything back, from now on: a pool that is closed waits for all its connections.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.spares.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
