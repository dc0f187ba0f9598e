//! Places for connections: how many may be open, in all and from one address.
//!
//! A place lasts as long as its connection, whatever that becomes: a WebSocket keeps it.
//!
//! When all are taken, whoever comes next waits in the system's queue until one is free. Of one address (IPv6: one /64) so many are let in
//! that nobody fills all places by himself; the next is closed at once. Proxies that are trusted speak for many and have no such bound:
//! theirs is that of requests, which they name the address of.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::neighbourhood::neighbourhood;

/// How often the log says that connections are refused or wait: with their number, not for each.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// All places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    number: u32,
    book: Arc<Book>,
}

/// Who has which.
#[derive(Debug)]
struct Book {
    per_address: u32,
    trusted: Vec<IpAddr>,
    /// By neighbourhood, how many connections are open; none without any.
    open: Mutex<HashMap<IpAddr, u32>>,
    metrics: Metrics,
    crowded: Throttle,
    full: Throttle,
}

/// A connection's place; given back when it is dropped. Every request has it as an extension, for those that outlive the HTTP they came by.
#[derive(Debug)]
pub(super) struct Place {
    book: Arc<Book>,
    /// Under which it is counted; not at all for a trusted proxy.
    counted: Option<IpAddr>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(config: &ServerConfig, metrics: Metrics) -> Self {
        let per_address = if config.connections_per_address == 0 { config.connections } else { config.connections_per_address };
        let (crowded, full) = (Throttle::default(), Throttle::default());
        let book = Book { per_address, trusted: config.trusted_proxies.clone(), open: Mutex::default(), metrics, crowded, full };
        Self { all: Arc::new(Semaphore::new(config.connections as usize)), number: config.connections, book: Arc::new(book) }
    }

    /// Waits until nobody has one any more. For the end: whoever comes meanwhile waits behind.
    pub(super) async fn emptied(&self) {
        // The semaphore is never closed, so all of it comes.
        drop(self.all.acquire_many(self.number).await);
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        (self.number as usize).saturating_sub(self.all.available_permits())
    }

    /// Waits until one is free for whoever comes next. `None` when there will be none any more.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(free) = Arc::clone(&self.all).try_acquire_owned() {
            return Some(free);
        }
        self.book.metrics.refused("connections_full");
        if let Some(times) = self.book.full.note() {
            tracing::warn!(times, "all places for connections are taken; whoever comes now waits");
        }
        // The semaphore is never closed; if it were, nobody could be let in any more.
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Takes a free one for a connection from an address; `None` when too many have come from there.
    pub(super) fn take(&self, free: OwnedSemaphorePermit, from: IpAddr) -> Option<Place> {
        let book = &self.book;
        let counted = Some(neighbourhood(from)).filter(|_| !book.trusted.contains(&from.to_canonical()));
        if let Some(counted) = counted
            && !book.enter(counted)
        {
            book.metrics.refused("too_many_connections");
            if let Some(times) = book.crowded.note() {
                tracing::warn!(times, last.from = %counted, "connections are refused: too many are open from one address");
            }
            return None;
        }
        Some(Place { book: Arc::clone(book), counted, _one_of_all: free })
    }
}

impl Book {
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, if that is allowed.
    fn enter(&self, counted: IpAddr) -> bool {
        let mut open = self.open();
        let count = open.entry(counted).or_insert(0);
        let is_allowed = *count < self.per_address;
        *count += u32::from(is_allowed);
        is_allowed
    }

    fn leave(&self, counted: IpAddr) {
        let mut open = self.open();
        if let Some(count) = open.get_mut(&counted) {
            *count -= 1;
            if *count == 0 {
                open.remove(&counted);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(counted) = self.counted {
            self.book.leave(counted);
        }
    }
}

/// What happens often is said rarely.
#[derive(Debug, Default)]
struct Throttle(Mutex<(Option<Instant>, u64)>);

impl Throttle {
    /// It happened. Answers how often since that was said last, when it is to be said now.
    fn note(&self) -> Option<u64> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.1 += 1;
        if noted.0.is_some_and(|said| said.elapsed() < SAID_EVERY) {
            return None;
        }
        noted.0 = Some(Instant::now());
        Some(std::mem::take(&mut noted.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: u32, connections_per_address: u32) -> Places {
        let trusted_proxies = vec!["192.0.2.9".parse().unwrap()];
        Places::new(&ServerConfig { connections, connections_per_address, trusted_proxies, ..ServerConfig::default() }, Metrics::new())
    }

    async fn enter(places: &Places, from: &str) -> Option<Place> {
        let free = places.free().await.unwrap();
        places.take(free, from.parse().unwrap())
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_leaves_the_others_theirs() {
        let places = places(100, 2);
        let (first, second) = (enter(&places, "2001:db8::1").await, enter(&places, "2001:db8::2").await);
        assert!(first.is_some() && second.is_some());
        assert!(enter(&places, "2001:db8::3").await.is_none(), "the same /64");
        assert_eq!(places.all.available_permits(), 98, "who is refused takes no place");
        assert!(enter(&places, "2001:db8:0:1::1").await.is_some(), "another /64");
        drop(first);
        assert!(enter(&places, "2001:db8::3").await.is_some());
        drop(second);
        assert!(places.book.open().is_empty(), "nothing is left of who has gone");
        let mut proxied = Vec::new();
        for _ in 0..10 {
            proxied.extend(enter(&places, "::ffff:192.0.2.9").await);
        }
        assert_eq!(proxied.len(), 10, "a trusted proxy speaks for many");
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_waits_for_one() {
        let places = places(1, 0);
        let only = enter(&places, "192.0.2.1").await;
        assert!(only.is_some());
        let waiting = places.clone();
        let waits = tokio::spawn(async move { enter(&waiting, "192.0.2.2").await.is_some() });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(only);
        assert!(waits.await.unwrap());
    }

    #[tokio::test]
    async fn who_waits_for_the_end_waits_for_all() {
        let places = places(3, 0);
        let (first, second) = (enter(&places, "192.0.2.1").await, enter(&places, "192.0.2.2").await);
        let waiting = places.clone();
        let waits = tokio::spawn(async move { waiting.emptied().await });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(second);
        waits.await.unwrap();
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn what_happens_often_is_said_once_a_minute() {
        let throttle = Throttle::default();
        assert_eq!([throttle.note(), throttle.note(), throttle.note()], [Some(1), None, None]);
    }
}
