//! Properties, over random operations, answers, failures, restarts and waits:
//!
//! 1. the relay gets every operation, in order, each for the first time only after all before it;
//! 2. the cursor never passes an operation the relay does not have, and never goes back;
//! 3. never more than [`QUEUE_MAX`] references are held, never more than one batch is under way, and it is never empty or too large;
//! 4. while something waits there is a timer, and it lies ahead;
//! 5. left alone with a relay that works, everything arrives.

use proptest::prelude::*;

use super::*;

fn op(position: u64) -> OpRef {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&position.to_le_bytes());
    OpRef { position, hash: OpHash(hash) }
}

/// A device's log and a relay, with what is under way between them.
struct Driver {
    machine: BatchSync,
    now: u64,
    /// Positions in the log.
    log: Vec<u64>,
    /// The last position of the log, whether it needs sending or not.
    end: u64,
    /// What the relay has, in the order of first arrival.
    relay: Vec<u64>,
    under_way: Option<(BatchId, Vec<OpRef>)>,
    read: Option<(u64, usize)>,
    cursor: u64,
    batches: Vec<usize>,
}

impl Driver {
    fn new() -> Self {
        Self {
            machine: BatchSync::resume(0, 0, 1, 0),
            now: 0,
            log: vec![],
            end: 0,
            relay: vec![],
            under_way: None,
            read: None,
            cursor: 0,
            batches: vec![],
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                BatchOutput::Send { batch, operations } => {
                    assert!(self.under_way.is_none(), "two batches under way");
                    assert!((1..=BATCH_OPERATIONS_MAX).contains(&operations.len()));
                    self.batches.push(operations.len());
                    self.under_way = Some((batch, operations));
                }
                BatchOutput::Abort(batch) => assert_eq!(self.under_way.take().map(|(id, _)| id), Some(batch)),
                BatchOutput::Advance { cursor } => {
                    assert!(cursor > self.cursor, "the cursor went from {} to {cursor}", self.cursor);
                    self.cursor = cursor;
                    let due = self.log.iter().take_while(|position| **position <= cursor);
                    assert!(due.eq(self.relay.iter().take_while(|position| **position <= cursor)), "the cursor passed something");
                }
                BatchOutput::Read { after, limit } => {
                    assert!(self.read.is_none(), "two reads under way");
                    self.read = Some((after, limit));
                }
            }
        }
        let pressure = self.machine.pressure();
        assert!(pressure.held <= QUEUE_MAX, "{pressure:?}");
        if let Some(at) = self.machine.next_timeout() {
            assert!(at > self.now, "a timer at {at} that is over at {} would spin", self.now);
        } else {
            assert!(self.machine.is_idle() || self.machine.parked, "something waits without a timer: {:?}", self.machine);
        }
    }

    /// Writes operations; every `skip`-th came from the relay.
    fn write(&mut self, count: u64, skip: u64) {
        for number in 0..count {
            self.end += 1;
            if skip != 0 && number % skip == 0 {
                self.machine.pass(self.end, self.now);
                self.drain();
                continue;
            }
            self.log.push(self.end);
            assert_ne!(self.machine.queue_operation(op(self.end), self.now), Queued::Known);
            assert_eq!(self.machine.queue_operation(op(self.end), self.now), Queued::Known, "twice is once");
            self.drain();
        }
    }

    /// The relay stores the first `stored` of what is under way; whether it says so is another matter.
    fn store(&mut self, stored: usize) {
        let Some((_, operations)) = &self.under_way else { return };
        for operation in operations.iter().take(stored) {
            if self.relay.contains(&operation.position) {
                continue;
            }
            assert_eq!(self.log.get(self.relay.len()), Some(&operation.position), "out of order");
            assert_eq!(*operation, op(operation.position));
            self.relay.push(operation.position);
        }
    }

    fn acknowledge(&mut self, stored: usize) {
        self.store(stored);
        let Some((batch, operations)) = self.under_way.take() else { return };
        let through = stored.checked_sub(1).and_then(|last| operations.get(last)).or_else(|| operations.last().filter(|_| stored > 0));
        self.machine.acknowledge(batch, through.map_or(0, |operation| operation.position), self.now);
        self.drain();
    }

    fn fail(&mut self, stored: usize, retry_after_ms: Option<u64>) {
        self.store(stored);
        let Some((batch, _)) = self.under_way.take() else { return };
        self.machine.fail(batch, retry_after_ms, self.now);
        self.drain();
    }

    fn answer_read(&mut self, most: usize) {
        let Some((after, limit)) = self.read.take() else { return };
        let found: Vec<OpRef> = self.log.iter().filter(|position| **position > after).take(limit.min(most)).map(|p| op(*p)).collect();
        let all = found.len() < limit.min(most);
        let through = if all { self.end } else { found.last().map_or(after, |last| last.position) };
        self.machine.refill(&found, through, self.now).unwrap();
        self.drain();
    }

    fn fail_read(&mut self) {
        if self.read.take().is_some() {
            self.machine.refill_failed(self.now);
            self.drain();
        }
    }

    fn step(&mut self) {
        let Some(at) = self.machine.next_timeout() else { return };
        self.now = self.now.max(at);
        // An answer to a read that is over is the driver's to drop.
        let reading = self.machine.reading.map(|reading| reading.deadline);
        if reading.is_some_and(|deadline| deadline <= self.now) {
            self.read = None;
        }
        self.machine.handle_timeout(self.now);
        self.drain();
    }

    fn restart(&mut self) {
        (self.under_way, self.read) = (None, None);
        self.machine = BatchSync::resume(self.cursor, self.end, 2, self.now);
        self.drain();
    }

    fn until_idle(&mut self) {
        self.machine.unpark(self.now);
        self.drain();
        for _ in 0..10_000 {
            if self.machine.is_idle() {
                break;
            }
            if self.read.is_some() {
                self.answer_read(usize::MAX);
            } else if self.under_way.is_some() {
                self.acknowledge(usize::MAX);
            } else {
                self.step();
            }
        }
        assert!(self.machine.is_idle(), "it never came to rest: {:?}", self.machine.pressure());
        assert_eq!((&self.relay, self.cursor), (&self.log, self.end));
        assert_eq!(self.machine.next_timeout(), None);
    }
}

