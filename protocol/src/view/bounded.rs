//! Reading parts of views within bounds, for `#[serde(deserialize_with = ..)]`.
//!
//! Bytes are bounded before anything is parsed; these bounds are about meaning: no operation has more parents than
//! [`PARENTS_MAX`](crate::op::PARENTS_MAX), so no view has. A list is refused at its first element too many.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;

use crate::op::json;
use crate::vector::DIMENSIONS_MAX;
use crate::wire::DEPTH_MAX;

/// A list of at most `MAX` elements.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        // Not allocated by the announced length: each element read is at least a byte of input.
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// An embedding: finite numbers, at most [`DIMENSIONS_MAX`] of them.
pub(super) fn embedding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Vector(#[serde(deserialize_with = "list::<_, _, DIMENSIONS_MAX>")] Vec<f32>);
    let vector = Option::<Vector>::deserialize(deserializer)?.map(|vector| vector.0);
    match &vector {
        Some(components) if components.iter().any(|component| !component.is_finite()) => {
            Err(D::Error::custom("a component of an embedding is not finite"))
        }
        _ => Ok(vector),
    }
}

/// A finite number.
pub(super) fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let number = f32::deserialize(deserializer)?;
    if number.is_finite() { Ok(number) } else { Err(D::Error::custom("the number is not finite")) }
}

/// A JSON value that nests no deeper than one in a payload may.
pub(super) fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if json::depth(&value) > DEPTH_MAX {
        return Err(D::Error::custom(format_args!("a JSON value nests deeper than {DEPTH_MAX}")));
    }
    Ok(value)
}

/// A JSON value as [`value`], or `null` for none.
pub(super) fn optional_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    value(deserializer).map(|value| Some(value).filter(|value| !value.is_null()))
}
