//! What was used lately, within a bound of bytes.
//!
//! Two generations instead of a list of uses: what is used moves to the young one; when the young one has half the bytes, it becomes
//! the old one and what was old goes. Nothing is ordered, nothing is counted but bytes, and the hit rate is near that of a true list.

use std::collections::HashMap;
use std::hash::Hash;

/// A bounded map of values that can be had again at a price.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_bytes: usize,
    bytes_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> Cache<K, V> {
    /// A cache of at most `bytes_max` bytes; with 0 it keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, bytes_max }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, bytes) = self.old.remove(key)?;
        self.insert(*key, value.clone(), bytes);
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, bytes: usize) {
        let half = self.bytes_max / 2;
        if bytes > half {
            return;
        }
        if self.young_bytes + bytes > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some((_, before)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes -= before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = Cache::new(1000);
        for key in 0..1000_u32 {
            cache.insert(key, key, 100);
            assert_eq!(cache.get(&0), Some(0), "used at every step");
            assert!((cache.young.len() + cache.old.len()) * 100 <= 1000, "within the bound");
        }
        assert_eq!(cache.get(&1), None, "never used again");
        cache.insert(5000, 1, 501);
        assert_eq!(cache.get(&5000), None, "too large to be kept");
    }
}
