//! Random graphs against the model: any order of arrival, any batching, any moment to forget the tracker.

use std::collections::BTreeMap;

use super::super::{EventIndex, GapBuffer, TextMerge, TextPatch, TextSink, apply_patches};
use super::model::{Model, Version};
use super::model_graph::{Random, Shape, arrival, graph};

/// A plain string as a sink, to hold the gap buffer to account.
struct Plain(String);

impl TextSink for Plain {
    fn patch(&mut self, position: u32, delete: u32, insert: &str) {
        apply_patches(&mut self.0, &[TextPatch::new(position, delete, insert)]).expect("merged edits fit the merged text");
    }
}

/// One device: what it has received, by model event.
struct Device<'a> {
    model: &'a Model,
    base: &'a str,
    merge: TextMerge<u64>,
    text: Plain,
    names: BTreeMap<usize, EventIndex>,
}

impl<'a> Device<'a> {
    fn new(model: &'a Model, base: &'a str) -> Self {
        let merge = TextMerge::new(base.chars().count() as u32);
        Self { model, base, merge, text: Plain(base.into()), names: BTreeMap::new() }
    }

    fn receive(&mut self, event: usize) {
        let received = &self.model.events[event];
        let parents: Vec<EventIndex> = received.parents.iter().map(|parent| self.names[parent]).collect();
        self.names.insert(event, self.merge.push(&parents, received.key, &received.patches).unwrap());
    }

    fn merge_and_check(&mut self) {
        self.merge.merge(&mut self.text);
        let version: Version = self.names.keys().copied().collect();
        assert_eq!(self.text.0, self.model.text(&version), "after {version:?}");
        assert_eq!(self.text.0.chars().count() as u32, self.merge.len());
        for (event, name) in &self.names {
            assert_eq!(self.merge.is_void(*name), self.model.events[*event].void, "void verdict of {event}");
        }
    }

    /// Some received events, none in another's past.
    fn heads(&self, random: &mut Random) -> Vec<usize> {
        let received: Vec<usize> = self.names.keys().copied().collect();
        let mut heads: Vec<usize> = Vec::new();
        for _ in 0..random.below(4) + 1 {
            let event = received[random.below(received.len())];
            let past = &self.model.events[event].past;
            if !heads.contains(&event) && !heads.iter().any(|head| past.contains(head) || self.model.events[*head].past.contains(&event)) {
                heads.push(event);
            }
        }
        heads
    }

    fn check_versions(&self, random: &mut Random) {
        let heads = self.heads(random);
        let names: Vec<EventIndex> = heads.iter().map(|head| self.names[head]).collect();
        assert_eq!(self.merge.checkout(self.base, &names).unwrap(), self.model.text(&self.model.version(&heads)), "at {heads:?}");
        assert_eq!(self.merge.overlaps(&names), self.model.overlaps(&heads), "overlap of {heads:?}");
    }
}

fn check(seed: u64, shape: &Shape) {
    let mut random = Random::new(seed);
    let model = graph(&mut random, shape);
    let mut end = None;
    for _ in 0..3 {
        let mut device = Device::new(&model, shape.base);
        let batch = [1, 2, 5, shape.events + 1][random.below(4)];
        for event in arrival(&mut random, &model) {
            device.receive(event);
            if random.one_in(8) {
                device.check_versions(&mut random);
            }
            if random.one_in(batch) {
                device.merge_and_check();
            }
            if random.one_in(10) {
                device.merge.evict();
            }
        }
        device.merge_and_check();
        device.check_versions(&mut random);
        assert_eq!(*end.get_or_insert_with(|| device.text.0.clone()), device.text.0);
    }
}

/// Runs seeds; a failure names its seed.
fn check_seeds(seeds: std::ops::Range<u64>, shape: &Shape) {
    for seed in seeds {
        let result = std::panic::catch_unwind(|| check(seed, shape));
        assert!(result.is_ok(), "SEED={seed} events={} replicas={}", shape.events, shape.replicas);
    }
}

#[test]
fn tiny_graphs() {
    check_seeds(0..3_000, &Shape { events: 6, replicas: 3, merge_in: 4, void_in: 40, base: "" });
}

#[test]
fn small_graphs_on_a_base() {
    check_seeds(0..2_000, &Shape { events: 14, replicas: 3, merge_in: 3, void_in: 25, base: "añc" });
}

#[test]
fn crowded_graphs() {
    check_seeds(0..600, &Shape { events: 30, replicas: 8, merge_in: 5, void_in: 60, base: "xy" });
}

#[test]
fn hardly_merged_graphs_with_many_siblings() {
    check_seeds(0..60, &Shape { events: 120, replicas: 60, merge_in: 30, void_in: 200, base: "" });
}

#[test]
fn quiet_graphs_with_many_boundaries() {
    check_seeds(0..400, &Shape { events: 40, replicas: 2, merge_in: 1, void_in: 60, base: "" });
}

#[test]
fn large_graphs() {
    check_seeds(0..10, &Shape { events: 250, replicas: 5, merge_in: 8, void_in: 100, base: "0123456789" });
}

#[test]
fn a_gap_buffer_and_a_string_agree() {
    let shape = Shape { events: 60, replicas: 3, merge_in: 3, void_in: 1_000, base: "base" };
    for seed in 0..50 {
        let model = graph(&mut Random::new(seed), &shape);
        let mut device = Device::new(&model, shape.base);
        (0..shape.events).for_each(|event| device.receive(event));
        let mut buffer = GapBuffer::from(shape.base);
        device.merge.merge(&mut buffer);
        let all: Version = (0..shape.events).collect();
        assert_eq!(buffer.to_string(), model.text(&all), "SEED={seed}");
    }
}
