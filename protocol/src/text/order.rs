//! The order in which a batch of concurrent events is visited.
//!
//! Any order that keeps parents first gives the same text; what differs is how often the tracker must change branches. A branch is
//! finished before the next is begun, and the shorter branch (by its longest path to the end) goes first, so that what is taken
//! back at a change of branch is the shorter one.

use super::events::{Events, index};

/// The events of `start..end` for which `include` holds, parents first. What is included must include the pasts within the range.
pub(super) fn visit_order<K>(events: &Events<K>, start: u32, end: u32, include: impl Fn(u32) -> bool) -> Vec<u32> {
    if end - start <= 1 {
        return (start..end).filter(|event| include(*event)).collect();
    }
    let graph = Children::new(events, start, end, &include);
    let mut waiting = graph.parents.clone();
    let mut order = Vec::with_capacity(index(end - start));
    // Reversed, so that of branches equally long the one pushed first is on top.
    let mut stack: Vec<u32> = (0..end - start).rev().filter(|event| waiting[index(*event)] == 0 && include(start + event)).collect();
    stack.sort_by_key(|event| std::cmp::Reverse(graph.height[index(*event)]));
    while let Some(event) = stack.pop() {
        order.push(start + event);
        let pushed = stack.len();
        for &child in graph.children(event) {
            waiting[index(child)] -= 1;
            if waiting[index(child)] == 0 {
                stack.push(child);
            }
        }
        stack[pushed..].sort_by_key(|event| std::cmp::Reverse((graph.height[index(*event)], *event)));
    }
    order
}

/// The edges of a range of events turned round. Events are numbered from the range's start.
struct Children {
    /// How many parents within the range each event has.
    parents: Vec<u32>,
    /// The longest path from each event to an end.
    height: Vec<u32>,
    /// Where each event's children start in `children`; one more entry at the end.
    starts: Vec<u32>,
    children: Vec<u32>,
}

impl Children {
    fn new<K>(events: &Events<K>, start: u32, end: u32, include: &impl Fn(u32) -> bool) -> Self {
        let count = index(end - start);
        let mut graph = Self { parents: vec![0; count], height: vec![0; count], starts: vec![0; count + 1], children: Vec::new() };
        let edges = |event: u32| events.parents(event).iter().filter(|parent| **parent >= start).map(|parent| index(parent - start));
        for event in (start..end).rev().filter(|event| include(*event)) {
            let child = index(event - start);
            for parent in edges(event) {
                graph.height[parent] = graph.height[parent].max(graph.height[child] + 1);
                graph.starts[parent] += 1;
                graph.parents[child] += 1;
            }
        }
        // Counts become ends; filling from the back turns them into starts.
        let mut sum = 0;
        for slot in &mut graph.starts {
            sum += *slot;
            *slot = sum;
        }
        graph.children = vec![0; index(sum)];
        for event in (start..end).rev().filter(|event| include(*event)) {
            for parent in edges(event) {
                graph.starts[parent] -= 1;
                graph.children[index(graph.starts[parent])] = event - start;
            }
        }
        graph
    }

    fn children(&self, event: u32) -> &[u32] {
        &self.children[index(self.starts[index(event)])..index(self.starts[index(event) + 1])]
    }
}
