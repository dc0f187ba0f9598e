//! One direction of one connection: pieces are read, held for as long as the conditions say, and handed on in order.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::conditions::{Cut, Direction, Way};
use super::{RETRANSMISSION, Shared};
use crate::sim::dice::Dice;

/// The most that is read at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Pieces on the way at most; a sender that is faster waits, as it would for a full window.
const PIECES_MAX: usize = 64;

/// A piece and when it arrives.
type Piece = (Instant, Vec<u8>);

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    pub(super) shared: &'a Shared,
    pub(super) direction: Direction,
    /// Set when bytes vanished: the connection cannot go on after that.
    pub(super) doomed: &'a AtomicBool,
    pub(super) seed: u64,
}

impl Pump<'_> {
    /// Carries until the source has said all.
    pub(super) async fn run(&self, source: ReadHalf<'_>, sink: WriteHalf<'_>) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::try_join!(self.take(source, sender), self.give(receiver, sink)).map(|_| ())
    }

    async fn take(&self, mut source: ReadHalf<'_>, queue: mpsc::Sender<Piece>) -> io::Result<()> {
        let mut schedule = Schedule::new(self.seed);
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        loop {
            let bytes = source.read(&mut buffer).await?;
            if bytes == 0 {
                return Ok(());
            }
            let way = self.way();
            if way.cut == Some(Cut::Swallow) {
                self.swallow(bytes)?;
                continue;
            }
            let due = schedule.due(Instant::now(), bytes, &way);
            if queue.send((due, buffer[..bytes].to_vec())).await.is_err() {
                // The other end took no more; its error is the one to tell.
                return Ok(());
            }
        }
    }

    async fn give(&self, mut queue: mpsc::Receiver<Piece>, mut sink: WriteHalf<'_>) -> io::Result<()> {
        let mut conditions = self.shared.conditions.subscribe();
        while let Some((due, piece)) = queue.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            let passes = conditions.wait_for(|now| now.way(self.direction).cut != Some(Cut::Hold)).await;
            if passes.map_err(io::Error::other)?.way(self.direction).cut == Some(Cut::Swallow) {
                // It was on the way when the line went dead.
                self.swallow(piece.len())?;
                continue;
            }
            sink.write_all(&piece).await?;
            let counter = match self.direction {
                Direction::Forward => &self.shared.counters.forward_bytes,
                Direction::Backward => &self.shared.counters.backward_bytes,
            };
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        // An end of file is a packet too: on a dead line it does not arrive.
        let passes = conditions.wait_for(|now| now.way(self.direction).cut.is_none()).await;
        passes.map_err(io::Error::other)?;
        sink.shutdown().await
    }

    /// Lets bytes vanish. The connection is reset when the line is back; at once if it came back between the look and the loss.
    fn swallow(&self, bytes: usize) -> io::Result<()> {
        self.shared.counters.swallowed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.doomed.store(true, Ordering::SeqCst);
        if self.shared.conditions.borrow().swallows() { Ok(()) } else { Err(io::ErrorKind::ConnectionReset.into()) }
    }

    fn way(&self) -> Way {
        *self.shared.conditions.borrow().way(self.direction)
    }
}

/// When pieces arrive: in order, and never sooner than the line's width allows.
#[derive(Debug)]
struct Schedule {
    dice: Dice,
    /// When the line has sent all it was given.
    sent: Option<Instant>,
    last: Option<Instant>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed, 0), sent: None, last: None }
    }

    fn due(&mut self, now: Instant, bytes: usize, way: &Way) -> Instant {
        let begins = self.sent.map_or(now, |sent| sent.max(now));
        let takes = way.bytes_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
        let sent = begins + takes;
        self.sent = Some(sent);
        let jitter = Duration::from_micros(self.dice.below(way.jitter.as_micros() as u64 + 1));
        let lost = if self.dice.chance(way.loss_per_mille) { RETRANSMISSION } else { Duration::ZERO };
        let due = sent + way.delay + jitter + lost;
        // What comes after a late piece waits for it.
        let due = self.last.map_or(due, |last| last.max(due));
        self.last = Some(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pieces_arrive_in_order_and_no_sooner_than_the_line_allows() {
        let way = Way { delay: 20 * MS, jitter: 10 * MS, bytes_per_s: Some(1_000), loss_per_mille: 300, cut: None };
        let (mut schedule, now) = (Schedule::new(7), Instant::now());
        let mut last = now;
        for number in 1..=100 {
            let due = schedule.due(now, 10, &way);
            assert!(due >= last, "piece {number} overtook");
            assert!(due >= now + 10 * MS * number + 20 * MS, "piece {number} was sent before the line was free");
            last = due;
        }
    }

    #[test]
    fn a_lost_piece_comes_a_retransmission_later() {
        let lossy = Way { loss_per_mille: 1000, ..Way::default() };
        let now = Instant::now();
        assert_eq!(Schedule::new(1).due(now, 1, &lossy), now + RETRANSMISSION);
        assert_eq!(Schedule::new(1).due(now, 1, &Way::default()), now);
    }
}
