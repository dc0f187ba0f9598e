//! Nothing acknowledged is lost, and nothing of a removed member is taken.

use super::{Case, Verdict};

/// Every acknowledged write's operation is in the change stream of every member.
pub(super) fn operations(case: &Case<'_>) -> Verdict {
    let mut faults = Vec::new();
    for write in &case.writes.kept {
        for device in &case.evidence.devices {
            if !device.ops.contains(&write.op) {
                faults.push(format!("{} does not have {}, a {:?} acknowledged by d{}", device.name, write.op, write.work, write.device));
            }
        }
    }
    let (writes, devices) = (case.writes.kept.len(), case.evidence.devices.len());
    Verdict::of("nothing lost", &faults, format!("{writes} acknowledged writes are at all {devices} members"))
}

/// Every word that an acknowledged write typed stands in its node's text, in every member's export.
pub(super) fn words(case: &Case<'_>) -> Verdict {
    let mut faults = Vec::new();
    let mut words = 0;
    for write in &case.writes.kept {
        let Some(word) = &write.word else { continue };
        words += 1;
        for device in &case.evidence.devices {
            match device.nodes.get(&write.node) {
                None => faults.push(format!("{} has no node {}, in which {word} was typed", device.name, write.node)),
                Some(node) if !has_word(&node.content, word) => {
                    faults.push(format!("at {} the word {word} is missing in node {}: {:?}", device.name, write.node, node.content));
                }
                Some(_) => {}
            }
        }
    }
    Verdict::of("every word kept", &faults, format!("{words} typed words are in every export"))
}

/// What a removed member wrote after its removal is nowhere.
pub(super) fn void(case: &Case<'_>) -> Verdict {
    let mut faults = Vec::new();
    for write in &case.writes.void {
        for device in &case.evidence.devices {
            if device.ops.contains(&write.op) {
                faults.push(format!("at {} the removed d{} took effect with {}", device.name, write.device, write.op));
            }
            let word = write.word.as_deref().filter(|word| device.nodes.get(&write.node).is_some_and(|node| has_word(&node.content, word)));
            if let Some(word) = word {
                faults.push(format!("{} shows the word {word}, which d{} typed after it was removed", device.name, write.device));
            }
        }
    }
    Verdict::of("removed is removed", &faults, format!("none of {} writes of removed members took effect", case.writes.void.len()))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|found| found == word)
}
