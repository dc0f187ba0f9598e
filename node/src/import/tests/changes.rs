//! What becomes of a document whose file changes, whose nodes change, or both.

use super::{Device, short};

const FILE: &str = "# One\n\nfirst words\n\nsecond words\n\n- a\n- b\n  - inner\n\n# Two\n\nlast words\n";

fn imported() -> Device {
    let mut device = Device::new();
    let report = device.import(&[("notes/doc.md", FILE)]);
    assert_eq!(short(&report), "created 10, operations 10");
    device
}

#[test]
fn folders_headings_and_lists_become_a_tree() {
    let expected = "folder notes\n  document doc\n    heading One\n      text first words\n      text second words\n      list-item a\n      list-item b\n        list-item inner\n    heading Two\n      text last words";
    assert_eq!(imported().tree(), expected);
}

#[test]
fn the_same_file_again_writes_nothing() {
    let mut device = imported();
    assert_eq!(short(&device.import(&[("notes/doc.md", FILE)])), "unchanged 10");
    device.records.clear();
    assert_eq!(short(&device.import(&[("notes/doc.md", FILE)])), "unchanged 10");
    device.records.values_mut().for_each(|record| record.truncate(7));
    assert_eq!(short(&device.import(&[("notes/doc.md", FILE)])), "unchanged 10");
}

#[test]
fn an_edit_in_the_file_is_an_edit_of_the_same_node() {
    for lose_records in [false, true] {
        let mut device = imported();
        let id = device.id("second words");
        if lose_records {
            device.records.clear();
        }
        let report = device.import(&[("notes/doc.md", &FILE.replace("second words", "second words, and more"))]);
        assert_eq!(short(&report), "updated 1, unchanged 9, operations 1");
        assert_eq!(device.id("second words, and more"), id);
        assert_eq!(device.replica.history(&id).unwrap().len(), 2);
    }
}

#[test]
fn what_is_inserted_and_what_vanishes() {
    for lose_records in [false, true] {
        let mut device = imported();
        if lose_records {
            device.records.clear();
        }
        let report = device.import(&[("notes/doc.md", &FILE.replace("first words", "> quoted\n\nfirst words").replace("\n  - inner", ""))]);
        assert_eq!(short(&report), "created 1, deleted 1, unchanged 9, operations 2");
        let expected = "folder notes\n  document doc\n    heading One\n      quote > quoted\n      text first words\n      text second words\n      list-item a\n      list-item b\n        x list-item inner\n    heading Two\n      text last words";
        assert_eq!(device.tree(), expected);
        // It comes back as the node it was.
        let report = device.import(&[("notes/doc.md", FILE)]);
        assert_eq!(short(&report), "created 1, deleted 1, unchanged 9, operations 2");
    }
}

#[test]
fn what_moves_in_the_file_moves_here() {
    for lose_records in [false, true] {
        let mut device = imported();
        let id = device.id("first words");
        if lose_records {
            device.records.clear();
        }
        let moved = FILE.replace("first words\n\n", "").replace("last words", "last words\n\nfirst words");
        assert_eq!(short(&device.import(&[("notes/doc.md", &moved)])), "moved 1, unchanged 9, operations 1");
        assert_eq!(device.id("first words"), id);
        assert!(device.tree().ends_with("heading Two\n      text last words\n      text first words"), "{}", device.tree());
        let swapped = FILE.replace("- a\n- b\n  - inner", "- b\n  - inner\n- a");
        let report = device.import(&[("notes/doc.md", &swapped)]);
        assert_eq!(report.counts.created + report.counts.deleted, 0);
        assert!(
            device
                .tree()
                .contains("text first words\n      text second words\n      list-item b\n        list-item inner\n      list-item a")
        );
    }
}

#[test]
fn a_local_edit_stays_while_the_file_stays() {
    for lose_records in [false, true] {
        let mut device = imported();
        device.edit("first words", "my words");
        device.delete("inner");
        let one = device.id("One");
        device.add("mine", &one, "not from the file");
        if lose_records {
            device.records.clear();
        }
        let before = device.tree();
        assert_eq!(short(&device.import(&[("notes/doc.md", FILE)])), "unchanged 8, kept 2");
        assert_eq!(device.tree(), before);
    }
}

