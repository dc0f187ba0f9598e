//! A small mutational engine: good bytes in, slightly wrong bytes out.
//!
//! It knows nothing of the forms. What helps it through their checks is where it starts: from golden vectors, spliced with one another.

/// Pseudo-random numbers (SplitMix64, Steele and others 2014): the same seed gives the same run everywhere.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % (end.max(1) as u64)) as usize
    }

    /// One of some values.
    pub fn pick<'a, T>(&mut self, values: &'a [T]) -> Option<&'a T> {
        values.get(self.below(values.len()))
    }
}

/// Bytes that decoders treat specially: ends of ranges, heads of CBOR, brackets of JSON.
const BYTES: [u8; 24] = [
    0, 1, 0x17, 0x18, 0x1b, 0x20, 0x3b, 0x40, 0x5b, 0x60, 0x7b, 0x7f, 0x80, 0x81, 0x9b, 0x9f, 0xa0, 0xbb, 0xf6, 0xfb, 0xff, b'[', b'{',
    b'"',
];

/// Integers at the ends of their ranges.
const INTEGERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Changes `bytes` in one to eight places; `other` is another good input. The result has at most `max` bytes.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], max: usize, dice: &mut Dice) {
    let times = 1 << dice.below(4);
    for _ in 0..times {
        mutate_once(bytes, other, dice);
    }
    bytes.truncate(max);
}

fn mutate_once(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len());
    let end = at + dice.below((bytes.len() - at.min(bytes.len())).min(64));
    match dice.below(12) {
        0..=2 => change(bytes, at, |byte| byte ^ 1 << (at % 8)),
        3 => {
            let value = dice.pick(&BYTES).copied().unwrap_or_default();
            change(bytes, at, |_| value);
        }
        4 => {
            let by = (dice.below(33) as u8).wrapping_sub(16);
            change(bytes, at, |byte| byte.wrapping_add(by));
        }
        5 => {
            let value = dice.pick(&BYTES).copied().unwrap_or_default();
            bytes.insert(at.min(bytes.len()), value);
        }
        6 => drop(bytes.drain(at.min(bytes.len())..end.min(bytes.len()))),
        7 => {
            let copy: Vec<u8> = bytes[at.min(bytes.len())..end.min(bytes.len())].to_vec();
            let to = dice.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        8 => splice(bytes, at, other, dice),
        9 => bytes.truncate(at),
        10 => integer(bytes, at, dice),
        _ => repeat(bytes, at, end, dice),
    }
}

fn change(bytes: &mut [u8], at: usize, to: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to(*byte);
    }
}

/// The beginning of one input and the end of another, or a piece of the other in the middle.
fn splice(bytes: &mut Vec<u8>, at: usize, other: &[u8], dice: &mut Dice) {
    let from = dice.below(other.len());
    let through = from + dice.below(other.len() - from.min(other.len()));
    let piece = other.get(from..through).unwrap_or_default().to_vec();
    let to = if dice.below(2) == 0 { bytes.len() } else { (at + piece.len()).min(bytes.len()) };
    bytes.splice(at.min(bytes.len())..to.max(at.min(bytes.len())), piece);
}

/// Writes an integer over what is there: fixed width, LEB128 or with a CBOR head.
fn integer(bytes: &mut Vec<u8>, at: usize, dice: &mut Dice) {
    let value = dice.pick(&INTEGERS).copied().unwrap_or_default();
    let mut written = Vec::new();
    match dice.below(4) {
        0 => written.extend_from_slice(&value.to_le_bytes()[..1 << dice.below(4)]),
        1 => {
            let mut rest = value;
            while rest >= 0x80 {
                written.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            written.push(rest as u8);
        }
        major => {
            written.push([0x1b, 0x5b, 0x7b, 0x9b, 0xbb][(dice.below(5) + major) % 5]);
            written.extend_from_slice(&value.to_be_bytes());
        }
    }
    let end = (at + if dice.below(2) == 0 { 1 } else { written.len() }).min(bytes.len());
    bytes.splice(at.min(end)..end, written);
}

/// A piece many times over: what makes decoders allocate and recurse.
fn repeat(bytes: &mut Vec<u8>, at: usize, end: usize, dice: &mut Dice) {
    let piece = bytes.get(at..end.max(at + 1).min(bytes.len())).unwrap_or_default().to_vec();
    let times = 1 << dice.below(13);
    let to = at.min(bytes.len());
    bytes.splice(to..to, piece.iter().copied().cycle().take((piece.len() * times).min(1 << 16)));
}
