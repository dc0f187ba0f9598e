//! The main job, shown: three people, real text, a partition, convergence, a conflict settled.
//!
//! Everything is the production code over links in memory; time is virtual, so that the run is the same every time.

mod act;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::membership::Role;
use nodespace_protocol::replica::NewNode;

use crate::corpus;
use crate::people::Person;
use crate::replay::{self, TraceFile, at};

/// When the acts take place, in virtual milliseconds.
const JOIN: u64 = 1_000;
const IMPORT: u64 = 10_000;
const TRACE_END: u64 = 3_600_000;

/// Runs the demonstration, telling the story to `out`.
///
/// # Errors
/// When anything does not come out as it must.
pub fn run(out: &mut dyn Write) -> Result<()> {
    let started = Instant::now();
    let mut people = found_and_join(out)?;
    let document = import_corpus(out, &mut people)?;
    type_together(out, &mut people)?;
    let story = act::partition(out, &mut people, &document)?;
    act::heal(out, &mut people)?;
    act::settle(out, &mut people, &story)?;
    table::close(out, &mut people, started.elapsed())
}

fn heading(out: &mut dyn Write, number: usize, text: &str) -> Result<()> {
    Ok(writeln!(out, "\n{number}. {text}")?)
}

/// A bar on a terminal, nothing elsewhere.
fn bar(len: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("   {msg} [{bar:40}] {pos}/{len}").map(|style| style.progress_chars("=> "));
    let bar = ProgressBar::new(len as u64).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn found_and_join(out: &mut dyn Write) -> Result<Vec<Person>> {
    heading(out, 1, "Ana founds a workspace; Ben and Cleo join by invite")?;
    let mut ana = Person::found("Ana", "Field notes", Policy::default(), at(0))?;
    writeln!(out, "   workspace \"{}\", id {}", ana.replica.membership().name(), ana.replica.workspace().short())?;
    let mut joined = Vec::new();
    for name in ["Ben", "Cleo"] {
        let ticket = ana.invite(at(JOIN), Role::Editor, name)?;
        let text = ticket.to_text();
        writeln!(out, "   a ticket for {name}: {}... ({} characters)", &text[..34], text.len())?;
        joined.push(Person::join(name, &ticket, &mut ana, at(JOIN + 10))?);
    }
    let mut people = vec![ana];
    people.extend(joined);
    replay::everybody(&mut people, at(JOIN + 100))?;
    let members = people[2].replica.membership().members();
    let roles: Vec<String> = members.iter().map(|member| format!("{} {:?}", member.user.short(), member.role)).collect();
    writeln!(out, "   members as Cleo sees them: {}", roles.join(", "))?;
    Ok(people)
}

/// Imports the corpus at Ana's and brings it to the others. Answers a paragraph to quarrel about.
fn import_corpus(out: &mut dyn Write, people: &mut [Person]) -> Result<NodeId> {
    let (name, outlines) = corpus::outlines()?;
    heading(out, 2, &format!("Ana imports {name}: {} files as one tree", outlines.len()))?;
    let progress = bar(outlines.len(), "importing");
    let started = Instant::now();
    let mut nodes = 0;
    for (number, outline) in outlines.iter().enumerate() {
        nodes += corpus::import(&mut people[0], outline, at(IMPORT + number as u64 * 10))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    writeln!(out, "   {nodes} nodes written as signed operations in {seconds:.2} s ({:.0} a second)", nodes as f64 / seconds)?;
    for other in [1, 2] {
        let (first, rest) = people.split_at_mut(1);
        let progress = bar(nodes, "receiving");
        let report = first[0].sync_with(&mut rest[other - 1], at(IMPORT + 60_000), &mut |done, total| {
            progress.set_length(total);
            progress.set_position(done);
        })?;
        progress.finish_and_clear();
        writeln!(
            out,
            "   {} received {} operations in {} KiB and {} round trips; both say \"synced\"",
            rest[other - 1].name,
            report.received_ops[1],
            report.bytes[0] / 1024,
            report.turns.div_ceil(2)
        )?;
    }
    let longest = outlines.iter().flat_map(|outline| {
        outline.nodes.iter().enumerate().filter(|(_, node)| node.kind.name() == "text").map(move |(number, node)| {
            (node.content.chars().filter(|c| *c == ' ').count().min(30), corpus::node_id(outline.title(), number))
        })
    });
    longest.max().map(|(_, id)| id).context("the corpus has no paragraph")
}

/// Ben and Cleo type the friendsforever trace into one node, each seeing of the other what the trace says.
fn type_together(out: &mut dyn Write, people: &mut [Person]) -> Result<()> {
    let Some(path) = corpus::trace_file("friendsforever.json.gz") else {
        heading(out, 3, "Ben and Cleo type at once (the recorded trace is not here: a short text instead)")?;
        return type_short(out, people);
    };
    let TraceFile::Trace(trace) = replay::read(&path)? else { anyhow::bail!("friendsforever is not an editing trace") };
    let trace = trace.bursts(20);
    heading(out, 3, &format!("Ben and Cleo type at once: the recorded trace friendsforever, {} bursts", trace.transactions.len()))?;
    let node = NodeId::parse("friendsforever")?;
    let now = at(IMPORT + 120_000);
    people[0].replica.create(now, NewNode::text(node.clone(), None, trace.start_content.clone()))?;
    people[0].replica.commit()?;
    replay::everybody(people, now)?;
    let agents: BTreeMap<u32, usize> = BTreeMap::from([(0, 0), (1, 1)]);
    let progress = bar(trace.transactions.len(), "typing");
    let outcome = replay::type_trace(&trace, &agents, (&mut people[1..], IMPORT + 121_000), &node, &mut |done, _| {
        progress.set_position(done as u64)
    })?;
    progress.finish_and_clear();
    let chars = trace.end_content.chars().count();
    ensure!(outcome.right, "the text is not the one the trace promises");
    writeln!(
        out,
        "   {} operations each way in {:.2} s; both texts are the trace's, all {chars} characters",
        outcome.transactions,
        outcome.time.as_secs_f64()
    )?;
    replay::everybody(people, at(TRACE_END))?;
    Ok(())
}

fn type_short(out: &mut dyn Write, people: &mut [Person]) -> Result<()> {
    let node = NodeId::parse("friendsforever")?;
    let now = at(IMPORT + 120_000);
    people[0].replica.create(now, NewNode::text(node.clone(), None, "Groceries: , and bread."))?;
    people[0].replica.commit()?;
    replay::everybody(people, now)?;
    for (person, (position, word)) in [(1, (11, "milk")), (2, (22, " with seeds"))] {
        for (at_char, c) in word.chars().enumerate() {
            let patch = nodespace_protocol::text::TextPatch::new(position + at_char as u32, 0, c.to_string());
            people[person].replica.edit_text(at(IMPORT + 130_000 + at_char as u64), &node, vec![patch])?;
        }
        people[person].replica.commit()?;
    }
    replay::everybody(people, at(TRACE_END))?;
    let text = people[0].replica.view(&node)?.content;
    ensure!(text == "Groceries: milk, and bread with seeds.", "unexpected text {text:?}");
    writeln!(out, "   both typed key by key, apart; everybody reads: {text:?}")?;
    Ok(())
}
