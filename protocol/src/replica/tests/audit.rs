//! Audits: nothing is found where nothing is wrong, and what is wrong by itself is found, named, and gone when the log is folded anew.

use super::*;
use crate::replica::{Audit, AuditStep, Doubt};
use crate::tree::{Anchor, Side};

/// All that is in doubt of a replica that nobody writes to meanwhile.
pub(super) fn doubts(replica: &mut Device) -> Vec<Doubt> {
    let mut audit = Audit::begin(replica);
    loop {
        match audit.step(replica, 7).unwrap() {
            AuditStep::Done => return audit.conclude(),
            AuditStep::Outdated => panic!("nobody joined or left"),
            AuditStep::Read { .. } | AuditStep::Folded { .. } => {}
        }
    }
}

/// Some nodes under one, and one beside it.
fn furnished() -> Device {
    let mut a = found(Policy::default());
    a.create(at(10), NewNode::text(id("plan"), None, "the plan")).unwrap();
    for (ms, name) in (11..).zip(["one", "two", "three"]) {
        a.create(at(ms), NewNode::text(id(name), Some(id("plan")), name)).unwrap();
    }
    a.create(at(20), NewNode::text(id("note"), None, "a note")).unwrap();
    a.set_text(at(21), &id("note"), "a longer note").unwrap();
    a.commit().unwrap();
    a
}

/// What a start makes of the store of a replica.
fn reopened(replica: &Device) -> Device {
    Replica::open(replica.workspace(), replica.store().clone(), Some(author(1)), at(5_000)).unwrap()
}

/// Has the third stand before the first, as no operation says.
fn misplace(replica: &mut Device) {
    let first = replica.tree.placement_of(&id("one")).unwrap().stamp.hash;
    let mut placement = replica.tree.placement_of(&id("three")).unwrap();
    replica.tree.remove(&placement.stamp.hash);
    (placement.anchor, placement.side) = (Anchor::Op(first), Side::Left);
    replica.tree.insert(placement);
}

/// Changes the state of a node without an operation.
fn alter(replica: &mut Device, name: &str, change: impl FnOnce(&mut crate::fold::NodeState)) {
    let slot = replica.nodes.find(&id(name)).unwrap();
    let mut resident = replica.nodes.take(&replica.store, slot).unwrap();
    change(resident.edit());
    replica.nodes.put(slot, resident);
}

#[test]
fn what_is_wrong_by_itself_is_found_and_a_fold_of_the_log_mends_it() {
    type Fault = fn(&mut Device);
    let plan = || Some(id("plan"));
    let faults: [(Fault, Vec<Doubt>); 8] = [
        (|replica| replica.node_sum.add(&[7; 32]), vec![Doubt::StateSum]),
        (
            |replica| {
                replica.orders.loose.insert(None, [7; 32]);
            },
            vec![Doubt::OrderDigest(None)],
        ),
        (
            |replica| {
                let slot = replica.nodes.find(&id("plan")).unwrap();
                replica.orders.by_node.insert(slot, [7; 32]);
                replica.nodes.mark_chunk(slot);
            },
            vec![Doubt::OrderDigest(plan())],
        ),
        (
            |replica| {
                misplace(replica);
                // The sum is left as it was, which is right.
                replica.tree.take_changed();
            },
            vec![Doubt::Order(plan())],
        ),
        (
            |replica| {
                misplace(replica);
                replica.note_tree_changes();
            },
            vec![Doubt::Order(plan()), Doubt::StateSum],
        ),
        (
            |replica| {
                let slot = replica.nodes.find(&id("note")).unwrap();
                replica.nodes.set_digest(slot, [7; 32]).unwrap();
            },
            vec![Doubt::NodeDigest(id("note"))],
        ),
        (|replica| alter(replica, "note", |state| state.text = "another note".to_owned()), vec![Doubt::Node(id("note")), Doubt::StateSum]),
        (
            |replica| {
                // As if its last change had never come.
                let last = replica.node(&id("note")).unwrap().unwrap().head_indices()[0];
                let parents = replica.graph().parents(last, &replica.store.op(last).unwrap()).unwrap();
                let before = replica.state_at(&parents).unwrap();
                alter(replica, "note", |state| *state = before);
            },
            vec![Doubt::Node(id("note")), Doubt::StateSum],
        ),
    ];
    for (number, (fault, expected)) in faults.into_iter().enumerate() {
        let mut replica = furnished();
        let truth = replica.state_digest();
        assert_eq!(doubts(&mut replica), [], "fault {number}");
        fault(&mut replica);
        assert_eq!(doubts(&mut replica), expected, "fault {number}");
        replica.checkpoint().unwrap();
        let mut believed = reopened(&replica);
        assert_eq!(doubts(&mut believed), expected, "fault {number} in a checkpoint");
        let mut anew = Replica::open_anew(replica.workspace(), replica.into_store(), Some(author(1)), at(5_000)).unwrap();
        anew.checkpoint().unwrap();
        let mut mended = reopened(&anew);
        assert_eq!(doubts(&mut mended), [], "fault {number}");
        assert_eq!(mended.state_digest(), truth, "fault {number}");
    }
}

