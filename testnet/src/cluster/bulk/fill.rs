//! Writing a large workspace through the API, in batches.

use std::io::Write;

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::Volume;
use crate::cluster::api::Api;
use crate::cluster::api::answer::BatchReply;
use crate::sim::dice::Dice;

/// Writes in one request; the device takes at most 10,000.
const BATCH: u64 = 5_000;
/// How many children a node gets: a hundred thousand nodes lie about five deep.
const CHILDREN: u64 = 10;
/// Of ten changes, so many are typed words; the others set metadata.
const TYPED_PER_MILLE: u64 = 800;

const WORDS: [&str; 12] = ["sync", "node", "outline", "device", "writes", "offline", "merges", "later", "with", "other", "people", "the"];

/// Writes the nodes first, then changes to any of them.
pub(super) async fn fill(api: &Api, volume: Volume, out: &mut (dyn Write + Send)) -> Result<()> {
    ensure!(volume.nodes > 0 && volume.ops >= volume.nodes, "{} nodes take at least as many operations", volume.nodes);
    writeln!(out, "writing {} operations on {} nodes", volume.ops, volume.nodes)?;
    let bar = ProgressBar::new(volume.ops);
    let mut dice = Dice::new(1, 77);
    let mut written = 0;
    while written < volume.ops {
        let until = (written + BATCH).min(volume.ops);
        let items: Vec<Value> = (written..until)
            .map(|number| if number < volume.nodes { create(number, &mut dice) } else { change(volume, &mut dice) })
            .collect();
        let reply: BatchReply = api.post("/v1/batch", &json!({ "items": items })).await?;
        ensure!(reply.failed == 0, "{} writes of a batch were refused: {:?}", reply.failed, first_failure(&reply));
        written = until;
        bar.set_position(written);
    }
    bar.finish_and_clear();
    Ok(())
}

fn create(number: u64, dice: &mut Dice) -> Value {
    let parent = (number / CHILDREN).checked_sub(1).map(id);
    json!({ "do": "create", "id": id(number), "content": words(dice, 8), "parent_id": parent })
}

fn change(volume: Volume, dice: &mut Dice) -> Value {
    let id = id(dice.below(volume.nodes));
    if dice.chance(TYPED_PER_MILLE) {
        json!({ "do": "update", "id": id, "edits": [{ "position": dice.below(30), "insert": words(dice, 2) }] })
    } else {
        json!({ "do": "update", "id": id, "metadata": { "priority": dice.below(1_000_000) } })
    }
}

/// A node's id: a UUID without regularity.
fn id(number: u64) -> String {
    uuid::Builder::from_random_bytes(Dice::new(number, 78).bytes()).into_uuid().to_string()
}

fn words(dice: &mut Dice, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(WORDS[dice.index(WORDS.len())]);
        text.push(' ');
    }
    text
}

fn first_failure(reply: &BatchReply) -> Option<&Value> {
    reply.outcomes.iter().find_map(|outcome| match outcome {
        crate::cluster::api::answer::BatchOutcome::Failed(failure) => Some(failure),
        crate::cluster::api::answer::BatchOutcome::Done(_) => None,
    })
}
