//! Forks: a device signs two operations for one position. Both are kept, and the two signatures prove it to anybody.

use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::log::Head;
use nodespace_protocol::log::fork::{ForkProof, ForkProofError};
use nodespace_protocol::membership::{Role, WorkspaceAction};
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{LogRange, Replica};

use crate::world::*;

/// Two copies of one device's store go on writing apart; answers an honest device and the two branches' segments.
fn forked() -> (Device, [Segment; 2]) {
    let mut owner = found(1);
    let mut editor = join(&mut owner, 2, Role::Editor, at(10));
    write_node(&mut editor, "common", "both have this", at(20));
    meet(&mut owner, &mut editor, at(30));
    let mut branches = Vec::new();
    for (name, ms) in [("left", 40), ("right", 50)] {
        let mut copy = Replica::open(owner.workspace(), editor.store().clone(), Some(author(2)), at(35)).unwrap();
        write_node(&mut copy, name, name, at(ms));
        write_node(&mut copy, &format!("{name} again"), name, at(ms + 1));
        branches.extend(segments(&mut copy, &owner));
    }
    (owner, branches.try_into().expect("one segment each"))
}

fn take_all(device: &mut Device, branches: &[Segment]) {
    for segment in branches {
        take(device, segment, at(60));
    }
}

fn proof_of(device: &Device) -> ForkProof {
    device.fork_proofs().unwrap().pop().expect("the fork is proved")
}

#[test]
fn both_branches_are_kept_whatever_the_order() {
    let (mut owner, [left, right]) = forked();
    let mut other = stranger(9, owner.workspace());
    exchange(&mut owner, &mut other, at(60));
    assert!(!take(&mut owner, &left, at(60)).forked);
    assert!(take(&mut owner, &right, at(60)).forked, "the second branch shows the fork");
    assert!(!take(&mut other, &right, at(60)).forked);
    assert!(take(&mut other, &left, at(60)).forked);
    for name in ["common", "left", "left again", "right", "right again"] {
        assert!(owner.view(&node(name)).is_ok() && other.view(&node(name)).is_ok(), "{name}");
    }
    assert_eq!(owner.state_digest(), other.state_digest());
    assert_eq!(owner.frontier_digest(), other.frontier_digest());
    assert_eq!(proof_of(&owner), proof_of(&other), "the same proof, the lesser branch first");
    assert_eq!(take(&mut owner, &left, at(61)).duplicates, 2, "known operations are known on every branch");
}

#[test]
fn a_fork_travels_on() {
    let (mut owner, branches) = forked();
    take_all(&mut owner, &branches);
    let mut late = stranger(9, owner.workspace());
    assert_eq!(exchange(&mut owner, &mut late, at(70)), []);
    assert_eq!(late.state_digest(), owner.state_digest());
    assert_eq!(late.frontier_digest(), owner.frontier_digest());
    assert_eq!(proof_of(&late), proof_of(&owner));
}

#[test]
fn a_forked_device_stops_writing() {
    let (mut owner, branches) = forked();
    take_all(&mut owner, &branches);
    let mut editor = stranger(2, owner.workspace());
    exchange(&mut owner, &mut editor, at(70));
    let error = editor.set_text(at(80), &node("common"), "more").unwrap_err();
    assert!(matches!(error, nodespace_protocol::replica::WriteError::Forked), "{error}");
}

/// A device of an owner is copied. The first copy invites somebody, the second one writes two nodes. The owner is removed by somebody who has
/// seen the nodes alone and says so. Who holds the first copy's branch takes the invite for one that came before the removal, until the nodes
/// that the removal names arrive. Only node operations come then, and all the same somebody else belongs: who keeps rows of members has to be
/// told, with the fork and with each step on it.
#[test]
fn nodes_of_a_forked_log_can_change_who_belongs() {
    let mut founder = found(1);
    let owner = join(&mut founder, 2, Role::Owner, at(10));
    let copy = || Replica::open(founder.workspace(), owner.store().clone(), Some(author(2)), at(20)).unwrap();
    let (mut inviting, mut writing) = (copy(), copy());
    let mut guest = join(&mut inviting, 3, Role::Editor, at(30));
    write_node(&mut writing, "seen", "seen", at(40));
    let last = write_node(&mut writing, "seen last", "seen last", at(41));
    writing.commit().unwrap();
    let seen = vec![(log(2), Head { seq: 3, hash: last })];
    founder.change_workspace(at(50), WorkspaceAction::RemoveMember { user: user_key(2).user(), seen }).unwrap();
    let mut observer = stranger(9, founder.workspace());
    assert_eq!(exchange(&mut guest, &mut observer, at(60)), []);
    assert_eq!(exchange(&mut founder, &mut observer, at(60)), []);
    let role = |observer: &Device| observer.membership().role(&key(3).device());
    assert_eq!(role(&observer), Some(Role::Editor), "as far as can be seen the removal's author knew of the invite");
    let step = |seq: u64| {
        let range = LogRange { log: log(2), branch: 0, after: seq - 1, through: seq };
        writing.segment(&range, true, &|_| 0).unwrap().expect("it is held")
    };
    let first = take(&mut observer, &step(2), at(70));
    assert!(first.forked && first.membership, "{first:?}");
    assert_eq!(role(&observer), Some(Role::Editor), "what the removal names has not come yet");
    let second = take(&mut observer, &step(3), at(71));
    assert!(!second.forked && second.membership, "{second:?}");
    assert_eq!(role(&observer), None, "the removal's author did not know of the invite");
}

#[test]
fn a_proof_convinces_and_a_tampered_one_does_not() {
    let (mut owner, branches) = forked();
    take_all(&mut owner, &branches);
    let workspace = owner.workspace();
    let proof = proof_of(&owner);
    assert_eq!(proof.verify(&workspace), Ok(()));
    assert_eq!(proof.log, log(2));
    let checked = |change: &dyn Fn(&mut ForkProof)| {
        let mut tampered = proof.clone();
        change(&mut tampered);
        tampered.verify(&workspace).unwrap_err()
    };
    assert_eq!(checked(&|proof| proof.branches[1] = proof.branches[0].clone()), ForkProofError::Same);
    assert_eq!(checked(&|proof| proof.branches[0].signature = Signature([1; 64])), ForkProofError::Signature);
    assert_eq!(checked(&|proof| proof.branches[0].headers[0].version += 1), ForkProofError::Chain);
    assert_eq!(checked(&|proof| proof.branches[1].headers.last_mut().unwrap().version += 1), ForkProofError::Signature);
    assert_eq!(checked(&|proof| proof.branches[0].headers.clear()), ForkProofError::Shape);
    assert_eq!(checked(&|proof| drop(proof.branches[0].headers.remove(0))), ForkProofError::Shape);
    assert_eq!(checked(&|proof| proof.log = log(1)), ForkProofError::Shape);
    assert_eq!(checked(&|proof| proof.branches[0].headers[0].seq += 1), ForkProofError::Shape);
    assert_eq!(proof.verify(&WorkspaceId([0; 32])), Err(ForkProofError::Chain), "in another workspace it proves nothing");
}
