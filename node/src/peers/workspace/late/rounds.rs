//! Which embeddings are missing here, and whom to ask for them when. Pure.
//!
//! Operations are looked through in their order of arrival, a stretch at a time, and those that lack something are noted. They are asked for
//! in **rounds**: in each, everybody who can be reached is asked once, whoever comes later as well. A round that brings nothing is followed by
//! a longer pause. Whoever announces that something came late there is asked once more in the same round, which is what makes long pauses good
//! enough.

use std::collections::BTreeSet;
use std::ops::Range;

use nodespace_protocol::ids::DeviceId;
use serde::{Deserialize, Serialize};

use super::super::super::attachments::ASKED_MAX;
use crate::engine::Stretch;

/// Embeddings that are noted at one time: those of one question. The search pauses until there is room.
const NOTED_MAX: usize = ASKED_MAX;
/// How long after a stretch that was not the last the next one is looked at, in milliseconds: nobody is in a hurry, and writers wait.
const STRETCH_MS: u64 = 100;
/// Operations that may be looked through once more after a restart, so that not each stretch is written down.
const UNKEPT_OPS: u32 = 65_536;
/// How long a round lasts in which nothing comes, in milliseconds; doubled each time, up to an hour.
const ROUND_MS: u64 = 120_000;
const ROUND_MS_MAX: u64 = 3_600_000;
/// How long the round lasts at least that ends because more was found to be missing, in milliseconds.
const FRESH_MS: u64 = 5_000;
/// Rounds in vain after which those that take up all the room are let go, so that others are asked for.
const VAIN_MAX: u32 = 6;
/// How long after the beginning of a search all operations are looked through again, if there is a reason to, in milliseconds.
const AGAIN_MS: u64 = 24 * 3_600_000;

/// What of it outlives the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    /// Of the operations of this store, in order of arrival, so many were looked at.
    through: u32,
    /// Those that lack something.
    places: BTreeSet<u32>,
    /// Some were let go, or could not be judged: all are looked through again some day.
    again: bool,
}

/// What a peer did when it was asked for all that is noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super::super) struct Asked {
    /// What is lacking still, by its place.
    pub(super) lacking: Vec<u32>,
    /// How many it gave.
    pub(super) given: usize,
    /// It has more.
    pub(super) more: bool,
}

/// Which are missing, and whom to ask when.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    noted: Noted,
    /// What of it was kept last.
    kept: Noted,
    /// Who was asked in this round.
    asked: BTreeSet<DeviceId>,
    /// Who has announced something since it was asked.
    anew: BTreeSet<DeviceId>,
    /// When this round began.
    began: u64,
    /// When the next one does, if something is missing.
    due: u64,
    /// Rounds in a row in which nothing came.
    vain: u32,
    /// When the next stretch may be looked at.
    search_due: u64,
    /// When the search from the beginning began.
    search_began: u64,
}

impl Rounds {
    /// Goes on with what an earlier run noted.
    pub(super) fn resume(noted: Noted) -> Self {
        Self { kept: noted.clone(), noted, ..Self::default() }
    }

    /// What is to be kept now: when it says something else than before, or spares much looking.
    pub(super) fn take_unkept(&mut self) -> Option<Noted> {
        let same = self.noted.places == self.kept.places && self.noted.again == self.kept.again;
        if same && self.noted.through.abs_diff(self.kept.through) < UNKEPT_OPS {
            return None;
        }
        self.kept = self.noted.clone();
        Some(self.noted.clone())
    }

    /// Places of what is missing.
    pub(super) fn places(&self) -> Vec<u32> {
        self.noted.places.iter().copied().collect()
    }

