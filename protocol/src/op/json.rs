//! JSON values in deterministic CBOR, bounded in depth.
//!
//! Objects become maps with text keys in ascending byte order, whatever order the writer's map had; numbers become the shortest
//! integer, or a 64-bit float. `NaN` and infinities cannot be written because JSON has none.

use minicbor::data::Type;
use serde_json::{Map, Number, Value};

use crate::wire::{DEPTH_MAX, DecodeError, EncodeResult, Encoder};

/// The most a value may weigh: every value in it counts one, itself included, and an object with members twelve more. Each costs some
/// 30 to 100 bytes once it is read, an object some 600, and as little as one on the wire: without a bound a payload could take
/// hundreds of times its size.
pub const WEIGHT_MAX: usize = 8_192;
/// What the first member of an object weighs.
const MEMBERS_WEIGHT: usize = 12;

/// What a value weighs; it is known not to nest deeper than [`DEPTH_MAX`].
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) if !members.is_empty() => 1 + MEMBERS_WEIGHT + members.values().map(weight).sum::<usize>(),
        _ => 1,
    }
}

/// How deep a value nests: a scalar has depth 1.
pub fn depth(value: &Value) -> usize {
    // Breadth first, so that a hostile nesting costs no stack.
    let mut level: Vec<&Value> = vec![value];
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        level = level
            .iter()
            .flat_map(|value| -> Box<dyn Iterator<Item = &Value>> {
                match value {
                    Value::Array(items) => Box::new(items.iter()),
                    Value::Object(members) => Box::new(members.values()),
                    _ => Box::new(std::iter::empty()),
                }
            })
            .collect();
    }
    depth
}

/// Writes a value whose depth the caller has checked to be at most [`DEPTH_MAX`].
pub(crate) fn encode(e: &mut Encoder<'_>, value: &Value) -> EncodeResult {
    match value {
        Value::Null => e.null()?,
        Value::Bool(b) => e.bool(*b)?,
        Value::Number(number) => return encode_number(e, number),
        Value::String(text) => e.str(text)?,
        Value::Array(items) => {
            e.array(items.len() as u64)?;
            for item in items {
                encode(e, item)?;
            }
            return Ok(());
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
            e.map(sorted.len() as u64)?;
            for (key, member) in sorted {
                e.str(key)?;
                encode(e, member)?;
            }
            return Ok(());
        }
    };
    Ok(())
}

fn encode_number(e: &mut Encoder<'_>, number: &Number) -> EncodeResult {
    if let Some(value) = number.as_u64() {
        e.u64(value)?;
    } else if let Some(value) = number.as_i64() {
        e.i64(value)?;
    } else {
        e.f64(number.as_f64().unwrap_or(0.0))?;
    }
    Ok(())
}

/// Reads a value.
///
/// # Errors
/// On malformed CBOR, a type JSON does not have, unsorted or doubled keys, nesting beyond [`DEPTH_MAX`], or more than
/// [`WEIGHT_MAX`].
pub(crate) fn decode(d: &mut minicbor::Decoder<'_>) -> Result<Value, DecodeError> {
    decode_at(d, 1, &mut 0)
}

fn weigh(weight: &mut usize, more: usize) -> Result<(), DecodeError> {
    *weight += more;
    if *weight > WEIGHT_MAX {
        return Err(DecodeError::TooLarge { what: "the weight of a JSON value", found: *weight as u64, max: WEIGHT_MAX as u64 });
    }
    Ok(())
}

fn decode_at(d: &mut minicbor::Decoder<'_>, depth: usize, weight: &mut usize) -> Result<Value, DecodeError> {
    const WHAT: &str = "a JSON value";
    let cbor = DecodeError::cbor(WHAT);
    if depth > DEPTH_MAX {
        return Err(DecodeError::TooLarge { what: "the nesting of a JSON value", found: depth as u64, max: DEPTH_MAX as u64 });
    }
    weigh(weight, 1)?;
    Ok(match d.datatype().map_err(&cbor)? {
        Type::Null => {
            d.null().map_err(&cbor)?;
            Value::Null
        }
        Type::Bool => Value::Bool(d.bool().map_err(&cbor)?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::from(d.u64().map_err(&cbor)?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::from(d.i64().map_err(&cbor)?),
        Type::F64 => Number::from_f64(d.f64().map_err(&cbor)?)
            .map(Value::Number)
            .ok_or(DecodeError::Invalid("JSON has no infinite or undefined numbers"))?,
        Type::String => Value::String(d.str().map_err(&cbor)?.to_owned()),
        Type::Array => {
            let len = d.array().map_err(&cbor)?.ok_or(DecodeError::Invalid("arrays have definite lengths"))?;
            // Not collected by a declared length: each element read is at least a byte of input.
            let mut items = Vec::new();
            for _ in 0..len {
                items.push(decode_at(d, depth + 1, weight)?);
            }
            Value::Array(items)
        }
        Type::Map => {
            let len = d.map().map_err(&cbor)?.ok_or(DecodeError::Invalid("maps have definite lengths"))?;
            weigh(weight, if len == 0 { 0 } else { MEMBERS_WEIGHT })?;
            let mut members = Map::new();
            let mut last: Option<&str> = None;
            for _ in 0..len {
                let key = d.str().map_err(&cbor)?;
                if last.is_some_and(|last| last >= key) {
                    return Err(DecodeError::Invalid("object keys are strictly ascending"));
                }
                last = Some(key);
                members.insert(key.to_owned(), decode_at(d, depth + 1, weight)?);
            }
            Value::Object(members)
        }
        _ => return Err(DecodeError::Invalid("this CBOR type has no place in JSON")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire;

    fn round_trip(value: &Value) -> Result<Value, DecodeError> {
        let bytes = wire::encode_with(|e| encode(e, value));
        decode(&mut minicbor::Decoder::new(&bytes))
    }

    #[test]
    fn values_round_trip() {
        for value in [json!(null), json!({"b": [1, -2, 3.5, "x", true], "a": {}}), json!(u64::MAX), json!(i64::MIN), json!([])] {
            assert_eq!(round_trip(&value), Ok(value));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| (1..n).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(depth(&nested(16)), 16);
        assert!(round_trip(&nested(16)).is_ok());
        assert!(matches!(round_trip(&nested(17)), Err(DecodeError::TooLarge { .. })));
        // Ten thousand opening brackets are refused, not followed.
        assert!(decode(&mut minicbor::Decoder::new(&[0x81; 10_000])).is_err());
    }

    #[test]
    fn one_value_has_one_encoding() {
        let doubled = [0xa2, 0x61, b'a', 1, 0x61, b'a', 2];
        assert!(decode(&mut minicbor::Decoder::new(&doubled)).is_err());
    }
}
