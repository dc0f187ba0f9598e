//! Who stands behind what changed: a node shows differently when another one comes or goes immediately before it.
//!
//! Places stay in the ring of their parent when their node has gone elsewhere, so whoever stands behind a place is found from the place,
//! whether a node came or went there. Found when it is asked for, once for all changes: what is behind a place at the end is what counts.

use std::collections::BTreeSet;

use super::Tree;
use super::arena::State;
use super::changed::Pending;

/// How many hidden places are stepped over for each changed place, on average. When it is more, the children of the parents that are
/// left are all reported: now and then one that did not change.
const STEPS_A_SPOT: usize = 16;
/// The least number of steps.
const STEPS_MIN: usize = 1_024;

impl Tree {
    /// Adds to the changed nodes those that stand behind another one than before.
    pub(super) fn note_followers(&self, pending: &mut Pending) {
        let spots: Vec<u32> = std::mem::take(&mut pending.spots).distinct().collect();
        let mut whole: BTreeSet<u32> = std::mem::take(&mut pending.reordered).distinct().collect();
        let mut steps_left = STEPS_MIN + STEPS_A_SPOT * spots.len();
        for spot in spots {
            let place = &self.operations.places[spot as usize];
            // What was taken out had its parent's children all noted.
            if place.state == State::Absent || whole.contains(&place.parent) {
                continue;
            }
            match self.follower(spot, &mut steps_left) {
                Ok(follower) => follower.into_iter().for_each(|node| pending.nodes.push(node)),
                Err(StepsUsedUp) => drop(whole.insert(place.parent)),
            }
        }
        for parent in whole {
            self.ring(parent).filter(|&place| self.shows(place)).for_each(|place| {
                pending.nodes.push(self.operations.places[place as usize].node);
            });
        }
    }

    /// The node that shows next behind a place.
    fn follower(&self, spot: u32, steps_left: &mut usize) -> Result<Option<u32>, StepsUsedUp> {
        let places = &self.operations.places;
        let first = self.nodes.states[places[spot as usize].parent as usize].first;
        let mut next = places[spot as usize].after;
        while next != first {
            if self.shows(next) {
                return Ok(Some(places[next as usize].node));
            }
            *steps_left = steps_left.checked_sub(1).ok_or(StepsUsedUp)?;
            next = places[next as usize].after;
        }
        Ok(None)
    }
}

/// So many hidden places lie behind the changed ones that looking further costs more than reporting all.
#[derive(Debug)]
struct StepsUsedUp;
