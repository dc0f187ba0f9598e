//! Metadata: a JSON object whose leaves are last-writer registers.
//!
//! Operations carry JSON merge patches (RFC 7396). A patch becomes assignments at paths: a value, a removal (`null`), or "here is
//! an object". Each path keeps the latest of each by operation stamp; an older assignment below a later value is hidden for
//! good and forgotten. Patches on disjoint paths merge, the same path goes to the later operation, and the order of
//! arrival does not matter. One after the other, patches give exactly what RFC 7396 says.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::map_weight;
use crate::clock::Stamp;
use crate::mutant::{self, Mutant};

/// A path of member names.
pub type Path = Vec<String>;

/// What stands at one path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Leaf {
    /// The latest value that is no object; `None` = removed.
    pub(super) value: Option<(Stamp, Option<Value>)>,
    /// The latest operation that wanted an object here.
    pub(super) object: Option<Stamp>,
}

/// A node's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Boxed: the map makes room for eleven entries at once, and most nodes have one or two.
    pub(super) leaves: BTreeMap<Path, Box<Leaf>>,
}

/// One assignment of a patch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Assignment {
    /// A value, or a removal.
    Value(Option<Value>),
    /// An object: keeps what is below, replaces what was no object.
    Object,
}

/// The assignments of a merge patch, parents before children.
pub(crate) fn assignments(patch: &Value) -> Vec<(Path, Assignment)> {
    let mut out = Vec::new();
    let mut queue: Vec<(Path, &Value)> = vec![(Path::new(), patch)];
    while let Some((path, value)) = queue.pop() {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let mut path = path.clone();
                    path.push(key.clone());
                    queue.push((path, member));
                }
                if !path.is_empty() {
                    out.push((path, Assignment::Object));
                }
            }
            Value::Null => out.push((path, Assignment::Value(None))),
            other => out.push((path, Assignment::Value(Some(other.clone())))),
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

impl Metadata {
    /// Applies a merge patch made by the operation `stamp`. Patches may be applied in any order, each once.
    pub fn apply(&mut self, patch: &Value, stamp: Stamp) {
        for (path, assignment) in assignments(patch) {
            self.assign(path, assignment, stamp);
        }
    }

    fn assign(&mut self, path: Path, assignment: Assignment, stamp: Stamp) {
        let hidden = (1..path.len()).any(|len| {
            let above = self.leaves.get(&path[..len]).and_then(|leaf| leaf.value.as_ref());
            above.is_some_and(|(later, _)| *later > stamp)
        });
        if hidden {
            return;
        }
        let leaf = self.leaves.entry(path.clone()).or_default();
        match assignment {
            // Hidden for good when a later value stands here.
            Assignment::Object if leaf.value.as_ref().is_some_and(|(later, _)| *later > stamp) => {}
            Assignment::Object => leaf.object = leaf.object.max(Some(stamp)),
            Assignment::Value(value) => {
                if leaf.value.as_ref().is_none_or(|(earlier, _)| *earlier < stamp || mutant::is(Mutant::LastWriteByArrival)) {
                    leaf.value = Some((stamp, value));
                    leaf.object = leaf.object.filter(|object| *object > stamp);
                    self.forget_below(&path, stamp);
                }
            }
        }
    }

    /// Drops what a value set at `path` hides for ever.
    fn forget_below(&mut self, path: &Path, stamp: Stamp) {
        let below: Vec<Path> = self
            .leaves
            .range(path.clone()..)
            .skip(1)
            .take_while(|(other, _)| other.starts_with(path))
            .map(|(other, _)| other.clone())
            .collect();
        for other in below {
            let Some(leaf) = self.leaves.get_mut(&other) else { continue };
            leaf.object = leaf.object.filter(|object| *object > stamp);
            leaf.value = leaf.value.take().filter(|(value, _)| *value > stamp);
            if leaf.object.is_none() && leaf.value.is_none() {
                self.leaves.remove(&other);
            }
        }
    }

    /// The metadata as applications see it.
    pub fn to_json(&self) -> Value {
        let mut root = Value::Object(Map::new());
        for (path, leaf) in &self.leaves {
            let shown = match (&leaf.value, leaf.object) {
                (Some((value_stamp, _)), Some(object)) if object > *value_stamp => Value::Object(Map::new()),
                (None, Some(_)) => Value::Object(Map::new()),
                (Some((_, Some(value))), _) => value.clone(),
                (Some((_, None)), _) | (None, None) => continue,
            };
            let Some((last, parents)) = path.split_last() else { continue };
            let mut at = Some(&mut root);
            for parent in parents {
                at = at.and_then(|value| value.as_object_mut()).and_then(|members| members.get_mut(parent));
            }
            if let Some(Value::Object(members)) = at {
                members.insert(last.clone(), shown);
            }
        }
        root
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let weigh = |path: &Path, leaf: &Leaf| {
            let values = leaf.value.as_ref().and_then(|(_, value)| value.as_ref()).map_or(0, crate::op::json::weight);
            size_of::<Leaf>() + path.iter().map(|part| size_of::<String>() + part.len()).sum::<usize>() + values * 32
        };
        map_weight::<Path, Box<Leaf>>(self.leaves.len()) + self.leaves.iter().map(|(path, leaf)| weigh(path, leaf)).sum::<usize>()
    }

    /// Whether nothing was ever set.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::OpHash;

    fn stamp(n: u64) -> Stamp {
        Stamp { timestamp: Timestamp(n), version: n, hash: OpHash([0; 32]) }
    }

    /// RFC 7396, section 2.
    fn merge_patch(target: &Value, patch: &Value) -> Value {
        let Value::Object(members) = patch else { return patch.clone() };
        let mut result = target.as_object().cloned().unwrap_or_default();
        for (key, value) in members {
            if value.is_null() {
                result.remove(key);
            } else {
                let before = result.get(key).cloned().unwrap_or(Value::Null);
                result.insert(key.clone(), merge_patch(&before, value));
            }
        }
        Value::Object(result)
    }

    fn patches() -> Vec<Value> {
        vec![
            json!({"a": {"b": 1, "c": 2}, "d": [1, 2]}),
            json!({"a": {"b": null}}),
            json!({"a": 5}),
            json!({"a": {"x": {"y": true}}}),
            json!({"a": {"x": {}}, "d": null}),
            json!({"e": {"f": {"g": {"h": null}}}}),
            json!({"e": null, "a": {"x": "text"}}),
            json!({"e": {}, "d": {"k": 1.5}}),
        ]
    }

    #[test]
    fn one_after_the_other_is_a_merge_patch() {
        let mut expected = json!({});
        let mut metadata = Metadata::default();
        for (n, patch) in (1..).zip(patches()) {
            expected = merge_patch(&expected, &patch);
            metadata.apply(&patch, stamp(n));
            assert_eq!(metadata.to_json(), expected, "after patch {n}");
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let patches: Vec<_> = (1..).zip(patches()).collect();
        let mut expected = Metadata::default();
        patches.iter().for_each(|(n, patch)| expected.apply(patch, stamp(*n)));
        for rotation in 0..patches.len() {
            for step in [1, 3, 5, 7] {
                let mut metadata = Metadata::default();
                for i in 0..patches.len() {
                    let (n, patch) = &patches[(rotation + i * step) % patches.len()];
                    metadata.apply(patch, stamp(*n));
                }
                assert_eq!(metadata, expected, "rotation {rotation}, step {step}");
            }
        }
    }
}
