//! The partition, its healing, and the conflict.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use nodespace_protocol::conflict::{ConflictStatus, ConflictType, NodeConflict};
use nodespace_protocol::ids::{DeviceId, NodeId, OpHash};
use nodespace_protocol::replica::{Choice, NewNode};
use nodespace_protocol::tree::Position;
use serde_json::json;

use super::{TRACE_END, heading};
use crate::people::Person;
use crate::replay::{self, at};

const APART: u64 = TRACE_END + 10_000;
const TOGETHER: u64 = TRACE_END + 100_000;

/// What was quarrelled about.
#[derive(Debug)]
pub(super) struct Story {
    /// Edited by two in one place.
    paragraph: NodeId,
    /// Deleted by one, edited by another.
    plan: NodeId,
}

/// Ana is cut off; all three go on working.
pub(super) fn partition(out: &mut dyn Write, people: &mut [Person], paragraph: &NodeId) -> Result<Story> {
    let plan = NodeId::parse("plan")?;
    let now = at(TRACE_END + 1_000);
    people[0].replica.create(now, NewNode::text(plan.clone(), None, "Plan: measure twice, cut once"))?;
    people[0].replica.commit()?;
    replay::everybody(people, now)?;

    heading(out, 4, "The network parts: Ana alone, Ben with Cleo. All three go on working")?;
    let text = people[0].replica.view(paragraph)?.content;
    let word = text.split_whitespace().find(|word| word.chars().count() > 4).context("a paragraph has words")?.to_owned();
    let [ana, ben, cleo] = people else { anyhow::bail!("three people") };
    ana.replica.set_text(at(APART), paragraph, &text.replacen(&word, &format!("{word} (Ana's word)"), 1))?;
    ana.replica.set_text(at(APART + 1), &plan, "Plan: measure three times, cut once")?;
    ana.replica.patch_metadata(at(APART + 2), &plan, json!({ "due": "Monday" }))?;
    writeln!(out, "   Ana  edits a paragraph after \"{word}\", edits the plan and makes it due on Monday")?;
    ben.replica.set_text(at(APART + 10), paragraph, &text.replacen(&word, &format!("{word} (Ben's word)"), 1))?;
    ben.replica.patch_metadata(at(APART + 11), &plan, json!({ "due": "Friday", "owner": "Ben" }))?;
    writeln!(out, "   Ben  edits the same paragraph at the same place, and makes the plan due on Friday")?;
    let moved = cleo.replica.tree().children(None).first().cloned().context("the tree has a first node")?;
    ben.replica.commit()?;
    let friday = ben.sync(cleo, at(APART + 20))?;
    cleo.replica.move_node(at(APART + 30), &moved, None, &Position::Last)?;
    cleo.replica.delete(at(APART + 31), &plan, true)?;
    let today = NodeId::parse("2025-08-30")?;
    cleo.replica.create(at(APART + 32), NewNode::text(today.clone(), None, ""))?;
    ana.replica.create(at(APART + 33), NewNode::text(today, None, ""))?;
    writeln!(out, "   Cleo hears of Ben's changes ({} bytes), moves the first document last, deletes the plan", friday.bytes[0])?;
    writeln!(out, "   Ana and Cleo both make the journal page 2025-08-30")?;
    ana.replica.commit()?;
    cleo.replica.commit()?;
    ben.sync(cleo, at(APART + 40))?;
    ensure!(ana.replica.frontier_digest() != ben.replica.frontier_digest(), "the partition did not part anything");
    Ok(Story { paragraph: paragraph.clone(), plan })
}

/// The network heals; sessions run until everybody holds the same.
pub(super) fn heal(out: &mut dyn Write, people: &mut [Person]) -> Result<()> {
    heading(out, 5, "The network heals")?;
    for (from, to) in [(0, 1), (1, 2), (0, 2), (0, 1)] {
        let (left, right) = people.split_at_mut(to);
        let report = left[from].sync(&mut right[0], at(TOGETHER))?;
        writeln!(
            out,
            "   {:4} - {:4}  {} operations to {}, {} to {}; {} bytes, {} round trips; synced",
            left[from].name,
            right[0].name,
            report.received_ops[0],
            left[from].name,
            report.received_ops[1],
            right[0].name,
            report.bytes.iter().sum::<u64>(),
            report.turns.div_ceil(2)
        )?;
    }
    Ok(())
}

