//! A workload is taken as it comes, and is the same every time.

use nodespace_protocol::op::Segment;

use super::*;

const SMALL: Workload = Workload { ops: 6_000, nodes: 500, authors: 4, seed: 7 };

fn take(workload: &Workload) -> Replica<MemoryStore> {
    let generator = Generator::new(workload).unwrap();
    let (workspace, now) = (generator.workspace(), generator.now());
    let mut replica = Replica::open(workspace, MemoryStore::new(), None, now).unwrap();
    for batch in generator {
        for bytes in &batch.segments {
            let taken = replica.ingest(&Segment::decode(bytes).unwrap(), now).unwrap();
            assert_eq!((taken.waiting, taken.held, taken.duplicates), (0, 0, 0));
        }
        replica.commit().unwrap();
    }
    replica
}

#[test]
fn a_workload_is_taken_as_it_comes() {
    let mut replica = take(&SMALL);
    let counts = replica.counts();
    assert_eq!((counts.ops, counts.nodes, counts.logs, counts.waiting), (6_000, 500, 5, 0));
    let generator = Generator::new(&SMALL).unwrap();
    for number in 0..500 {
        let history = replica.history(&generator.node(number)).unwrap();
        assert!(history.iter().all(|entry| entry.effective), "node {number}: {history:?}");
    }
    let met = (0..500).filter(|n| replica.history(&generator.node(*n)).unwrap().iter().any(|entry| entry.parents.len() > 1)).count();
    assert!(met > 10, "histories part and meet: {met}");
    assert_eq!(replica.audit().unwrap(), []);
    assert_eq!(replica.audit_texts().unwrap(), []);
    assert_eq!(replica.state_digest(), take(&SMALL).state_digest());
}

#[test]
fn a_seed_decides_every_byte() {
    let batches = |seed| Generator::new(&Workload { seed, ..SMALL }).unwrap().take(3).collect::<Vec<_>>();
    assert_eq!(batches(1), batches(1));
    assert_ne!(batches(1), batches(2));
}

#[test]
fn a_workload_that_is_none_is_refused() {
    for workload in [Workload { authors: 0, ..SMALL }, Workload { authors: 65, ..SMALL }, Workload { ops: 501, ..SMALL }] {
        assert!(Generator::new(&workload).is_err(), "{workload:?}");
    }
}
