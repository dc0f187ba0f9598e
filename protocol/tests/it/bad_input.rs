//! Bad input: each kind has an answer of its own.
//!
//! Three answers exist. *Refused*: nothing of it is stored, now or ever. *Waiting* or *held back*: kept without effect until
//! what it builds on, or its time, has come. *Void*: stored and passed on like any other, but without effect, on every device alike.

use std::sync::Arc;

use nodespace_protocol::DecodeError;
use nodespace_protocol::clock::{AHEAD_MS_MAX, Timestamp};
use nodespace_protocol::crypto::{KeyPair, Signature};
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{NodeId, NodeIdError, OpHash};
use nodespace_protocol::membership::certificate::join_proof;
use nodespace_protocol::membership::{Role, Unauthorised, WorkspaceAction};
use nodespace_protocol::op::segment::{ChainError, WireParent};
use nodespace_protocol::op::{Header, Op, OpType, PAYLOAD_BYTES_MAX, ParentRef, Payload, PayloadError, Place, PlaceAnchor, Segment};
use nodespace_protocol::replica::{IngestError, Missing, Refusal};
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Side;
use serde_json::json;

use crate::world::*;

fn create(text: &str) -> Payload {
    Payload {
        text: Some(TextChange::Replace(text.into())),
        node_type: Some("text".into()),
        place: Some(Place { parent: None, anchor: PlaceAnchor::Start, side: Side::Right }),
        ..Payload::default()
    }
}

fn edit(position: u32, delete: u32, insert: &str) -> Payload {
    Payload { text: Some(TextChange::Edits(vec![TextPatch::new(position, delete, insert)])), ..Payload::default() }
}

/// An owner, an editor, and a node of the owner's that both hold.
fn pair() -> (Device, Device, OpHash) {
    let mut owner = found(1);
    let mut editor = join(&mut owner, 2, Role::Editor, at(10));
    let hash = write_node(&mut owner, "page", "hello", at(20));
    meet(&mut owner, &mut editor, at(30));
    (owner, editor, hash)
}

/// A pen for the editor's log whose next operation needs no cut of its own.
fn editors_pen(editor: &mut Device) -> Pen {
    write_node(editor, "first", "", at(40));
    editor.commit().unwrap();
    Pen::of(editor, 2, at(50))
}

fn cut(device: &Device) -> Option<Box<[OpHash]>> {
    Some(device.membership().heads().into())
}

#[test]
fn an_operation_of_a_non_member_is_refused() {
    let (mut owner, ..) = pair();
    let heads = cut(&owner);
    let mut pen = Pen::of(&owner, 7, at(50));
    let op = pen.sign_off(Some(&node("page")), OpType::Create, create("x").encode(), &[], |header| header.cut = heads);
    let refusal = refuse(&mut owner, &signed(&key(7), &[op]), at(60));
    assert_eq!(refusal, Refusal::Unauthorised(Unauthorised::NotMember(key(7).device())));
}

#[test]
fn a_workspace_operation_of_a_non_member_is_refused() {
    let (mut owner, ..) = pair();
    let heads = owner.membership().heads().to_vec();
    let parents: Vec<_> = heads.iter().map(|head| op(&owner, head)).collect();
    let mut pen = Pen::of(&owner, 7, at(50));
    let action = WorkspaceAction::SetName { name: "mine".into() };
    let payload = Payload { action: Some(Box::new(action)), ..Payload::default() }.encode();
    let parents: Vec<&Op> = parents.iter().map(AsRef::as_ref).collect();
    let op = pen.sign_off(None, OpType::Workspace, payload, &parents, |_| {});
    let refusal = refuse(&mut owner, &signed(&key(7), &[op]), at(60));
    assert_eq!(refusal, Refusal::Unauthorised(Unauthorised::NotMember(key(7).device())));
    assert_eq!(owner.membership().name(), "Garden");
}

#[test]
fn a_gap_in_a_chain_waits_for_what_is_before() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let first = pen.op(&node("a"), OpType::Create, &create("a"), &[]);
    let second = pen.op(&node("b"), OpType::Create, &create("b"), &[]);
    let seq = first.header.seq;
    match owner.ingest(&signed(&key(2), std::slice::from_ref(&second)), at(70)) {
        Err(IngestError::Missing(Missing::Previous(position))) => assert_eq!((position.log, position.seq), (log(2), seq)),
        other => panic!("{other:?}"),
    }
    take(&mut owner, &signed(&key(2), &[first]), at(70));
    assert_eq!(take(&mut owner, &signed(&key(2), &[second]), at(70)).stored, 1);
}

