//! Dates, folders, several documents, and what is refused.

use super::super::FILE_BYTES_MAX;
use super::{Device, request, short};
use crate::model::{ErrorCode, ImportRequest};

#[test]
fn a_date_is_one_node_however_it_came() {
    let mut device = Device::new();
    let now = device.now();
    let date = nodespace_protocol::ids::NodeId::parse("2025-08-30").unwrap();
    let new = nodespace_protocol::replica::NewNode::text(date.clone(), None, "my day");
    device.replica.create(now, nodespace_protocol::replica::NewNode { node_type: "date".into(), ..new }).unwrap();
    device.add("mine", &date, "a thought");
    let files = [("journal/2025-08-30.md", "- from the file\n"), ("old/2025-08-30.md", "elsewhere\n"), ("journal/2025-08-31.md", "next\n")];
    let report = device.import(&files);
    assert_eq!(report.outcomes[0].id.as_deref(), Some("2025-08-30"));
    assert_eq!(report.outcomes[2].id.as_deref(), Some("2025-08-31"));
    assert_eq!(report.outcomes[1].id, report.outcomes[0].id);
    let expected = "date my day\n  text elsewhere\n  list-item from the file\n  text a thought\nfolder journal\n  date 2025-08-31\n    text next\nfolder old";
    assert_eq!(device.tree(), expected);
    // What the date's node says is the person's.
    assert_eq!(short(&device.import(&files)), "unchanged 6, kept 2");
}

#[test]
fn documents_stand_in_the_order_of_their_paths() {
    let mut device = Device::new();
    device.import(&[("d.md", ""), ("b.md", "")]);
    device.import(&[("e.md", ""), ("c.md", ""), ("a.md", ""), ("d.md", ""), ("b.md", "")]);
    assert_eq!(device.tree(), "document a\ndocument b\ndocument c\ndocument d\ndocument e");
}

#[test]
fn folders_stand_among_documents() {
    let mut device = Device::new();
    device.import(&[("f/a.md", ""), ("f/d.md", "")]);
    device.import(&[("f/a.md", ""), ("f/b/x.md", ""), ("f/c.md", ""), ("f/d.md", ""), ("e.md", "")]);
    let expected = "document e\nfolder f\n  document a\n  folder b\n    document x\n  document c\n  document d";
    assert_eq!(device.tree(), expected);
}

#[test]
fn an_import_may_be_cut_anywhere_and_go_on() {
    let text = "# A\n\none\n\ntwo\n\n- x\n  - y\n\n## B\n\nthree\n\none\n";
    for steps in 0..14 {
        let mut device = Device::new();
        let mut import = super::Import::new(request(&[("f/a.md", text)])).unwrap();
        for _ in 0..steps {
            let now = device.now();
            assert!(import.step(&mut device.replica, &|_, _| Ok(None), now, 1).is_ok());
        }
        drop(import);
        device.import(&[("f/a.md", text)]);
        let mut whole = Device::new();
        whole.import(&[("f/a.md", text)]);
        assert_eq!(device.tree(), whole.tree(), "cut after {steps} steps");
        assert_eq!(device.replica.node_ids(), whole.replica.node_ids());
        assert_eq!(device.import(&[("f/a.md", text)]).operations, 0);
    }
}

#[test]
fn a_document_that_cannot_be_imported_does_not_stop_the_others() {
    let mut device = Device::new();
    let large = "x".repeat(FILE_BYTES_MAX as usize + 1);
    let report = device.import(&[("../a.md", "a"), ("good.md", "text"), ("good.md", "other"), ("large.md", &large)]);
    assert_eq!(short(&report), "created 2, failed 3, operations 2");
    let codes: Vec<_> = report.outcomes.iter().map(|outcome| outcome.error.as_ref().map(|error| error.code)).collect();
    assert_eq!(codes, [Some(ErrorCode::InvalidValue), None, Some(ErrorCode::InvalidValue), Some(ErrorCode::TooLarge)]);
    assert_eq!(device.tree(), "document good\n  text text");
}

#[test]
fn a_missing_place_is_refused_before_anything_is_written() {
    let mut device = Device::new();
    let ops = device.replica.counts().ops;
    let request = ImportRequest { under: Some("nowhere".into()), ..request(&[("f/a.md", "text")]) };
    let mut import = super::Import::new(request).unwrap();
    let now = device.now();
    let error = import.step(&mut device.replica, &|_, _| Ok(None), now, 500).unwrap_err();
    assert_eq!(error.to_string(), "there is no node `nowhere`");
    assert_eq!(device.replica.counts().ops, ops);
}

#[test]
fn one_file_in_two_places_is_two_documents() {
    let mut device = Device::new();
    device.import(&[("a.md", "text"), ("place.md", "")]);
    let place = device.id("place");
    let request = ImportRequest { under: Some(place.to_string()), ..request(&[("a.md", "text")]) };
    assert_eq!(short(&device.import_in_steps(request.clone(), 500)), "created 2, operations 2");
    assert_eq!(short(&device.import_in_steps(request, 500)), "unchanged 2");
    assert_eq!(device.tree(), "document a\n  text text\ndocument place\n  document a\n    text text");
}

#[test]
fn a_text_of_megabytes_goes_in_whole() {
    let mut device = Device::new();
    let text = "word ".repeat(400_000);
    let report = device.import(&[("a.md", &text)]);
    assert_eq!((report.counts.created, report.failed), (2, 0));
    device.id(text.trim_end());
    assert_eq!(device.import(&[("a.md", &text)]).operations, 0);
}
