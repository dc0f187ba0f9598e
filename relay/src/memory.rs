//! Memory for what is sent to this process, from its first byte until its work is done, and for large answers until they are written.
//!
//! Each request is bounded by itself; this bounds all of them together, however many connections they come by. What is charged is what
//! is held, not what was announced: a body grows as it arrives, and one that arrives slowly with little in it takes little. Before it is
//! decompressed and parsed it is charged what that may take (`memory/unfold.rs`), and afterwards what is left of it. When there is no more,
//! whoever wants more is told to come back.
//!
//! It is one number that is counted up and down; nobody waits for anybody here. What is not counted is bounded otherwise: the operations of
//! packets that are being checked, 16,384 of each, by how many packets that are ([`sync`](crate::sync)); pages that are being read, by the
//! connections to the database.

mod unfold;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::ServerConfig;
use crate::refusal::Refusal;

pub(crate) use unfold::unfold;

/// The least there is, in MiB, whatever is configured: in the part of it that is for large ones a packet fits as it is kept, however far it
/// unfolded.
const MIB_MIN: u64 = 64;
/// What takes no more than this may take from all of it; what takes more leaves the last quarter alone. So who fills it with large ones keeps
/// nobody from logging in, pulling, and pushing what people type.
pub const SMALL_BYTES: u64 = 64 << 10;
/// When to come back: bodies that came slowly will have ended for others.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The memory of this process for what is sent to it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: u64,
    held: AtomicU64,
}

/// What one body or answer holds of it; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    bytes: u64,
    holder: Holder,
}

/// What a share is for.
#[derive(Clone, Copy, Debug)]
enum Holder {
    /// What is sent here.
    Body,
    /// What is sent from here.
    Answer,
}

impl Memory {
    /// As much as is configured, all of it free.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let bytes_max = config.bodies_mib.max(MIB_MIN) << 20;
        Self { shared: Arc::new(Shared { bytes_max, held: AtomicU64::new(0) }) }
    }

    /// A share for what is sent here, with nothing in it yet.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { memory: self.clone(), bytes: 0, holder: Holder::Body }
    }

    /// A share for an answer, with nothing in it yet. Large ones leave half of all to bodies: an answer goes as slowly as it is read, and who
    /// reads slowly is not to keep others from sending.
    #[must_use]
    pub fn answer(&self) -> Share {
        Share { memory: self.clone(), bytes: 0, holder: Holder::Answer }
    }

    /// How many bytes all shares hold.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Up to how many bytes all shares together may grow by a large one.
    fn most(&self, holder: Holder) -> u64 {
        let all = self.shared.bytes_max;
        match holder {
            Holder::Body => all - all / 4,
            Holder::Answer => all / 2,
        }
    }

    /// Takes so many for a share that will have `size` with them. Answers whether there were as many.
    fn take(&self, bytes: u64, size: u64, holder: Holder) -> bool {
        let most = if size <= SMALL_BYTES { self.shared.bytes_max } else { self.most(holder) };
        let grown = |held: u64| held.checked_add(bytes).filter(|held| *held <= most);
        self.shared.held.try_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }
}

impl Share {
    /// Makes it as large as this, if it is smaller.
    ///
    /// # Errors
    /// When there is not as much now; it keeps what it has.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.take(more, bytes, self.holder) {
            let message = match self.holder {
                Holder::Body => "more is being sent to the relay than it holds at once; nothing was stored, send it again",
                Holder::Answer => "more answers are being read than the relay holds at once; what was sent may be stored: send it again",
            };
            return Err(Refusal::unavailable("relay_busy", message, RETRY_AFTER));
        }
        self.bytes += more;
        Ok(())
    }

    /// Makes it exactly as large as this.
    ///
    /// # Errors
    /// When it is to grow, and there is not as much now; it keeps what it has.
    pub fn set_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.memory.shared.held.fetch_sub(less, Ordering::Relaxed);
            self.bytes = bytes;
        }
        self.grow_to(bytes)
    }

    /// How large it can become when there is no other large one.
    fn bytes_max(&self) -> u64 {
        self.memory.most(self.holder)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.shared.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bodies_mib: u64) -> Memory {
        Memory::new(&ServerConfig { bodies_mib, ..ServerConfig::default() })
    }

    #[test]
    fn shares_grow_while_there_is_memory_and_give_it_back() {
        let memory = memory(100);
        let (mut first, mut second) = (memory.share(), memory.share());
        first.grow_to(40 << 20).unwrap();
        first.grow_to(30 << 20).unwrap();
        assert_eq!(memory.held(), 40 << 20, "it does not become smaller");
        second.grow_to(35 << 20).unwrap();
        let refusal = second.grow_to((35 << 20) + 1).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code, refusal.retry_after), (503, "relay_busy", Some(RETRY_AFTER)));
        assert_eq!(memory.held(), 75 << 20, "who is refused keeps what it has");
        drop(first);
        second.grow_to(75 << 20).unwrap();
        drop(second);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_share_shrinks_to_what_is_left() {
        let memory = memory(100);
        let (mut first, mut second) = (memory.share(), memory.share());
        first.grow_to(75 << 20).unwrap();
        second.set_to(1 << 20).unwrap_err();
        first.set_to(74 << 20).unwrap();
        assert_eq!(memory.held(), 74 << 20);
        second.set_to(1 << 20).unwrap();
        first.set_to((74 << 20) + 1).unwrap_err();
        assert_eq!(memory.held(), 75 << 20, "who is refused keeps what it has");
        first.set_to(0).unwrap();
        drop((first, second));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn large_answers_leave_half_to_bodies() {
        let memory = memory(100);
        let (mut answer, mut other, mut body) = (memory.answer(), memory.answer(), memory.share());
        answer.grow_to(50 << 20).unwrap();
        let refusal = other.grow_to(SMALL_BYTES + 1).unwrap_err();
        assert!(refusal.code == "relay_busy" && refusal.message.contains("may be stored"), "{refusal}");
        other.grow_to(SMALL_BYTES).unwrap();
        body.grow_to(24 << 20).unwrap();
    }

    #[test]
    fn large_ones_leave_the_last_quarter_to_small_ones() {
        let memory = memory(0);
        let mut large = memory.share();
        large.grow_to(48 << 20).unwrap();
        large.grow_to((48 << 20) + 1).unwrap_err();
        let mut small = Vec::new();
        for _ in 0..(16 << 20) / SMALL_BYTES {
            let mut share = memory.share();
            share.grow_to(SMALL_BYTES).unwrap();
            small.push(share);
        }
        assert_eq!(memory.held(), MIB_MIN << 20);
        memory.share().grow_to(1).unwrap_err();
        small.pop();
        memory.share().grow_to(SMALL_BYTES + 1).unwrap_err();
        memory.share().grow_to(SMALL_BYTES).unwrap();
    }

    #[test]
    fn a_packet_fits_however_far_it_unfolds() {
        use nodespace_protocol::op::Op;
        use nodespace_protocol::view::encoding::PACKET_DECODED_BYTES_MAX;
        let headers = nodespace_protocol::view::packet::PACKET_OPERATIONS_MAX * size_of::<Op>();
        memory(0).share().grow_to((PACKET_DECODED_BYTES_MAX + headers) as u64).unwrap();
    }
}