#[test]
fn fifty_go_at_once_and_fewer_after_five_seconds() {
    let mut driver = Driver::new();
    driver.write(49, 0);
    assert!(driver.batches.is_empty());
    assert_eq!(driver.machine.next_timeout(), Some(BATCH_WAIT_MS));
    driver.now = 3_000;
    driver.write(1, 0);
    assert_eq!(driver.batches, [50]);
    driver.acknowledge(50);
    driver.write(3, 0);
    driver.now += 1_000;
    driver.write(3, 0);
    assert_eq!(driver.machine.next_timeout(), Some(3_000 + BATCH_WAIT_MS), "five seconds after the first");
    driver.step();
    assert_eq!(driver.batches, [50, 6]);
}

#[test]
fn one_batch_at_a_time_and_a_failed_one_goes_back_to_the_front() {
    let mut driver = Driver::new();
    driver.write(50, 0);
    driver.write(100, 0);
    assert_eq!(driver.batches, [50]);
    driver.fail(20, None);
    driver.step();
    assert!((RETRY_MS..=RETRY_MS * 5 / 4).contains(&driver.now));
    assert_eq!(driver.batches, [50, 150]);
    driver.acknowledge(70);
    assert_eq!(driver.machine.cursor(), 70);
    assert_eq!(driver.batches, [50, 150, 80], "the rest, at once");
    driver.until_idle();
}

#[test]
fn a_late_answer_is_no_answer() {
    let mut driver = Driver::new();
    driver.write(50, 0);
    let (old, _) = driver.under_way.clone().unwrap();
    driver.step();
    assert_eq!(driver.now, ANSWER_MS_MAX);
    assert!(driver.under_way.is_none(), "given up");
    driver.machine.acknowledge(old, 50, driver.now);
    driver.machine.fail(old, None, driver.now);
    driver.drain();
    assert_eq!(driver.machine.cursor(), 0);
    driver.until_idle();
}

#[test]
fn a_full_queue_says_so_and_reads_the_rest_from_the_log() {
    let mut driver = Driver::new();
    driver.write(10_000, 0);
    let pressure = driver.machine.pressure();
    let behind = Behind { after: QUEUE_MAX as u64, through: 10_000 };
    assert_eq!(pressure, Pressure { held: QUEUE_MAX, capacity: QUEUE_MAX, behind: Some(behind) });
    assert_eq!(driver.machine.queue_operation(op(10_001), 0), Queued::ReadLater);
    (driver.end, driver.log) = (10_001, (1..=10_001).collect());
    driver.until_idle();
    assert_eq!(driver.machine.cursor(), 10_001);
}

#[test]
fn the_relay_says_when() {
    let mut driver = Driver::new();
    driver.write(50, 0);
    driver.fail(0, Some(100_000));
    driver.machine.flush(driver.now);
    driver.drain();
    assert_eq!(driver.machine.next_timeout(), Some(100_000));
}

#[test]
fn parked_operations_wait_without_a_timer() {
    let mut driver = Driver::new();
    driver.machine.park();
    driver.write(500, 0);
    assert_eq!((driver.batches.len(), driver.machine.next_timeout()), (0, None));
    driver.machine.unpark(driver.now);
    driver.drain();
    assert_eq!(driver.batches, [500]);
}