#[test]
fn a_node_of_which_the_log_knows_nothing_is_found() {
    let mut replica = furnished();
    let slot = replica.nodes.find_or_insert(&id("stranger"));
    let state = replica.node(&id("note")).unwrap().unwrap();
    alter(&mut replica, "stranger", |stranger| *stranger = (*state).clone());
    assert_eq!(slot as usize + 1, replica.known_nodes());
    assert_eq!(doubts(&mut replica), [Doubt::Node(id("stranger")), Doubt::StateSum]);
}

#[test]
fn a_replica_that_goes_on_meanwhile_is_not_in_doubt() {
    let mut a = furnished();
    let mut audit = Audit::begin(&mut a);
    let mut ms = 100;
    loop {
        match audit.step(&a, 1).unwrap() {
            AuditStep::Done => break,
            AuditStep::Outdated => panic!("nobody joined or left"),
            AuditStep::Read { .. } | AuditStep::Folded { .. } => {}
        }
        ms += 10;
        a.create(at(ms), NewNode::text(id(&format!("new-{ms}")), Some(id("plan")), "new")).unwrap();
        a.set_text(at(ms + 1), &id("note"), &format!("a note of {ms}")).unwrap();
        a.move_node(at(ms + 2), &id("one"), None, &Position::First).unwrap();
        a.move_node(at(ms + 3), &id("one"), Some(&id("plan")), &Position::Last).unwrap();
        if ms % 20 == 0 {
            a.state_digest();
        }
    }
    assert!(ms > 200, "it took several steps");
    assert_eq!(audit.conclude(), []);
    assert_eq!(doubts(&mut a), []);
}

#[test]
fn who_joins_or_leaves_makes_an_audit_outdated() {
    let mut a = furnished();
    let mut audit = Audit::begin(&mut a);
    assert!(matches!(audit.step(&a, 1).unwrap(), AuditStep::Read { done: 1, total } if total > 1));
    a.invite(at(100), &key(200), Role::Editor, at(900), 1).unwrap();
    assert_eq!(audit.step(&a, 1).unwrap(), AuditStep::Outdated);
    assert_eq!(doubts(&mut a), []);
}

#[test]
fn what_is_void_or_waits_for_its_time_is_not_in_doubt() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    let mut c = join(&mut a, 3, at(11), Role::Editor);
    for (ms, name) in (20..).zip(["seen", "other"]) {
        b.create(at(ms), NewNode::text(id(name), None, name)).unwrap();
    }
    b.commit().unwrap();
    sync(&mut a, &mut b, at(30));
    sync(&mut a, &mut c, at(31));
    let user = a.membership().user(&key(2).device()).unwrap();
    a.remove_member(at(40), user).unwrap();
    a.commit().unwrap();
    // Void: text, a place, and a node.
    b.set_text(at(41), &id("seen"), "seen and changed").unwrap();
    b.move_node(at(42), &id("seen"), Some(&id("other")), &Position::Last).unwrap();
    b.create(at(43), NewNode::text(id("unseen"), None, "unseen")).unwrap();
    b.commit().unwrap();
    sync(&mut b, &mut c, at(50));
    assert_eq!(c.tree().children(Some(&id("other"))), [id("seen")]);
    sync(&mut a, &mut c, at(60));
    assert_eq!(c.tree().children(Some(&id("other"))), []);
    for device in [&mut a, &mut b, &mut c] {
        assert_eq!(doubts(device), []);
    }
    // Ahead of the others' clocks: held back there.
    c.create(at(500_000), NewNode::text(id("future"), Some(id("seen")), "x")).unwrap();
    c.commit().unwrap();
    let configs = [SessionConfig::member(1, [1; 16]), SessionConfig::member(2, [2; 16])];
    talk(&mut a, &mut c, at(70), configs);
    assert_eq!(a.counts().held, 1);
    let mut audit = Audit::begin(&mut a);
    a.tick(at(500_000)).unwrap();
    assert_eq!(a.counts().held, 0, "its time comes while it is looked at");
    while audit.step(&a, 3).unwrap() != AuditStep::Done {}
    assert_eq!(audit.conclude(), []);
    assert_eq!(doubts(&mut a), []);
}
