//! Digests of a small scripted run: the same operations give the same frontier and the same state, for ever.

use nodespace_protocol::log::frontier;
use nodespace_protocol::membership::Role;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{NewEmbedding, NewNode};
use nodespace_protocol::tree::Position;
use serde_json::json;

use super::{Case, check};
use crate::world::*;

/// Two people write, apart and together, everything there is to write.
fn script() -> Device {
    let mut owner = found(1);
    let mut editor = join(&mut owner, 2, Role::Editor, at(100));
    meet(&mut owner, &mut editor, at(200));
    let page = NewNode {
        mentions: vec![node("2025-08-30")],
        metadata: json!({"tags": ["a"], "n": 1}),
        ..NewNode::text(node("page"), None, "Hello, world\n")
    };
    owner.create(at(300), page).unwrap();
    owner.create(at(310), NewNode::text(node("first"), Some(node("page")), "one")).unwrap();
    owner.create(at(320), NewNode::text(node("second"), Some(node("page")), "two")).unwrap();
    meet(&mut owner, &mut editor, at(400));
    // Apart.
    owner.set_text(at(500), &node("page"), "Hello, whole world\n").unwrap();
    owner.patch_metadata(at(510), &node("page"), json!({"n": 2})).unwrap();
    owner.move_node(at(520), &node("second"), Some(&node("page")), &Position::First).unwrap();
    owner.delete(at(530), &node("first"), true).unwrap();
    editor.set_text(at(505), &node("page"), "Hello, world!\n").unwrap();
    editor.patch_metadata(at(515), &node("page"), json!({"n": 3, "tags": null})).unwrap();
    editor.move_node(at(525), &node("second"), None, &Position::First).unwrap();
    editor.set_text(at(535), &node("first"), "one and a half").unwrap();
    editor.mention(at(545), &node("page"), vec![node("second")], vec![node("2025-08-30")]).unwrap();
    let embedding = NewEmbedding { model: "tiny".into(), vector: vec![1.0, -0.5, 0.25] };
    editor.attach_embedding(at(555), &node("second"), &embedding).unwrap();
    meet(&mut owner, &mut editor, at(600));
    // Together again.
    owner.set_type(at(700), &node("second"), "task").unwrap();
    meet(&mut owner, &mut editor, at(800));
    assert_eq!(owner.state_digest(), editor.state_digest());
    owner
}

#[test]
fn a_scripted_run_keeps_its_digests() {
    let mut device = script();
    let mut reader = stranger(9, device.workspace());
    let all = segments(&mut device, &reader);
    let last = all.len() - 1;
    let mut cases = Vec::new();
    for (at_segment, segment) in all.iter().enumerate() {
        let case = Case::new(format!("segment {at_segment}"), &segment.encode());
        cases.push(if at_segment == last { facts(case, &mut device) } else { case });
    }
    let about = "Segments of a small workspace, in no particular order; the last case has the facts about all of them: the workspace, the digests \
                 of its frontier and of its state, the conflicts found, and some texts.";
    check("run", about, cases, |_, bytes| Segment::decode(bytes).unwrap().encode());
    assert_eq!(exchange(&mut device, &mut reader, at(900)), []);
    assert_eq!(reader.state_digest(), device.state_digest(), "who reads the vectors ends where their writer ended");
}

fn facts(case: Case, device: &mut Device) -> Case {
    let hex = nodespace_protocol::ids::hex;
    let conflicts: Vec<String> = device.conflicts().unwrap().iter().map(|found| found.conflict.id.to_string()).collect();
    assert!(!conflicts.is_empty(), "the script is meant to collide");
    let page = device.view(&node("page")).unwrap();
    case.fact("workspace", device.workspace())
        .fact("frontier", hex(&frontier::digest(&device.frontier())))
        .fact("state", hex(&device.state_digest()))
        .fact("conflicts", conflicts.join(" "))
        .fact("text of page", page.content)
        .fact("metadata of page", page.metadata)
}