/// Shows the conflicts and settles those that are open; everybody hears of it.
pub(super) fn settle(out: &mut dyn Write, people: &mut [Person], story: &Story) -> Result<()> {
    heading(out, 6, "What collided, as Cleo sees it")?;
    let names: Names = people.iter().filter_map(|person| Some((person.replica.device()?, person.name.clone()))).collect();
    let found: Vec<NodeConflict> =
        people[2].replica.conflicts()?.into_iter().filter(|found| [&story.paragraph, &story.plan].contains(&&found.node)).collect();
    ensure!(!found.is_empty(), "two edits of one place left no conflict");
    for conflict in &found {
        show(out, &people[2], &names, conflict)?;
    }
    heading(out, 7, "Cleo settles what is open; the choice travels as an operation")?;
    let mut settled = Vec::new();
    for (number, open) in found.iter().filter(|found| found.conflict.is_open()).enumerate() {
        let keep = kept(&people[2], open)?;
        people[2].replica.resolve_conflict(at(TOGETHER + 100 + number as u64), &open.node, open.conflict.id, Choice::Keep(keep))?;
        writeln!(out, "   {:?} on {}: keeps what {}", open.conflict.kind, open.node, describe(&people[2], &names, open, keep)?)?;
        settled.push(open);
    }
    ensure!(!settled.is_empty(), "a delete against an edit stays open until somebody chooses");
    people[2].replica.commit()?;
    replay::everybody(people, at(TOGETHER + 1_000))?;
    for person in people.iter() {
        for open in &settled {
            let status = person.replica.conflict(&open.node, open.conflict.id)?.status;
            ensure!(matches!(status, ConflictStatus::Resolved(_)), "{} still sees the conflict as {status:?}", person.name);
        }
    }
    writeln!(out, "   Ana, Ben and Cleo all see {} conflict{} as resolved", settled.len(), if settled.len() == 1 { "" } else { "s" })?;
    Ok(())
}

/// The participant to keep: the one that is no delete.
fn kept(person: &Person, found: &NodeConflict) -> Result<OpHash> {
    for participant in &found.conflict.participants {
        let op = person.replica.op(participant)?.context("a participant is held")?;
        if op.header.kind != nodespace_protocol::op::OpType::Delete {
            return Ok(*participant);
        }
    }
    found.conflict.participants.first().copied().context("a conflict has participants")
}

/// Whose a device is.
type Names = BTreeMap<DeviceId, String>;

fn show(out: &mut dyn Write, person: &Person, names: &Names, found: &NodeConflict) -> Result<()> {
    let status = match found.conflict.status {
        ConflictStatus::Open => "open".to_owned(),
        ConflictStatus::AutoResolved(strategy) => format!("settled by {strategy:?}"),
        ConflictStatus::Resolved(by) => format!("settled by operation {}", by.short()),
    };
    writeln!(out, "   {:?} on {} ({}): {status}", found.conflict.kind, found.node, found.conflict.field)?;
    for participant in &found.conflict.participants {
        writeln!(out, "     - {}", describe(person, names, found, *participant)?)?;
    }
    let view = person.replica.view(&found.node)?;
    let now = match found.conflict.kind {
        ConflictType::MetadataConflict => view.metadata.to_string(),
        _ => excerpt(&view.content),
    };
    writeln!(out, "     = now  {now}{}", if view.deleted { " (deleted)" } else { "" })?;
    Ok(())
}

/// What one participant did, in words.
fn describe(person: &Person, names: &Names, found: &NodeConflict, participant: OpHash) -> Result<String> {
    let op = person.replica.op(&participant)?.context("a participant is held")?;
    let what = match op.header.kind {
        nodespace_protocol::op::OpType::Delete => "deletes it".to_owned(),
        nodespace_protocol::op::OpType::Metadata => {
            format!("sets {}", op.decode_payload()?.metadata.unwrap_or_default())
        }
        _ => format!("writes {}", excerpt(&person.replica.view_at(&found.node, &[participant])?.content)),
    };
    let name = names.get(&op.header.log.device).map_or("somebody", String::as_str);
    Ok(format!("{name:4} {what}"))
}

/// A text short enough for a line, around the part that people quarrel about.
fn excerpt(text: &str) -> String {
    const WIDTH: usize = 72;
    let flat = text.replace('\n', " ");
    let start = flat.find("'s word)").map_or(0, |at| flat[..at].chars().count().saturating_sub(WIDTH / 2));
    let shown: String = flat.chars().skip(start).take(WIDTH).collect();
    let dots = |cut: bool| if cut { "..." } else { "" };
    format!("\"{}{shown}{}\"", dots(start > 0), dots(flat.chars().count() > start + WIDTH))
}