    /// Which operations to look at now, of so many, and for how many that lack something at most.
    pub(super) fn search(&mut self, ops: u32, now: u64) -> Option<(Range<u32>, usize)> {
        if self.noted.again && self.noted.through >= ops && now.saturating_sub(self.search_began) >= AGAIN_MS {
            (self.noted.again, self.noted.through, self.search_began) = (false, 0, now);
        }
        let room = NOTED_MAX.saturating_sub(self.noted.places.len());
        (self.noted.through < ops && room > 0 && now >= self.search_due).then_some((self.noted.through..ops, room))
    }

    /// They were looked at. `unsettled` when some operations had not taken effect, so that not all could be judged.
    pub(super) fn found(&mut self, stretch: Stretch, unsettled: bool, now: u64) {
        self.noted.through = stretch.through;
        self.noted.again |= unsettled;
        self.search_due = now.saturating_add(STRETCH_MS);
        if !stretch.lacking.is_empty() {
            // Nobody was asked for these yet.
            (self.due, self.vain) = (self.due.min(self.began.saturating_add(FRESH_MS)), 0);
            self.noted.places.extend(stretch.lacking);
        }
    }

    /// Whom to ask now, of those who can be reached.
    pub(super) fn whom(&mut self, reachable: &BTreeSet<DeviceId>, now: u64) -> Option<DeviceId> {
        if self.noted.places.is_empty() || reachable.is_empty() {
            return None;
        }
        if now >= self.due {
            self.begin(now);
        }
        if self.noted.places.is_empty() {
            return None;
        }
        // Whoever announces comes after those who were not asked yet: nobody can keep them waiting by announcing again and again.
        let next = reachable.difference(&self.asked).next().or_else(|| reachable.intersection(&self.anew).next()).copied()?;
        self.anew.remove(&next);
        Some(next)
    }

    fn begin(&mut self, now: u64) {
        if self.vain > VAIN_MAX && self.noted.places.len() >= NOTED_MAX {
            self.noted.places.clear();
            (self.noted.again, self.vain) = (true, 0);
        }
        self.asked.clear();
        self.anew.clear();
        self.began = now;
        self.due = now.saturating_add((ROUND_MS << self.vain.min(8)).min(ROUND_MS_MAX));
        self.vain = self.vain.saturating_add(1);
    }

    /// Somebody was asked; `None` when it did not answer.
    pub(super) fn answered(&mut self, device: DeviceId, answer: Option<Asked>) {
        let Some(Asked { lacking, given, more }) = answer else {
            self.asked.insert(device);
            return;
        };
        self.noted.places = lacking.into_iter().collect();
        if given > 0 {
            self.vain = 0;
        }
        // What it has no room for now it gives next; who only says so is believed once a round.
        if !(more && given > 0) {
            self.asked.insert(device);
        }
    }

    /// Something came late somewhere: also where somebody is just being asked, and may have answered before it came.
    pub(super) fn announced(&mut self, device: DeviceId) {
        self.anew.insert(device);
    }