#[test]
fn a_chain_onto_another_past_is_not_taken() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    pen.previous = Some(OpHash([0xee; 32]));
    let op = pen.op(&node("a"), OpType::Create, &create("a"), &[]);
    // Nothing with that hash is here: the segment waits for it, and in vain.
    let segment = signed(&key(2), std::slice::from_ref(&op));
    assert!(matches!(owner.ingest(&segment, at(70)), Err(IngestError::Missing(Missing::Previous(_)))));
    // A prefix that fits does not help: the hash is computed from what is held, and then the signature is wrong.
    let mut forged = segment;
    let held = owner.logs().get(&log(2)).and_then(|log| log.branches()[0].last).unwrap();
    forged.previous_prefix.copy_from_slice(&held.0[..8]);
    assert!(matches!(refuse(&mut owner, &forged, at(70)), Refusal::Chain(ChainError::Signature { .. })));
}

#[test]
fn a_bad_signature_is_refused() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let op = pen.op(&node("a"), OpType::Create, &create("a"), &[]);
    let seq = op.header.seq;
    let mut flipped = signed(&key(2), std::slice::from_ref(&op));
    flipped.signature.0[5] ^= 1;
    let other = signed(&key(1), std::slice::from_ref(&op));
    let empty = Segment { signature: Signature([0; 64]), ..other.clone() };
    for segment in [flipped, other, empty] {
        let refusal = refuse(&mut owner, &segment, at(70));
        assert!(matches!(refusal, Refusal::Chain(ChainError::Signature { seq: named, .. }) if named == seq), "{refusal}");
    }
}

#[test]
fn an_operation_of_another_workspace_is_refused() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    pen.workspace.0[0] ^= 1;
    let op = pen.op(&node("a"), OpType::Create, &create("a"), &[]);
    let refusal = refuse(&mut owner, &signed(&key(2), &[op]), at(70));
    assert!(matches!(refusal, Refusal::Chain(ChainError::Signature { .. })), "the workspace is in what is signed: {refusal}");
}