#[test]
fn a_wrong_answer_from_the_log_is_named_and_asked_again() {
    let mut driver = Driver::new();
    driver.log = (1..=10).collect();
    driver.end = 10;
    driver.restart();
    assert_eq!(driver.machine.refill(&[op(2), op(1)], 10, 0), Err(RefillError::OutOfOrder { after: 0, through: 10, position: 1 }));
    assert_eq!(driver.machine.refill(&[], 10, 0), Err(RefillError::NotAsked));
    driver.read = None;
    driver.step();
    assert_eq!(driver.read, Some((0, BATCH_OPERATIONS_MAX)));
    assert_eq!(driver.machine.refill(&[], 0, driver.now), Err(RefillError::Nothing { after: 0, through: 0 }));
    driver.read = None;
    driver.until_idle();
}

#[derive(Clone, Debug)]
enum Event {
    Write(u64, u64),
    Acknowledge(usize),
    Fail(usize, Option<u64>),
    Read(usize),
    FailRead,
    Wait(u64),
    Timer,
    Restart,
    Park,
    Unpark,
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1u64..120, 0u64..4).prop_map(|(count, skip)| Event::Write(count, skip)),
        1 => (1_000u64..6_000, 0u64..4).prop_map(|(count, skip)| Event::Write(count, skip)),
        4 => (0usize..1_100).prop_map(Event::Acknowledge),
        3 => (0usize..1_100, prop::option::of(0u64..100_000)).prop_map(|(stored, after)| Event::Fail(stored, after)),
        3 => (1usize..1_100).prop_map(Event::Read),
        1 => Just(Event::FailRead),
        3 => (0u64..10_000).prop_map(Event::Wait),
        4 => Just(Event::Timer),
        1 => Just(Event::Restart),
        1 => Just(Event::Park),
        1 => Just(Event::Unpark),
        1 => Just(Event::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_events(events in prop::collection::vec(event(), 0..60)) {
        let mut driver = Driver::new();
        for event in events {
            match event {
                Event::Write(count, skip) => driver.write(count, skip),
                Event::Acknowledge(stored) => driver.acknowledge(stored),
                Event::Fail(stored, retry_after_ms) => driver.fail(stored, retry_after_ms),
                Event::Read(most) => driver.answer_read(most),
                Event::FailRead => driver.fail_read(),
                Event::Wait(ms) => {
                    let until = driver.now + ms;
                    while driver.machine.next_timeout().is_some_and(|at| at <= until) {
                        driver.step();
                    }
                    driver.now = until;
                }
                Event::Timer => driver.step(),
                Event::Restart => driver.restart(),
                Event::Park => driver.machine.park(),
                Event::Unpark => driver.machine.unpark(driver.now),
                Event::Flush => driver.machine.flush(driver.now),
            }
            driver.drain();
        }
        driver.until_idle();
    }
}

#[test]
fn what_got_there_by_another_way_is_neither_sent_nor_waited_for() {
    let mut machine = BatchSync::resume(0, 0, 1, 0);
    for position in 1..=60 {
        assert_eq!(machine.queue_operation(op(position), 0), Queued::Held);
    }
    let Some(BatchOutput::Send { batch, operations }) = machine.poll_output() else { panic!("fifty are due") };
    assert_eq!(operations.len(), BATCH_SIZE);
    machine.settle(55, 10);
    assert!(!machine.is_under_way(batch), "all of it is there");
    assert_eq!(machine.poll_output(), Some(BatchOutput::Advance { cursor: 55 }));
    assert_eq!(machine.pressure().held, 5);
    machine.handle_timeout(BATCH_WAIT_MS);
    let Some(BatchOutput::Send { batch, operations }) = machine.poll_output() else { panic!("the rest has waited long enough") };
    assert_eq!(operations.iter().map(|operation| operation.position).collect::<Vec<_>>(), [56, 57, 58, 59, 60]);
    machine.settle(58, BATCH_WAIT_MS);
    assert!(machine.is_under_way(batch), "two of it are not there");
}

#[test]
fn a_log_that_is_read_is_read_from_where_it_is_settled() {
    let mut machine = BatchSync::resume(0, 5_000, 1, 0);
    assert_eq!(machine.poll_output(), Some(BatchOutput::Read { after: 0, limit: BATCH_OPERATIONS_MAX }));
    machine.settle(4_998, 0);
    assert_eq!(machine.poll_output(), Some(BatchOutput::Advance { cursor: 4_998 }));
    assert_eq!(machine.poll_output(), Some(BatchOutput::Read { after: 4_998, limit: BATCH_OPERATIONS_MAX }));
    assert!(machine.refill(&[op(1)], 1, 0).is_err(), "an answer to the first question comes too late");
    machine.settle(5_000, 0);
    assert_eq!(machine.pressure().behind, None);
    assert_eq!(machine.next_timeout(), None, "nothing is left to do");
}