    /// When to look again, if nothing happens: `reachable` says whether there is anybody to ask.
    pub(super) fn next_timeout(&self, ops: u32, reachable: bool) -> Option<u64> {
        let search = (self.noted.through < ops && self.noted.places.len() < NOTED_MAX).then_some(self.search_due);
        let round = (!self.noted.places.is_empty()).then_some(self.due);
        search.into_iter().chain(round).min().filter(|_| reachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn all(numbers: &[u8]) -> BTreeSet<DeviceId> {
        numbers.iter().map(|number| device(*number)).collect()
    }

    /// Has found that these are missing, at the beginning.
    fn missing(places: impl IntoIterator<Item = u32>) -> Rounds {
        let mut rounds = Rounds::default();
        let lacking: Vec<u32> = places.into_iter().collect();
        rounds.found(Stretch { through: 1_000, lacking }, false, 0);
        rounds
    }

    fn in_vain(rounds: &Rounds) -> Option<Asked> {
        Some(Asked { lacking: rounds.places(), ..Asked::default() })
    }

    #[test]
    fn everybody_is_asked_once_a_round_and_rounds_become_longer() {
        let mut rounds = missing([3]);
        let mut now = 0;
        for length in [ROUND_MS, 2 * ROUND_MS, 4 * ROUND_MS, 8 * ROUND_MS, 16 * ROUND_MS, ROUND_MS_MAX, ROUND_MS_MAX] {
            for number in [1, 2] {
                assert_eq!(rounds.whom(&all(&[1, 2]), now), Some(device(number)));
                rounds.answered(device(number), in_vain(&rounds));
            }
            assert_eq!(rounds.next_timeout(1_000, true), Some(now + length));
            assert_eq!(rounds.next_timeout(1_000, false), None, "there is nobody to ask");
            now += length;
            assert_eq!(rounds.whom(&all(&[1, 2]), now - 1), None);
            assert_eq!(rounds.whom(&all(&[1, 2, 9]), now - 1), Some(device(9)), "whoever comes later is asked as well");
            rounds.answered(device(9), None);
            assert_eq!(rounds.whom(&all(&[1, 2, 9]), now - 1), None, "who does not answer was asked");
        }
    }

    #[test]
    fn who_announces_is_asked_again_at_once() {
        let mut rounds = missing([3, 4]);
        assert_eq!(rounds.whom(&all(&[1]), 0), Some(device(1)));
        rounds.answered(device(1), in_vain(&rounds));
        assert_eq!(rounds.whom(&all(&[1]), 10), None);
        rounds.announced(device(1));
        assert_eq!(rounds.whom(&all(&[1]), 10), Some(device(1)));
        rounds.answered(device(1), Some(Asked { lacking: Vec::new(), given: 2, more: false }));
        rounds.announced(device(1));
        assert_eq!((rounds.whom(&all(&[1]), 20), rounds.next_timeout(1_000, true)), (None, None), "nothing is missing");
    }

    #[test]
    fn what_is_announced_while_the_question_is_under_way_is_heard() {
        let mut rounds = missing([3]);
        assert_eq!(rounds.whom(&all(&[1]), 0), Some(device(1)));
        rounds.announced(device(1));
        rounds.answered(device(1), in_vain(&rounds));
        assert_eq!(rounds.whom(&all(&[1]), 10), Some(device(1)));
        rounds.answered(device(1), in_vain(&rounds));
        assert_eq!(rounds.whom(&all(&[1]), 20), None, "once");
    }

    #[test]
    fn who_announces_again_and_again_keeps_nobody_from_being_asked() {
        let mut rounds = missing([3]);
        let mut asked = Vec::new();
        for now in 0..4 {
            let device = rounds.whom(&all(&[1, 2, 3]), now).unwrap();
            rounds.announced(self::device(1));
            rounds.answered(device, None);
            asked.push(device);
        }
        assert_eq!(asked, [device(1), device(2), device(3), device(1)]);
    }

    #[test]
    fn who_has_more_is_asked_on_as_long_as_it_gives() {
        let mut rounds = missing([1, 2, 3]);
        assert_eq!(rounds.whom(&all(&[1]), 0), Some(device(1)));
        rounds.answered(device(1), Some(Asked { lacking: vec![2, 3], given: 1, more: true }));
        assert_eq!(rounds.whom(&all(&[1]), 0), Some(device(1)));
        rounds.answered(device(1), Some(Asked { lacking: vec![2, 3], given: 0, more: true }));
        assert_eq!(rounds.whom(&all(&[1]), 0), None, "it says so and gives nothing");
        assert_eq!(rounds.places(), [2, 3]);
    }

    #[test]
    fn what_is_found_later_is_asked_for_soon_and_not_all_the_time() {
        let mut rounds = missing([1]);
        let mut asked = 0;
        for now in 0..60_000 {
            if rounds.whom(&all(&[1]), now).is_some() {
                asked += 1;
                rounds.answered(device(1), in_vain(&rounds));
            }
            if now % 100 == 0 {
                let place = 2_000 + u32::try_from(now).unwrap() / 400;
                rounds.found(Stretch { through: place + 1, lacking: vec![place] }, false, now);
            }
        }
        assert_eq!(asked, 60_000 / FRESH_MS);
    }

    #[test]
    fn the_search_goes_on_by_stretches_and_stops_where_there_is_no_room() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.search(5_000, 0), Some((0..5_000, NOTED_MAX)));
        rounds.found(Stretch { through: 512, lacking: vec![7] }, false, 0);
        assert_eq!(rounds.search(5_000, STRETCH_MS - 1), None);
        assert_eq!(rounds.search(5_000, STRETCH_MS), Some((512..5_000, NOTED_MAX - 1)));
        let full = Stretch { through: 3_000, lacking: (512..).take(NOTED_MAX - 1).collect() };
        rounds.found(full, false, STRETCH_MS);
        assert_eq!(rounds.search(5_000, 10_000), None, "there is no room");
        rounds.answered(device(1), Some(Asked { lacking: vec![7], given: NOTED_MAX - 1, more: false }));
        assert_eq!(rounds.search(5_000, 10_000), Some((3_000..5_000, NOTED_MAX - 1)));
        assert_eq!(rounds.search(3_000, 10_000), None, "all was looked at");
    }