#[test]
fn a_timestamp_beyond_the_bound_is_held_back_and_drags_no_clock() {
    let (mut owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let now = at(100);
    pen.timestamp = now.plus_ms(AHEAD_MS_MAX + 5_000);
    let parent = op(&owner, &page);
    let ahead = pen.op(&node("page"), OpType::Update, &edit(0, 0, "later: "), &[&parent]);
    let due = ahead.header.timestamp;
    let ingested = take(&mut owner, &signed(&key(2), std::slice::from_ref(&ahead)), now);
    assert_eq!((ingested.stored, ingested.held), (1, 1), "stored, and held back");
    assert_eq!(owner.view(&node("page")).unwrap().content, "hello");
    assert_eq!(owner.counts().held, 1);
    // Our own operations keep to our own clock.
    let ours = owner.set_text(at(200), &node("page"), "hello there").unwrap().unwrap();
    assert!(op(&owner, &ours).header.timestamp < at(1_000), "the far future does not drag our clock");
    let timeout = owner.next_timeout().expect("something is held back");
    assert_eq!(timeout, Timestamp(due.0 - (AHEAD_MS_MAX << 16)));
    owner.tick(Timestamp(timeout.0 - 1)).unwrap();
    assert_eq!(owner.counts().held, 1, "a moment too early");
    owner.tick(timeout).unwrap();
    assert_eq!((owner.counts().held, owner.next_timeout()), (0, None));
    assert_eq!(owner.view(&node("page")).unwrap().content, "later: hello there");
    // Held back or not, everybody ends alike.
    let mut late = stranger(9, owner.workspace());
    exchange(&mut owner, &mut late, due);
    assert_eq!(late.state_digest(), owner.state_digest());
}

#[test]
fn clocks_that_do_not_advance_along_the_log_are_refused() {
    let (mut owner, mut editor, _) = pair();
    let pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let seq = pen.seq + 1;
    let before = op(&owner, &pen.previous.unwrap()).header.clone();
    let refused = |owner: &mut Device, change: &dyn Fn(&mut Header)| {
        let op = pen.clone().sign_off(Some(&node("a")), OpType::Create, create("a").encode(), &[], change);
        refuse(owner, &signed(&key(2), &[op]), at(70))
    };
    let clock = Refusal::Clock { log: log(2), seq };
    assert_eq!(refused(&mut owner, &|header| header.timestamp = before.timestamp), clock, "the same time");
    assert_eq!(refused(&mut owner, &|header| header.version = before.version), clock, "the same version");
    assert_eq!(refused(&mut owner, &|header| header.timestamp = Timestamp(before.timestamp.0 - 1)), clock, "an earlier time");
}

#[test]
fn clocks_behind_a_parent_make_an_operation_void() {
    let (mut owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let parent = op(&owner, &page);
    // Each is later than the operation before it in its log; the node's other history is later still.
    let later = Pen::of(&owner, 1, at(5_000)).op(&node("page"), OpType::Update, &edit(5, 0, "!"), &[&parent]);
    pen.version = later.header.version;
    let mut lag = |payload: Payload, change: &dyn Fn(&mut Header)| {
        pen.sign_off(Some(&node("page")), OpType::Update, payload.encode(), &[&later], change)
    };
    let lagging = lag(edit(0, 0, "1"), &|header| header.timestamp = at(4_000));
    let declared = lag(edit(0, 0, "2"), &|header| (header.timestamp, header.parent_version) = (at(5_500), Some(1)));
    let honest = lag(edit(0, 0, "3"), &|header| header.timestamp = at(6_000));
    take(&mut owner, &signed(&key(1), std::slice::from_ref(&later)), at(7_000));
    assert_eq!(take(&mut owner, &signed(&key(2), &[lagging, declared, honest]), at(7_000)).stored, 3);
    assert_eq!(owner.view(&node("page")).unwrap().content, "3hello!", "two of three have no effect");
}

#[test]
fn too_many_parents_are_a_decode_error() {
    let (owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    let parent = op(&owner, &page);
    let good = pen.op(&node("page"), OpType::Update, &edit(0, 0, "x"), &[&parent]);
    let mut segment = signed(&key(2), &[good]);
    segment.ops[0].parents = (0..17).map(|n| WireParent::Hash(OpHash([n; 32]))).collect();
    let error = Segment::decode(&segment.encode()).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { what: "parents of an operation", found: 17, max: 16 });
    // Built without the decoder, the header's own rule catches it.
    assert!(matches!(refuse(&mut editor, &segment, at(70)), Refusal::Chain(ChainError::Header { .. })));
}

#[test]
fn an_unknown_parent_is_stored_and_waited_for() {
    let (mut owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let parent = op(&owner, &page);
    let mut third = join(&mut owner, 3, Role::Editor, at(62));
    meet(&mut owner, &mut editor, at(64));
    // The third device edits; the editor's operation builds on that and arrives first.
    let theirs = third.set_text(at(70), &node("page"), "hello you").unwrap().unwrap();
    third.commit().unwrap();
    let theirs = op(&third, &theirs);
    pen.timestamp = at(75);
    let ours = pen.op(&node("page"), OpType::Update, &edit(9, 0, "!"), &[&theirs]);
    assert_eq!(theirs.header.parents.len(), 1);
    assert_eq!(parent.header.node, theirs.header.node);
    let ingested = take(&mut owner, &signed(&key(2), &[ours]), at(80));
    assert_eq!((ingested.stored, ingested.waiting), (1, 1));
    assert_eq!((owner.counts().waiting, owner.view(&node("page")).unwrap().content.as_str()), (1, "hello"));
    exchange(&mut third, &mut owner, at(90));
    assert_eq!((owner.counts().waiting, owner.view(&node("page")).unwrap().content.as_str()), (0, "hello you!"));
}

#[test]
fn an_unknown_parent_by_position_makes_the_segment_wait() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let op = pen.op(&node("a"), OpType::Create, &create("a"), &[]);
    let mut segment = signed(&key(2), &[op]);
    let position = nodespace_protocol::op::segment::Position { log: log(1), seq: 999 };
    segment.ops[0].parents = [WireParent::At(position)].into_iter().collect();
    segment.ops[0].parent_version = Some(1);
    match owner.ingest(&rewritten(&segment), at(70)) {
        Err(IngestError::Missing(Missing::Parent(missing))) => assert_eq!(missing, position),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_id_with_control_characters_is_a_decode_error() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    for (text, why) in [
        ("a\u{7}b", NodeIdError::ControlCharacter(7)),
        ("a\nb", NodeIdError::ControlCharacter(10)),
        ("a\u{85}", NodeIdError::ControlCharacter(0x85)),
        ("", NodeIdError::Empty),
    ] {
        let bad = NodeId::Text(text.into());
        let op = pen.clone().op(&bad, OpType::Create, &create("a"), &[]);
        let header = op.header.encode(&pen.workspace);
        assert_eq!(Header::decode(&header).unwrap_err(), DecodeError::NodeId(why.clone()), "in a header");
        let segment = signed(&key(2), &[op]);
        assert_eq!(Segment::decode(&segment.encode()).unwrap_err(), DecodeError::NodeId(why.clone()), "in a segment");
        let mentions = Payload { mentions_added: vec![bad], ..Payload::default() }.encode();
        let error = Payload::decode(OpType::Update, &mentions).unwrap_err();
        assert_eq!(error, PayloadError::Decode(DecodeError::NodeId(why)), "in a mention");
    }
    // Where a payload names such an id, the operation is taken and void.
    let parent = write_target(&mut owner);
    let mentions = Payload { mentions_added: vec![NodeId::Text("a\u{7}b".into())], ..Payload::default() };
    let op = pen.op(&node("target"), OpType::Update, &mentions, &[&parent]);
    take(&mut owner, &signed(&key(2), &[op]), at(80));
    assert_eq!(owner.view(&node("target")).unwrap().mentions, []);
}

fn write_target(owner: &mut Device) -> Arc<Op> {
    let hash = write_node(owner, "target", "", at(61));
    owner.commit().unwrap();
    op(owner, &hash)
}

/// Edits beyond the end of the text they were made on are void: the text part only, and in whatever order things arrive.
#[test]
fn edits_outside_the_text_are_void_in_any_order() {
    let (mut owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    let parent = op(&owner, &page);
    let bad = Payload { metadata: Some(json!({"tried": true})), ..edit(4, 9, "never") };
    let outside = pen.op(&node("page"), OpType::Update, &bad, &[&parent]);
    let after = pen.op(&node("page"), OpType::Update, &edit(5, 0, "!"), &[&outside]);
    let honest = {
        let mut ours = Pen::of(&owner, 1, at(50));
        signed(&key(1), &[ours.op(&node("page"), OpType::Update, &edit(0, 1, "J"), &[&parent])])
    };
    meet(&mut owner, &mut editor, at(60));
    let hostile = [signed(&key(2), &[outside]), signed(&key(2), &[after])];
    let mut digests = Vec::new();
    for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
        let mut device = stranger(9, owner.workspace());
        exchange(&mut owner, &mut device, at(61));
        let all = [&honest, &hostile[0], &hostile[1]];
        for which in order {
            assert_eq!(take(&mut device, all[which], at(70)).stored, 1, "void operations are stored like others");
        }
        let view = device.view(&node("page")).unwrap();
        assert_eq!((view.content.as_str(), &view.metadata), ("Jello!", &json!({"tried": true})), "order {order:?}");
        digests.push(device.state_digest());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "one state, whatever the order");
}

#[test]
fn a_viewer_may_not_write_nodes() {
    let mut owner = found(1);
    let mut viewer = join(&mut owner, 2, Role::Viewer, at(10));
    meet(&mut owner, &mut viewer, at(20));
    let error = viewer.create(at(30), nodespace_protocol::replica::NewNode::text(node("a"), None, "a"));
    assert!(error.is_err(), "its own program says so first");
    let mut pen = Pen::of(&viewer, 2, at(30));
    let op = pen.op(&node("a"), OpType::Create, &create("a"), &[]);
    let refusal = refuse(&mut owner, &signed(&key(2), &[op]), at(40));
    let role = Unauthorised::Role { device: key(2).device(), role: Role::Viewer, what: "writing nodes" };
    assert_eq!(refusal, Refusal::Unauthorised(role));
}

#[test]
fn an_editor_may_not_change_the_workspace() {
    let (mut owner, editor, _) = pair();
    let heads: Vec<_> = owner.membership().heads().iter().map(|head| op(&owner, head)).collect();
    let mut pen = Pen::of(&editor, 2, at(50));
    let action = WorkspaceAction::SetRole { user: user_key(2).user(), role: Role::Owner };
    let payload = Payload { action: Some(Box::new(action)), ..Payload::default() }.encode();
    let parents: Vec<&Op> = heads.iter().map(AsRef::as_ref).collect();
    let op = pen.sign_off(None, OpType::Workspace, payload, &parents, |_| {});
    let refusal = refuse(&mut owner, &signed(&key(2), &[op]), at(60));
    let role = Unauthorised::Role { device: key(2).device(), role: Role::Editor, what: "changing the workspace" };
    assert_eq!(refusal, Refusal::Unauthorised(role));
}

/// A join by device `n`, as its program would write it if it checked nothing.
fn join_segment(owner: &Device, n: u8, invite: OpHash, key_of_invite: &KeyPair, now: Timestamp) -> Segment {
    let certificate = certificate(n);
    let proof = join_proof(key_of_invite, &owner.workspace(), &certificate);
    let action = WorkspaceAction::Join { invite, certificate, proof };
    let payload = Payload { action: Some(Box::new(action)), ..Payload::default() }.encode();
    let heads: Vec<_> = owner.membership().heads().iter().map(|head| op(owner, head)).collect();
    let parents: Vec<&Op> = heads.iter().map(AsRef::as_ref).collect();
    let op = Pen::of(owner, n, now).sign_off(None, OpType::Workspace, payload, &parents, |_| {});
    signed(&key(n), &[op])
}

#[test]
fn an_invite_that_ended_admits_nobody() {
    let mut owner = found(1);
    let ticket = invite(&mut owner, 5, Role::Editor, at(1_000), 10, at(10));
    let late = join_segment(&owner, 2, ticket.invite, &ticket.key, at(1_001));
    assert_eq!(refuse(&mut owner, &late, at(1_002)), Refusal::Unauthorised(Unauthorised::Invite("it had ended")));
}

#[test]
fn an_invite_that_was_used_up_admits_nobody() {
    let mut owner = found(1);
    let ticket = invite(&mut owner, 5, Role::Editor, at(1_000), 1, at(10));
    let first = join_segment(&owner, 2, ticket.invite, &ticket.key, at(20));
    take(&mut owner, &first, at(21));
    let second = join_segment(&owner, 3, ticket.invite, &ticket.key, at(30));
    assert_eq!(refuse(&mut owner, &second, at(31)), Refusal::Unauthorised(Unauthorised::Invite("it was used up")));
}

#[test]
fn an_invite_that_was_revoked_admits_nobody() {
    let mut owner = found(1);
    let ticket = invite(&mut owner, 5, Role::Editor, at(1_000), 10, at(10));
    owner.change_workspace(at(20), WorkspaceAction::RevokeInvite { invite: ticket.invite }).unwrap();
    owner.commit().unwrap();
    let join = join_segment(&owner, 2, ticket.invite, &ticket.key, at(30));
    assert_eq!(refuse(&mut owner, &join, at(31)), Refusal::Unauthorised(Unauthorised::Invite("it had been revoked")));
}

#[test]
fn a_join_without_the_invites_key_is_refused() {
    let mut owner = found(1);
    let ticket = invite(&mut owner, 5, Role::Editor, at(1_000), 10, at(10));
    let guessed = join_segment(&owner, 2, ticket.invite, &key(99), at(30));
    assert_eq!(refuse(&mut owner, &guessed, at(31)), Refusal::Unauthorised(Unauthorised::Certificate));
    let none = join_segment(&owner, 2, OpHash([5; 32]), &ticket.key, at(30));
    assert_eq!(refuse(&mut owner, &none, at(31)), Refusal::Unauthorised(Unauthorised::Invite("it is not an invite")));
}

#[test]
fn a_payload_of_a_mebibyte_and_a_byte_is_a_decode_error() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let greatest = pen.clone().sign_off(Some(&node("a")), OpType::Create, vec![0; PAYLOAD_BYTES_MAX], &[], |_| {});
    let segment = signed(&key(2), &[greatest]);
    assert_eq!(Segment::decode(&segment.encode()).as_ref(), Ok(&segment), "a whole mebibyte fits");
    let op = pen.sign_off(Some(&node("a")), OpType::Create, vec![0; PAYLOAD_BYTES_MAX + 1], &[], |_| {});
    let segment = signed(&key(2), &[op]);
    let max = PAYLOAD_BYTES_MAX as u64;
    let error = DecodeError::TooLarge { what: "bytes of payload", found: max + 1, max };
    assert_eq!(Segment::decode(&segment.encode()), Err(error));
    assert!(matches!(refuse(&mut owner, &segment, at(70)), Refusal::Chain(ChainError::Header { .. })));
}

#[test]
fn json_that_nests_too_deep_is_void() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    // A map of one field, metadata, whose value is arrays in arrays inside an object.
    let nested = |arrays: usize| {
        let mut bytes = vec![0xa1, 0x03, 0xa1, 0x61, b'a'];
        bytes.extend(std::iter::repeat_n(0x81, arrays));
        bytes.push(0x01);
        bytes
    };
    assert!(Payload::decode(OpType::Metadata, &nested(14)).is_ok(), "16 deep: an object, 14 arrays, a number");
    let parent = write_target(&mut owner);
    let mut last = parent.as_ref().clone();
    for arrays in [15, 10_000] {
        let error = Payload::decode(OpType::Metadata, &nested(arrays)).unwrap_err();
        let expected = DecodeError::TooLarge { what: "the nesting of a JSON value", found: 17, max: 16 };
        assert_eq!(error, PayloadError::Decode(expected), "refused at the bound, however deep it goes on");
        last = pen.sign_off(Some(&node("target")), OpType::Metadata, nested(arrays), &[&last], |_| {});
        assert_eq!(take(&mut owner, &signed(&key(2), std::slice::from_ref(&last)), at(80)).stored, 1);
        assert_eq!(owner.view(&node("target")).unwrap().metadata, json!({}));
    }
}

#[test]
fn a_first_operation_without_a_cut_is_refused() {
    let (mut owner, ..) = pair();
    // A second store of the editor's device: another epoch, another log, and it does not say what membership it knew.
    let mut pen = Pen::of(&owner, 2, at(50));
    pen.log.epoch += 1;
    (pen.seq, pen.previous) = (0, None);
    let op = pen.clone().op(&node("a"), OpType::Create, &create("a"), &[]);
    let refusal = refuse(&mut owner, &signed(&key(2), &[op]), at(60));
    assert_eq!(refusal, Refusal::NoCut { log: pen.log, seq: 1 });
    let heads = cut(&owner);
    let op = pen.sign_off(Some(&node("a")), OpType::Create, create("a").encode(), &[], |header| header.cut = heads);
    assert_eq!(take(&mut owner, &signed(&key(2), &[op]), at(60)).stored, 1, "with one it is taken");
}

#[test]
fn a_cut_that_is_not_here_yet_makes_the_segment_wait() {
    let (mut owner, mut editor, _) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let unknown = OpHash([0xcc; 32]);
    let op = pen.sign_off(Some(&node("a")), OpType::Create, create("a").encode(), &[], |header| header.cut = Some([unknown].into()));
    match owner.ingest(&signed(&key(2), &[op]), at(70)) {
        Err(IngestError::Missing(Missing::Membership(missing))) => assert_eq!(missing, unknown),
        other => panic!("{other:?}"),
    }
}

/// A removed member goes on writing without knowing. Whether it arrives before the removal is known or after, it is void, and
/// everybody ends alike.
#[test]
fn a_removed_members_later_operation_is_void() {
    let (mut owner, mut editor, _) = pair();
    let mut witness = join(&mut owner, 3, Role::Editor, at(40));
    meet(&mut owner, &mut editor, at(50));
    meet(&mut owner, &mut witness, at(55));
    owner.remove_member(at(60), user_key(2).user()).unwrap();
    owner.commit().unwrap();
    editor.set_text(at(70), &node("page"), "hello from outside").unwrap();
    assert_eq!(exchange(&mut editor, &mut witness, at(80)), []);
    assert_eq!(witness.view(&node("page")).unwrap().content, "hello from outside", "not known to be removed yet");
    exchange(&mut editor, &mut owner, at(90));
    assert_eq!(owner.view(&node("page")).unwrap().content, "hello", "known to be removed");
    exchange(&mut owner, &mut witness, at(100));
    assert_eq!(witness.view(&node("page")).unwrap().content, "hello", "undone");
    assert_eq!(witness.state_digest(), owner.state_digest());
    assert_eq!(witness.frontier_digest(), owner.frontier_digest());
}

/// Once it knows of its removal, a device's operations are not merely void: it had no right to make them, and they are refused.
#[test]
fn a_removed_member_that_knows_it_is_refused() {
    let (mut owner, mut editor, _) = pair();
    owner.remove_member(at(60), user_key(2).user()).unwrap();
    exchange(&mut owner, &mut editor, at(65));
    let heads = cut(&editor);
    let mut pen = Pen::of(&editor, 2, at(70));
    let op = pen.sign_off(Some(&node("a")), OpType::Create, create("a").encode(), &[], |header| header.cut = heads);
    let refusal = refuse(&mut owner, &signed(&key(2), &[op]), at(80));
    assert_eq!(refusal, Refusal::Unauthorised(Unauthorised::NotMember(key(2).device())));
}

#[test]
fn a_parent_on_another_node_makes_an_operation_void() {
    let (mut owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let other = write_target(&mut owner);
    let page = op(&owner, &page);
    let crossed = pen.op(&node("target"), OpType::Update, &edit(0, 0, "x"), &[&page]);
    take(&mut owner, &signed(&key(2), &[crossed]), at(80));
    assert_eq!(owner.view(&node("target")).unwrap().content, "", "it stands on nothing");
    assert_eq!(other.header.node, Some(node("target")));
}

#[test]
fn a_parent_named_twice_breaks_the_headers_rule() {
    let (mut owner, mut editor, page) = pair();
    let mut pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let parent = op(&owner, &page);
    let op = pen.sign_off(Some(&node("page")), OpType::Update, edit(0, 0, "x").encode(), &[&parent], |header| {
        header.parents.push(ParentRef::Other(parent.hash));
    });
    let refusal = refuse(&mut owner, &signed(&key(2), &[op]), at(70));
    assert!(matches!(refusal, Refusal::Chain(ChainError::Header { .. })), "{refusal}");
}

#[test]
fn a_workspace_operation_that_cannot_be_read_is_refused() {
    let (mut owner, ..) = pair();
    let heads: Vec<_> = owner.membership().heads().iter().map(|head| op(&owner, head)).collect();
    let parents: Vec<&Op> = heads.iter().map(AsRef::as_ref).collect();
    let op = Pen::of(&owner, 1, at(50)).sign_off(None, OpType::Workspace, vec![0xa1, 0x0a, 0x81, 0x18, 0x63], &parents, |_| {});
    assert!(matches!(refuse(&mut owner, &signed(&key(1), &[op]), at(60)), Refusal::Workspace(_)));
}

/// A version far ahead of all others would end writing for everybody: every later version has to be greater. So a version never
/// exceeds its operation's timestamp, and time has a bound already.
#[test]
fn a_version_beyond_its_timestamp_is_refused() {
    let (mut owner, mut editor, page) = pair();
    let pen = editors_pen(&mut editor);
    meet(&mut owner, &mut editor, at(60));
    let parent = op(&owner, &page);
    let versioned = |beyond: u64| {
        let op = pen.clone().sign_off(Some(&node("page")), OpType::Update, edit(5, 0, "!").encode(), &[&parent], |header| {
            header.version = header.timestamp.0.saturating_add(beyond);
        });
        signed(&key(2), &[op])
    };
    for beyond in [1, u64::MAX] {
        let refusal = refuse(&mut owner, &versioned(beyond), at(70));
        assert!(matches!(refusal, Refusal::Chain(ChainError::Header { .. })), "{refusal}");
    }
    take(&mut owner, &versioned(0), at(70));
    let written = owner.set_text(at(80), &node("page"), "hello?").unwrap().expect("it differs");
    assert_eq!(op(&owner, &written).header.check(), Ok(()), "we can still write after the greatest version allowed");
    owner.commit().unwrap();
    assert_eq!(exchange(&mut owner, &mut editor, at(90)), [], "and others take it");
}
