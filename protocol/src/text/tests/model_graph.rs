//! Random graphs of random edits, and a random number generator small enough to read.

use super::super::TextPatch;
use super::model::Model;

/// Marsaglia's xorshift, 64 bits.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 11) % end.max(1) as u64).unwrap()
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What a graph looks like.
pub(super) struct Shape {
    pub(super) events: usize,
    pub(super) replicas: usize,
    /// One in so many events takes in another replica's version.
    pub(super) merge_in: usize,
    /// One in so many events does not fit.
    pub(super) void_in: usize,
    pub(super) base: &'static str,
}

const LETTERS: [&str; 8] = ["a", "b", "c", "é", "ß", "雪", "😀", "\n"];

/// A graph as several replicas would make it, with some edges nobody would draw: dominated, repeated or missing parents.
pub(super) fn graph(random: &mut Random, shape: &Shape) -> Model {
    let mut model = Model::new(shape.base);
    let mut versions: Vec<Vec<usize>> = vec![Vec::new(); shape.replicas];
    for event in 0..shape.events {
        let replica = random.below(shape.replicas);
        if random.one_in(shape.merge_in) {
            let other = random.below(shape.replicas);
            let both: Vec<usize> = versions[replica].iter().chain(&versions[other]).copied().collect();
            versions[replica] = heads_of(&model, &both);
        }
        let mut parents = versions[replica].clone();
        if event > 0 && random.one_in(20) {
            parents.push(random.below(event));
        }
        if random.one_in(60) {
            parents.clear();
        }
        let patches = patches(random, shape, &model, &parents);
        // Distinct, and in no relation to the order of events.
        let key = random.next() << 16 | event as u64;
        model.push(parents, key, patches);
        versions[replica] = vec![event];
    }
    model
}

fn heads_of(model: &Model, events: &[usize]) -> Vec<usize> {
    let mut heads: Vec<usize> =
        events.iter().copied().filter(|event| !events.iter().any(|other| model.events[*other].past.contains(event))).collect();
    heads.sort_unstable();
    heads.dedup();
    heads
}

fn patches(random: &mut Random, shape: &Shape, model: &Model, parents: &[usize]) -> Vec<TextPatch> {
    let mut len = model.text(&model.version(parents)).chars().count();
    let count = [0, 1, 1, 1, 1, 2, 3][random.below(7)];
    let mut last = random.below(len + 1);
    (0..count)
        .map(|_| {
            // Mostly near the last place, as people type, and often at few places, so that people meet.
            last = if random.one_in(2) { last.min(len) } else { random.below(len + 1) };
            let mut delete = if random.one_in(2) { 0 } else { random.below(len - last + 1).min(random.below(4)) };
            if random.one_in(shape.void_in) {
                delete = len - last + 1 + random.below(3);
            }
            let letters = if random.one_in(3) { 0 } else { random.below(4) };
            let insert: String = (0..letters).map(|_| LETTERS[random.below(LETTERS.len())]).collect();
            let patch = TextPatch::new(last as u32, delete as u32, insert);
            len = (len + letters).saturating_sub(delete);
            last += letters;
            patch
        })
        .collect()
}

/// The events of a model in a random order that has parents first.
pub(super) fn arrival(random: &mut Random, model: &Model) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    // Some orders run far ahead on one branch, some mix them.
    let depth_first = random.one_in(2);
    while order.len() < model.events.len() {
        let ready: Vec<usize> = (0..model.events.len())
            .filter(|event| !order.contains(event) && model.events[*event].parents.iter().all(|parent| order.contains(parent)))
            .collect();
        let next = if depth_first && !random.one_in(4) {
            order.last().and_then(|last| ready.iter().find(|event| model.events[**event].parents.contains(last))).copied()
        } else {
            None
        };
        order.push(next.unwrap_or_else(|| ready[random.below(ready.len())]));
    }
    order
}
