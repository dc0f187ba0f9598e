//! The closing table: what each of the three holds, and whether it is the same.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use nodespace_protocol::ids::hex;

use super::heading;
use crate::people::Person;

pub(super) fn close(out: &mut dyn Write, people: &mut [Person], took: Duration) -> Result<()> {
    heading(out, 8, "In the end")?;
    writeln!(
        out,
        "   {:6} {:>10} {:>7} {:>9} {:>5}   {:16}  {:16}  texts",
        "device", "operations", "nodes", "conflicts", "open", "frontier", "state"
    )?;
    let mut rows = Vec::new();
    for person in people.iter_mut() {
        let counts = person.replica.counts();
        let conflicts = person.replica.conflicts()?;
        let open = conflicts.iter().filter(|found| found.conflict.is_open()).count();
        let texts = texts_digest(person)?;
        let (frontier, state) = (person.replica.frontier_digest(), person.replica.state_digest());
        writeln!(
            out,
            "   {:6} {:>10} {:>7} {:>9} {:>5}   {}  {}  {}",
            person.name,
            counts.ops,
            counts.nodes,
            conflicts.len(),
            open,
            hex(&frontier[..8]),
            hex(&state[..8]),
            hex(&texts[..4])
        )?;
        rows.push((frontier, state, texts));
    }
    ensure!(rows.windows(2).all(|pair| pair[0] == pair[1]), "the three do not hold the same");
    for person in people.iter_mut() {
        let doubts = person.replica.audit()?;
        ensure!(doubts.is_empty(), "{}: not as its log makes it: {doubts:?}", person.name);
    }
    writeln!(out, "\n   The three hold the same operations, the same state and the same texts.")?;
    writeln!(out, "   Folding every node anew from its history, in another order, gives the same again.")?;
    writeln!(out, "   ({:.1} s)", took.as_secs_f64())?;
    Ok(())
}

/// One hash over all texts as an application reads them.
fn texts_digest(person: &Person) -> Result<[u8; 32]> {
    let mut texts = Vec::new();
    for id in person.replica.node_ids() {
        texts.push(person.replica.view(&id)?.content);
    }
    let parts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    Ok(nodespace_protocol::crypto::Domain::Content.hash_parts(&parts))
}