#[test]
fn a_local_move_stays_while_the_file_stays() {
    let mut device = imported();
    let two = device.id("Two");
    device.relocate("a", &two);
    assert_eq!(short(&device.import(&[("notes/doc.md", FILE)])), "unchanged 9, kept 1");
    // What is inserted beside it finds its place all the same.
    device.import(&[("notes/doc.md", &FILE.replace("- a\n", "- a\n- new\n"))]);
    assert!(device.tree().contains("text second words\n      list-item new\n      list-item b"), "{}", device.tree());
}

#[test]
fn when_both_changed_the_file_shows_and_history_has_the_other() {
    let mut device = imported();
    let id = device.id("first words");
    device.edit("first words", "my words");
    let report = device.import(&[("notes/doc.md", &FILE.replace("first words", "their words"))]);
    assert_eq!(short(&report), "updated 1, unchanged 9, overwritten 1, operations 1");
    let view = device.replica.view(&id).unwrap();
    assert_eq!(view.content, "their words");
    let history = device.replica.history(&id).unwrap();
    assert_eq!(device.replica.view_at(&id, &[history[1].op]).unwrap().content, "my words");
}

#[test]
fn a_deleted_node_that_the_file_changes_comes_back() {
    let mut device = imported();
    device.delete("first words");
    let report = device.import(&[("notes/doc.md", &FILE.replace("first words", "first words again"))]);
    assert_eq!(short(&report), "updated 1, unchanged 9, overwritten 1, operations 1");
    device.id("first words again");
}

#[test]
fn what_vanishes_stays_when_somebody_made_something_of_it() {
    let mut device = imported();
    device.edit("first words", "my words");
    let b = device.id("b");
    device.add("mine", &b, "below b");
    let report = device.import(&[("notes/doc.md", "# One\n\nsecond words\n\n- a\n\n# Two\n\nlast words\n")]);
    // `inner` goes; `b` stays for what was put below it.
    assert_eq!(short(&report), "deleted 1, unchanged 7, kept 2, operations 1");
    let tree = device.tree();
    assert!(tree.contains("text my words") && tree.contains("list-item b") && tree.contains("text below b"), "{tree}");
}

#[test]
fn a_kind_that_changes_is_changed_on_the_same_node() {
    let mut device = imported();
    let (b, last) = (device.id("b"), device.id("last words"));
    let report = device.import(&[("notes/doc.md", &FILE.replace("- b", "7. b").replace("last words", "> last words"))]);
    assert_eq!((report.counts.created, report.counts.deleted, report.counts.updated), (0, 0, 2));
    let views = [&b, &last].map(|id| device.replica.view(id).unwrap());
    assert_eq!(views[0].metadata["markdown"]["marker"], "7.");
    assert_eq!((views[1].node_type.as_str(), views[1].content.as_str()), ("quote", "> last words"));
    assert_eq!(device.import(&[("notes/doc.md", &FILE.replace("- b", "7. b").replace("last words", "> last words"))]).operations, 0);
}

#[test]
fn nodes_of_another_device_are_met_and_not_doubled() {
    // Two devices that import one folder write the same ids.
    let (mut one, mut other) = (Device::new(), Device::new());
    one.import(&[("notes/doc.md", FILE)]);
    other.import_in_steps(super::request(&[("notes/doc.md", FILE)]), 3);
    assert_eq!(one.replica.node_ids(), other.replica.node_ids());
    // A device that got the nodes by another's hand adopts them, and follows the file from there on.
    let mut newcomer = Device { replica: one.replica, records: Default::default(), clock_ms: 2_000 };
    let report = newcomer.import(&[("notes/doc.md", &FILE.replace("last words", "the very last words"))]);
    assert_eq!(short(&report), "updated 1, unchanged 9, operations 1");
}
