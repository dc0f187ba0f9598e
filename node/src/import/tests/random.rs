//! Random files that change at random. Properties:
//!
//! 1. Importing twice writes nothing the second time, with the record, without it, and with another's.
//! 2. When nobody edits here, the living tree after importing a changed file is the one a fresh import gives, node by node.
//! 3. The same holds without a record, as far as texts go that were imported as they are now.
//! 4. What somebody wrote here is never lost: every text of a local node is shown or in that node's history.

use proptest::prelude::*;

use super::Device;

/// A line of a document; small alphabets, so that texts repeat.
fn line() -> impl Strategy<Value = String> {
    let words = proptest::sample::select(vec!["alpha", "beta", "gamma delta", "epsilon zeta eta", "theta"]);
    let mark = proptest::sample::select(vec!["", "# ", "## ", "### ", "- ", "  - ", "1. ", "> ", "***\n\n"]);
    (mark, words, 0_u8..4).prop_map(|(mark, words, number)| format!("{mark}{words} {number}\n\n"))
}

fn file() -> impl Strategy<Value = String> {
    proptest::collection::vec(line(), 0..14).prop_map(|lines| lines.concat())
}

/// A file and what it becomes: mostly the same lines.
fn changes() -> impl Strategy<Value = (String, String)> {
    (proptest::collection::vec(line(), 0..14), proptest::collection::vec((0_usize..16, 0_u8..4, line()), 0..4)).prop_map(
        |(lines, edits)| {
            let mut changed = lines.clone();
            for (at, what, line) in edits {
                let at = at.min(changed.len());
                match what {
                    0 => changed.insert(at, line),
                    1 if at < changed.len() => drop(changed.remove(at)),
                    2 if at < changed.len() => changed[at] = line,
                    _ if at < changed.len() => changed.rotate_left(at),
                    _ => {}
                }
            }
            (lines.concat(), changed.concat())
        },
    )
}

/// The tree without what is deleted. Fails when something living stands below it.
fn living(device: &Device) -> String {
    let tree = device.tree();
    tree.lines().filter(|line| !line.trim_start().starts_with("x ")).collect::<Vec<_>>().join("\n")
}

fn fresh(file: &str) -> Device {
    let mut device = Device::new();
    device.import(&[("a.md", file)]);
    device
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_second_import_writes_nothing((old, new) in changes()) {
        let mut device = fresh(&old);
        device.import(&[("a.md", &new)]);
        prop_assert_eq!(device.import(&[("a.md", &new)]).operations, 0);
        let mut without = fresh(&new);
        without.records.clear();
        prop_assert_eq!(without.import(&[("a.md", &new)]).operations, 0);
    }

    #[test]
    fn an_unedited_document_becomes_what_the_file_says((old, new) in changes()) {
        let mut device = fresh(&old);
        device.import_in_steps(super::request(&[("a.md", &new)]), 3);
        prop_assert_eq!(living(&device), living(&fresh(&new)));
    }

    #[test]
    fn without_a_record_too((old, new) in changes()) {
        let mut device = fresh(&old);
        device.records.clear();
        device.import(&[("a.md", &new)]);
        prop_assert_eq!(living(&device), living(&fresh(&new)));
    }

    #[test]
    fn the_way_through_other_files_does_not_matter(files in proptest::collection::vec(file(), 1..4)) {
        let mut device = Device::new();
        for file in &files {
            device.import(&[("a.md", file)]);
        }
        let last = files.last().unwrap();
        prop_assert_eq!(living(&device), living(&fresh(last)));
    }

    #[test]
    fn nothing_written_here_is_lost((old, new) in changes(), chosen in proptest::collection::vec(0_usize..14, 1..4), lose in any::<bool>()) {
        let mut device = fresh(&old);
        let ids = device.replica.node_ids();
        let mut edited = Vec::new();
        for (number, at) in chosen.into_iter().enumerate() {
            let id = ids[at % ids.len()].clone();
            let (text, now) = (format!("mine {number}"), device.now());
            device.replica.set_text(now, &id, &text).unwrap();
            edited.retain(|(other, _)| *other != id);
            edited.push((id, text));
        }
        if lose {
            device.records.clear();
        }
        device.import(&[("a.md", &new)]);
        for (id, text) in edited {
            let view = device.replica.view(&id).unwrap();
            let history = device.replica.history(&id).unwrap();
            let in_history = history.iter().any(|step| device.replica.view_at(&id, &[step.op]).unwrap().content == text);
            prop_assert!(in_history);
            prop_assert!(view.content == text || history.len() > 2, "{id} shows {:?} without an operation that says so", view.content);
            prop_assert!(!view.deleted, "{id} was edited here and then deleted");
        }
    }
}
