//! The crash enumerator: runs scripted workloads on a simulated disk, then opens the store on what power cuts may have left.
//!
//! For each script the trace of its calls is walked. At every place in it, what no sync has covered may be lost, kept, kept in part
//! by sectors, or kept in another order; each choice is one image. Each image must open; hold everything that was acknowledged before
//! that place, in whole groups, and nothing that was not written; and take new groups that survive the next cut. Opening an image is
//! itself a trace of calls: it is cut at every place too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nodespace_protocol::ids::{NodeId, WorkspaceId};
use nodespace_protocol::store::{OpIndex, Record, Store};
use nodespace_store::disk::SimulatedDisk;
use nodespace_store::disk::simulated::{Choice, Crashes};
use nodespace_store::{DiskStore, StoreOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::script::{Mutant, Script};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId([7; 32]);
/// Choices tried at random at each place of a trace, beside the systematic ones.
const RANDOM_CHOICES: usize = 6;
/// One image in so many is cut again while it recovers, and one in so many is written to.
const SECOND_EVERY: u64 = 25;
const GO_ON_EVERY: u64 = 8;

/// What was tried.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) scripts: AtomicU64,
    pub(crate) images: AtomicU64,
    /// Images of a cut during the recovery from another.
    pub(crate) second: AtomicU64,
    /// Images in which something that was written and not acknowledged survived, or did not.
    pub(crate) kept_more: AtomicU64,
    pub(crate) with_checkpoint: AtomicU64,
    pub(crate) went_on: AtomicU64,
}

/// Tries at least `images` images of scripts from `seed` on, in two threads; the first broken promise ends it.
pub(crate) fn enumerate(seed: u64, images: u64, mutant: Option<Mutant>) -> Result<Counts, String> {
    let counts = Counts::default();
    let next = AtomicU64::new(seed);
    let work = || {
        while counts.images.load(Ordering::Relaxed) < images {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if let Err(why) = run_script(seed, mutant, &counts, images) {
                counts.images.fetch_add(images, Ordering::Relaxed);
                return Err(format!("SEED={seed}: {why}"));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        other.join().map_err(|_| "the store panicked; see above".to_owned())?.and(mine)
    })?;
    Ok(counts)
}

/// Runs one script and tries the images of its trace.
fn run_script(seed: u64, mutant: Option<Mutant>, counts: &Counts, images: u64) -> Result<(), String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let script = Script::run(&mut random, mutant).map_err(|why| format!("the script itself failed: {why}"))?;
    counts.scripts.fetch_add(1, Ordering::Relaxed);
    let mut crashes = script.disk.crashes();
    loop {
        for order in choices(crashes.pending(), &mut random) {
            let nth = counts.images.fetch_add(1, Ordering::Relaxed);
            let trial = Trial { script: &script, note: crashes.note(), counts };
            let at = |why| format!("cut after call {} with {order:?} of {} unsynced: {why}", crashes.place(), crashes.pending());
            trial.image(crashes.image(&order), nth, &mut random).map_err(at)?;
        }
        if !crashes.advance() || counts.images.load(Ordering::Relaxed) >= images {
            return Ok(());
        }
    }
}

type Order = Vec<(usize, Choice)>;

/// What may become of `pending` events: nothing of them, all, all backwards, each alone, all but each, and some at random.
fn choices(pending: usize, random: &mut ChaCha8Rng) -> Vec<Order> {
    let kept = |which: &mut dyn Iterator<Item = usize>| which.map(|which| (which, Choice::Kept)).collect::<Order>();
    let mut orders = vec![Vec::new()];
    if pending == 0 {
        return orders;
    }
    orders.push(kept(&mut (0..pending)));
    if pending > 1 {
        orders.push(kept(&mut (0..pending).rev()));
        for one in 0..pending.min(6) {
            orders.push(kept(&mut std::iter::once(one)));
            orders.push(kept(&mut (0..pending).filter(|which| *which != one)));
        }
    }
    for _ in 0..RANDOM_CHOICES {
        let mut order: Order = (0..pending)
            .map(|which| match random.next_u32() % 4 {
                0 => (which, Choice::Lost),
                1 => (which, Choice::Kept),
                _ => (which, Choice::Sectors(random.next_u64())),
            })
            .collect();
        if random.next_u32().is_multiple_of(2) {
            for at in (1..order.len()).rev() {
                order.swap(at, random.next_u32() as usize % (at + 1));
            }
        }
        orders.push(order);
    }
    orders
}

/// One image and what it must hold.
struct Trial<'a> {
    script: &'a Script,
    note: u64,
    counts: &'a Counts,
}