    #[test]
    fn what_nobody_has_makes_room_and_is_looked_for_again_some_day() {
        let mut rounds = missing((0..).take(NOTED_MAX));
        let mut now = 0;
        while !rounds.places().is_empty() {
            if rounds.whom(&all(&[1]), now).is_some() {
                rounds.answered(device(1), in_vain(&rounds));
            }
            now = now.max(rounds.next_timeout(1_000, true).unwrap_or(now));
        }
        assert!((2 * ROUND_MS_MAX..AGAIN_MS).contains(&now), "{now}");
        assert_eq!(rounds.search(1_000, now), None);
        assert_eq!(rounds.search(1_000, AGAIN_MS), Some((0..1_000, NOTED_MAX)));
        let mut few = missing([1]);
        for round in 0..100 {
            few.whom(&all(&[1]), round * ROUND_MS_MAX);
        }
        assert_eq!(few.places(), [1], "where there is room nothing is let go");
    }

    #[test]
    fn what_was_looked_at_is_kept_now_and_then_and_what_was_found_at_once() {
        let mut rounds = Rounds::default();
        let looked = |rounds: &mut Rounds, through| rounds.found(Stretch { through, lacking: Vec::new() }, false, 0);
        looked(&mut rounds, UNKEPT_OPS - 1);
        assert_eq!(rounds.take_unkept(), None);
        looked(&mut rounds, UNKEPT_OPS);
        assert_eq!(rounds.take_unkept().unwrap().through, UNKEPT_OPS);
        rounds.found(Stretch { through: UNKEPT_OPS + 1, lacking: vec![UNKEPT_OPS] }, false, 0);
        assert_eq!(rounds.take_unkept().unwrap().places, BTreeSet::from([UNKEPT_OPS]));
        assert_eq!(rounds.take_unkept(), None);
    }

    #[test]
    fn what_was_noted_is_read_as_it_was_written() {
        let mut rounds = missing([3, 4]);
        rounds.found(Stretch { through: 1_001, lacking: Vec::new() }, true, 0);
        let kept = rounds.take_unkept().unwrap();
        let mut bytes = Vec::new();
        ciborium::into_writer(&kept, &mut bytes).unwrap();
        let noted: Noted = ciborium::from_reader(bytes.as_slice()).unwrap();
        assert_eq!((&noted, noted.again, noted.through), (&kept, true, 1_001));
        let mut again = Rounds::resume(noted);
        assert_eq!(again.whom(&all(&[1]), 0), Some(device(1)), "a new run asks at once");
        assert_eq!(again.search(1_001, 0), None);
    }
}
