//! Conflict contexts: both sides, the ancestor, what holds now, who is local.

use super::*;
use crate::conflict::{ConflictStatus, ConflictType, NodeConflict};
use crate::replica::Choice;

/// Both devices change what the first one made; the first one holds everything then.
fn apart<A, B>(first_writes: impl Fn(&mut Device) -> A, second_writes: impl Fn(&mut Device) -> B) -> Device {
    let (mut first, mut second) = two_devices();
    let new = NewNode { metadata: json!({ "a": { "b/c": 1 } }), ..NewNode::text(id("n"), None, "one two three") };
    first.create(at(10), new).unwrap();
    first.create(at(11), NewNode::text(id("p"), None, "p")).unwrap();
    first.create(at(12), NewNode::text(id("q"), None, "q")).unwrap();
    give(&mut first, &mut second);
    first_writes(&mut first);
    second_writes(&mut second);
    give(&mut second, &mut first);
    first
}

fn only(device: &Device, kind: ConflictType) -> NodeConflict {
    let found: Vec<_> = device.conflicts().unwrap().into_iter().filter(|found| found.conflict.kind == kind).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn context(device: &Device, kind: ConflictType) -> ConflictContext {
    let context = conflict_context(device, &only(device, kind), device.device()).unwrap();
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let framing = Framing { encoding, compression: crate::compress::CompressionType::None };
        let bytes = encoding::encode(&context, framing).unwrap();
        assert_eq!(encoding::parse::<ConflictContext>(&bytes, encoding).unwrap(), context);
    }
    context
}

#[test]
fn concurrent_edits_show_both_texts_and_where_they_parted() {
    let mut device = apart(
        |first| first.set_text(at(20), &id("n"), "one 2 three").unwrap(),
        |second| second.set_text(at(21), &id("n"), "one zwei three").unwrap(),
    );
    let context = context(&device, ConflictType::ConcurrentEdit);
    assert_eq!(context.field, "content");
    assert_eq!(context.local_operation.device_id, key(1).device(), "the earlier one, but ours");
    assert_eq!(context.remote_operations.len(), 1);
    assert_eq!(context.sides[0].value, "one 2 three");
    assert_eq!(context.sides[1].value, "one zwei three");
    assert_eq!((context.sides[1].user_id, context.sides[1].device_id), (Some(user()), key(2).device()));
    assert_eq!(context.ancestor, Some(json!("one two three")));
    assert_eq!(context.provisional, device.view(&id("n")).unwrap().content);
    assert!(context.live && !context.requires_user_input);

    let found = only(&device, ConflictType::ConcurrentEdit);
    let latest = conflict_context(&device, &found, None).unwrap();
    assert_eq!(latest.local_operation.device_id, key(2).device(), "nobody is local: the latest");

    device.resolve_conflict(at(30), &id("n"), context.id, Choice::Keep(context.sides[0].checksum)).unwrap();
    let settled = conflict_context(&device, &only(&device, ConflictType::ConcurrentEdit), device.device()).unwrap();
    assert_eq!(settled.provisional, "one 2 three");
    assert!(matches!(settled.status, ConflictStatus::Resolved(_)));
    assert_eq!((settled.id, settled.live, &settled.sides), (context.id, false, &context.sides));
}

#[test]
fn deleted_against_edited() {
    let device = apart(
        |first| first.delete(at(20), &id("n"), true).unwrap(),
        |second| second.set_text(at(21), &id("n"), "one two three four").unwrap(),
    );
    let context = context(&device, ConflictType::DeleteConflict);
    assert!(context.requires_user_input);
    assert_eq!(context.sides[0].value, json!({ "deleted": true, "content": "one two three" }));
    assert_eq!(context.sides[1].value, json!({ "deleted": false, "content": "one two three four" }));
    assert_eq!(context.ancestor, Some(json!({ "deleted": false, "content": "one two three" })));
    assert_eq!(context.provisional, json!({ "deleted": false, "content": "one two three four" }));
}