impl Trial<'_> {
    fn image(&self, disk: SimulatedDisk, nth: u64, random: &mut ChaCha8Rng) -> Result<(), String> {
        let store = open(&disk, &self.script.options)?;
        let held = self.check(&store)?;
        if nth.is_multiple_of(GO_ON_EVERY) {
            return self.go_on(&disk, store, held, random);
        }
        // Its end would be one more clean stop; what is asked here is what recovery alone did.
        let recovery = disk.crashes();
        drop(store);
        if nth.is_multiple_of(SECOND_EVERY) { self.second(recovery, held, random) } else { Ok(()) }
    }

    /// Cuts the recovery at every place; what it had found acknowledged must be found again.
    fn second(&self, mut recovery: Crashes, _held: usize, random: &mut ChaCha8Rng) -> Result<(), String> {
        loop {
            let all = choices(recovery.pending(), random);
            for order in all.into_iter().take(6) {
                self.counts.images.fetch_add(1, Ordering::Relaxed);
                self.counts.second.fetch_add(1, Ordering::Relaxed);
                let place = recovery.place();
                let at = |why: String| format!("cut again after call {place} of the recovery with {order:?}: {why}");
                let store = open(&recovery.image(&order), &self.script.options).map_err(at)?;
                self.check(&store).map_err(at)?;
            }
            if !recovery.advance() {
                return Ok(());
            }
        }
    }

    /// Writes to a recovered store and cuts it once more.
    fn go_on(&self, disk: &SimulatedDisk, mut store: DiskStore, held: usize, random: &mut ChaCha8Rng) -> Result<(), String> {
        self.counts.went_on.fetch_add(1, Ordering::Relaxed);
        let failed = |error| format!("going on failed: {error}");
        let fresh: Vec<Record> = (0..3_u64).map(|at| crate::script::record(random, 200, at + 1)).collect();
        let first = store.op_count();
        store.append(fresh.clone()).map_err(failed)?;
        store.sync().map_err(failed)?;
        let mut crashes = disk.crashes();
        while crashes.advance() {}
        let order = choices(crashes.pending(), random).pop().unwrap_or_default();
        drop(store);
        let again = open(&crashes.image(&order), &self.script.options)?;
        let found = replayed(&again)?;
        if found.len() != held + fresh.len() {
            return Err(format!("{held} records were recovered and {} acknowledged, {} are there", fresh.len(), found.len()));
        }
        self.same(&found[..held])?;
        let same = found[held..].iter().zip(&fresh).all(|(a, b)| same(a, b));
        let at_index = fresh.iter().filter_map(as_op).zip(first..).all(|(op, index)| {
            again.op(OpIndex(index)).is_ok_and(|found| found.hash == op.hash)
                && again.find(&op.hash).is_ok_and(|found| found == Some(OpIndex(index)))
        });
        if same && at_index { Ok(()) } else { Err("what was acknowledged after the recovery is not what is there".to_owned()) }
    }

    /// What every recovered store must hold; answers how many records there are.
    fn check(&self, store: &DiskStore) -> Result<usize, String> {
        let note = self.script.note(self.note);
        let found = replayed(store)?;
        if found.len() < note.acknowledged {
            return Err(format!("{} records were acknowledged, {} are there", note.acknowledged, found.len()));
        }
        if found.len() > note.acknowledged {
            self.counts.kept_more.fetch_add(1, Ordering::Relaxed);
        }
        self.same(&found)?;
        if found.len() as u64 != store.record_count() {
            return Err(format!("{} records are counted, {} replayed", store.record_count(), found.len()));
        }
        if let Some(op) = found.iter().rev().find_map(as_op) {
            let last = OpIndex(store.op_count() - 1);
            let held = store.find(&op.hash).map_err(|error| error.to_string())?;
            if held != Some(last) {
                return Err(format!("the last operation is found at {held:?} instead of {last:?}"));
            }
        }
        self.check_checkpoint(store, note.checkpoint)?;
        Ok(found.len())
    }

    /// The records are a prefix of what was written, in whole groups.
    fn same(&self, found: &[Record]) -> Result<(), String> {
        let history = self.script.history(self.note);
        if !history.ends.contains(&found.len()) {
            return Err(format!("{} records are there, which cuts a group", found.len()));
        }
        match found.iter().zip(&history.records).position(|(found, written)| !same(found, written)) {
            Some(at) => Err(format!("record {at} is not what was written")),
            None => Ok(()),
        }
    }

    fn check_checkpoint(&self, store: &DiskStore, acknowledged: Option<usize>) -> Result<(), String> {
        let (found, rest) = match crate::script::checkpoint_of(store)? {
            Some(found) => found,
            None if acknowledged.is_none() => return Ok(()),
            None => return Err("an acknowledged checkpoint is gone".to_owned()),
        };
        self.counts.with_checkpoint.fetch_add(1, Ordering::Relaxed);
        let which = usize::from(rest.first().copied().unwrap_or(u8::MAX));
        let Some(written) = self.script.checkpoints.get(which) else { return Err("a checkpoint that was never written".to_owned()) };
        if written.records != found || acknowledged.is_some_and(|acknowledged| which < acknowledged) {
            return Err(format!("checkpoint {which} of {found} records is there, {acknowledged:?} was acknowledged"));
        }
        if found > store.record_count() {
            return Err(format!("a checkpoint includes {found} records, only {} are there", store.record_count()));
        }
        let mut expected: BTreeMap<&NodeId, &[u8]> = BTreeMap::new();
        for checkpoint in &self.script.checkpoints[..=which] {
            expected.extend(checkpoint.nodes.iter().map(|(id, bytes)| (id, &**bytes)));
        }
        for (id, bytes) in expected {
            let node = store.node(id).map_err(|error| error.to_string())?;
            if node.as_deref() != Some(bytes) {
                return Err(format!("node {id} is not as checkpoint {which} left it"));
            }
        }
        Ok(())
    }
}

pub(crate) fn open(disk: &SimulatedDisk, options: &StoreOptions) -> Result<DiskStore, String> {
    DiskStore::open_on(Arc::new(disk.clone()), WORKSPACE, options).map_err(|error| format!("the store does not open: {error}"))
}

fn replayed(store: &DiskStore) -> Result<Vec<Record>, String> {
    crate::script::replayed(store).map_err(|error| format!("the store cannot be read: {error}"))
}

const fn as_op(record: &Record) -> Option<&Arc<nodespace_protocol::op::Op>> {
    match record {
        Record::Op(op) => Some(op),
        Record::Signature { .. } => None,
    }
}

fn same(a: &Record, b: &Record) -> bool {
    match (a, b) {
        (Record::Op(a), Record::Op(b)) => a == b,
        (Record::Signature { seq: a, signature: sa, .. }, Record::Signature { seq: b, signature: sb, .. }) => (a, sa) == (b, sb),
        _ => false,
    }
}
