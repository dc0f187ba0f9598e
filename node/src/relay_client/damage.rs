//! Damaged answers, for the tests of what reads them: a relay is not trusted. The same in every run; a failure prints its round.

const ROUNDS: usize = 2_000;

/// A small generator: what matters is that it can be replayed.
struct Dice(u64);

impl Dice {
    fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    /// Some bytes that were good, damaged in some places, cut, or grown.
    fn damage(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.draw(4) {
            let at = self.draw(bytes.len());
            match self.draw(5) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.draw(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, self.draw(256) as u8),
                3 if !bytes.is_empty() => bytes[at] = b"\0\xff{}[]\"\\-.e9"[self.draw(12)],
                _ => bytes.extend_from_within(..at),
            }
        }
        bytes
    }
}

/// Lets something read damaged forms of good bytes. It must come back each time.
pub(super) fn rounds(good: &[u8], mut read: impl FnMut(&[u8])) {
    let mut dice = Dice(0x6e6f_6465_7265_6c61);
    for round in 0..ROUNDS {
        let bytes = dice.damage(good);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&bytes)));
        assert!(outcome.is_ok(), "round {round}: {:?}", String::from_utf8_lossy(&bytes));
    }
}
