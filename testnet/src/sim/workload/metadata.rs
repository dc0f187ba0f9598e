//! Metadata at overlapping paths: a leaf here, an object above it there, a removal elsewhere. And types.

use nodespace_protocol::replica::WriteError;
use serde_json::{Value, json};

use super::Desk;

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let node = if desk.dice.chance(700) { desk.hot() } else { desk.any() };
    let Some(node) = node else { return Ok(()) };
    if desk.dice.chance(200) {
        let node_type = desk.dice.pick(&["text", "task", "person", "header"]).copied().unwrap_or("text");
        return desk.replica.set_type(desk.now, &node, node_type).map(drop);
    }
    let patch = patch(desk);
    desk.replica.patch_metadata(desk.now, &node, patch).map(drop)
}

fn patch(desk: &mut Desk<'_>) -> Value {
    let leaf = leaf(desk);
    match desk.dice.below(6) {
        0 => json!({ "a": leaf }),
        1 => json!({ "a": { "b": leaf } }),
        2 => json!({ "a": { "b": { "c": leaf }, "d": 1 } }),
        3 => json!({ "a": null }),
        4 => json!({ "a": { "b": null }, "e": leaf }),
        _ => json!({ "e": { "f": [leaf, 2] }, "a": { "g~/h": leaf } }),
    }
}

fn leaf(desk: &mut Desk<'_>) -> Value {
    match desk.dice.below(5) {
        0 => json!(desk.dice.below(4)),
        1 => json!(desk.words()),
        2 => json!(true),
        3 => json!({}),
        _ => json!(0.5),
    }
}