#[test]
fn moved_to_two_places() {
    let device = apart(
        |first| first.move_node(at(20), &id("n"), Some(&id("p")), &Position::Last).unwrap(),
        |second| second.move_node(at(21), &id("n"), Some(&id("q")), &Position::Last).unwrap(),
    );
    let context = context(&device, ConflictType::MoveConflict);
    assert_eq!(context.sides[0].value, json!({ "parent_id": "p" }));
    assert_eq!(context.sides[1].value, json!({ "parent_id": "q" }));
    assert_eq!(context.ancestor, Some(json!({ "parent_id": null })));
    assert_eq!(context.provisional, json!({ "parent_id": "q", "before_sibling_id": null }));
}

#[test]
fn a_move_that_would_have_closed_a_cycle_stands_alone() {
    let device = apart(
        |first| first.move_node(at(20), &id("p"), Some(&id("q")), &Position::Last).unwrap(),
        |second| second.move_node(at(21), &id("q"), Some(&id("p")), &Position::Last).unwrap(),
    );
    let context = context(&device, ConflictType::MoveConflict);
    assert_eq!((context.node_id, context.remote_operations.len()), (id("q"), 0));
    assert_eq!(context.sides[0].value, json!({ "parent_id": "p" }));
    assert_eq!(context.ancestor, Some(json!({ "parent_id": null })));
    assert_eq!(context.provisional["parent_id"], serde_json::Value::Null);
}

#[test]
fn metadata_is_shown_at_its_path() {
    let device = apart(
        |first| first.patch_metadata(at(20), &id("n"), json!({ "a": { "b/c": 2 } })).unwrap(),
        |second| second.patch_metadata(at(21), &id("n"), json!({ "a": { "b/c": null } })).unwrap(),
    );
    let context = context(&device, ConflictType::MetadataConflict);
    assert_eq!(context.field, "metadata/a/b~1c");
    assert_eq!((&context.sides[0].value, &context.sides[1].value), (&json!(2), &json!(null)));
    assert_eq!((context.ancestor, context.provisional), (Some(json!(1)), json!(null)));
}

#[test]
fn a_new_type_against_new_text() {
    let device = apart(
        |first| first.set_type(at(20), &id("n"), "task").unwrap(),
        |second| second.set_text(at(21), &id("n"), "one two three!").unwrap(),
    );
    let context = context(&device, ConflictType::StructuralConflict);
    assert_eq!(context.sides[0].value, json!({ "type": "task", "content": "one two three" }));
    assert_eq!(context.sides[1].value, json!({ "type": "text", "content": "one two three!" }));
    assert_eq!(context.provisional, json!({ "type": "task", "content": "one two three!" }));
}

#[test]
fn two_creations_have_no_ancestor() {
    let (mut first, mut second) = two_devices();
    first.create(at(20), NewNode::text(id("2025-08-30"), None, "mine")).unwrap();
    second.create(at(21), NewNode::text(id("2025-08-30"), None, "yours")).unwrap();
    give(&mut second, &mut first);
    let context = context(&first, ConflictType::ConcurrentEdit);
    assert_eq!(context.ancestor, None);
    assert_eq!((&context.sides[0].value, &context.sides[1].value), (&json!("mine"), &json!("yours")));
}

#[test]
fn common_heads_are_where_histories_last_met() {
    let (mut first, mut second) = two_devices();
    let created = first.create(at(10), NewNode::text(id("n"), None, "1")).unwrap();
    give(&mut first, &mut second);
    let a = first.set_type(at(11), &id("n"), "task").unwrap();
    let b = second.patch_metadata(at(12), &id("n"), json!({ "x": 1 })).unwrap();
    give(&mut second, &mut first);
    give(&mut first, &mut second);
    let common = |device: &Device, ops: &[_]| device.common_heads(&id("n"), ops).unwrap();
    assert_eq!(common(&first, &[a, b]), [created]);
    let a2 = first.set_type(at(13), &id("n"), "text").unwrap();
    let b2 = second.set_type(at(14), &id("n"), "date").unwrap();
    give(&mut second, &mut first);
    let mut both = [a, b];
    both.sort_unstable();
    assert_eq!(common(&first, &[a2, b2]), both, "histories that crossed met in two places");
    assert_eq!(common(&first, &[a2, a]), [a], "one in the other's past is where they met");
    assert_eq!(common(&first, &[a]), [a]);
    assert!(first.common_heads(&id("m"), &[a]).is_err());
}
