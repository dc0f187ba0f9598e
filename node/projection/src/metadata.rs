//! Metadata as text, and as terms that can be filtered on.
//!
//! Metadata is open: any key, any depth. A column of JSON text cannot be indexed, and a column for each key would mean that a person has
//! to name beforehand what may be asked for. So each row keeps two columns: `metadata`, the JSON text with its keys in order, and
//! `metadata_terms`, a list of strings `path=value`, one for each leaf:
//!
//! ```text
//! {"status": "open", "tags": ["a", "b"], "due": {"year": 2025}}
//!   due.year=2025    status="open"    tags="a"    tags="b"
//! ```
//!
//! A filter on a key and a value is then whether the list has one term, which a label-list index answers, and which any other LanceDB
//! client can ask too: `array_has(metadata_terms, 'status="open"')`. The value is written as JSON, so `"1"` and `1` differ; an element of
//! an array counts as a value of the array's key. A key with a dot reads like a nested one; both match.

use serde_json::Value;

/// The deepest metadata a row may have. A row with deeper metadata is refused: it is walked by recursion here and in every reader.
pub const DEPTH_MAX: usize = 64;

/// The most terms a row keeps. Further leaves stay in the JSON text but cannot be filtered on.
pub const TERMS_MAX: usize = 512;

/// The longest term, in bytes. A longer one is kept as a hash, so that equality still works.
pub const TERM_BYTES_MAX: usize = 256;

/// Whether `value` nests deeper than [`DEPTH_MAX`]; itself without recursion, for values of any depth.
pub(crate) fn nests_too_deep(value: &Value) -> bool {
    let mut waiting = vec![(value, 1)];
    while let Some((value, depth)) = waiting.pop() {
        if depth > DEPTH_MAX {
            return true;
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => waiting.extend(fields.values().map(|field| (field, depth + 1))),
            _ => {}
        }
    }
    false
}

/// About how many bytes `value` takes as text; values deeper than [`DEPTH_MAX`] are counted no further.
pub(crate) fn bytes(value: &Value) -> usize {
    fn count(value: &Value, depth: usize) -> usize {
        const SCALAR: usize = 8;
        match value {
            _ if depth > DEPTH_MAX => SCALAR,
            Value::String(text) => SCALAR + text.len(),
            Value::Array(items) => SCALAR + items.iter().map(|item| count(item, depth + 1)).sum::<usize>(),
            Value::Object(fields) => SCALAR + fields.iter().map(|(key, field)| key.len() + count(field, depth + 1)).sum::<usize>(),
            _ => SCALAR,
        }
    }
    count(value, 0)
}

/// `value` as JSON with the keys of objects in byte order, so that equal values have equal texts whatever order a map keeps.
///
/// What is deeper than [`DEPTH_MAX`] is written as null; no row that was checked has such.
pub(crate) fn to_text(value: &Value) -> String {
    let mut text = String::new();
    write_text(value, 1, &mut text);
    text
}

fn write_text(value: &Value, depth: usize, text: &mut String) {
    match value {
        _ if depth > DEPTH_MAX => text.push_str("null"),
        Value::Array(items) => write_list(text, ['[', ']'], items.iter(), |item, text| write_text(item, depth + 1, text)),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            write_list(text, ['{', '}'], fields.into_iter(), |(key, field), text| {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_text(field, depth + 1, text);
            });
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn write_list<T>(text: &mut String, [open, close]: [char; 2], items: impl Iterator<Item = T>, write: impl Fn(T, &mut String)) {
    text.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(item, text);
    }
    text.push(close);
}

/// The terms of `value`, sorted, each once, at most [`TERMS_MAX`].
pub(crate) fn terms(value: &Value) -> Vec<String> {
    let mut terms = Vec::new();
    collect(value, &mut String::new(), &mut terms);
    terms.sort_unstable();
    terms.dedup();
    terms
}

fn collect(value: &Value, path: &mut String, terms: &mut Vec<String>) {
    if terms.len() >= TERMS_MAX {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, terms)),
        Value::Object(fields) => {
            // In order, so that which leaves a huge object loses does not depend on the map.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            for (key, field) in fields {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                collect(field, path, terms);
                path.truncate(length);
            }
        }
        scalar => terms.extend(term(path, scalar)),
    }
}

/// The term for a key (or a dotted path) and a value; `None` if the value is an array or an object, which have no term of their own.
pub(crate) fn term(path: &str, value: &Value) -> Option<String> {
    let value = match value {
        Value::Array(_) | Value::Object(_) => return None,
        Value::Number(number) => whole(number).map_or_else(|| number.to_string(), |whole| whole.to_string()),
        scalar => scalar.to_string(),
    };
    let term = format!("{path}={value}");
    if term.len() <= TERM_BYTES_MAX {
        return Some(term);
    }
    Some(format!("blake3={}", blake3::hash(term.as_bytes()).to_hex()))
}

/// A number without a fraction as an integer, so that `1` finds `1.0`.
fn whole(number: &serde_json::Number) -> Option<i64> {
    // Up to here every integer has its own float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT).map(|float| float as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_leaf_has_a_term() {
        let value = json!({"status": "open", "tags": ["b", "a", "a"], "due": {"year": 2025.0, "sure": true}, "gone": null, "none": []});
        let expected = ["due.sure=true", "due.year=2025", "gone=null", "status=\"open\"", "tags=\"a\"", "tags=\"b\""];
        assert_eq!(terms(&value), expected);
        assert!(terms(&value).contains(&term("due.year", &json!(2025)).unwrap()));
        assert_eq!(term("tags", &json!(["a"])), None);
    }

    #[test]
    fn terms_are_bounded() {
        let wide: Value =
            (0..2 * TERMS_MAX).map(|index| (format!("key{index:05}"), json!(index))).collect::<serde_json::Map<_, _>>().into();
        assert_eq!(terms(&wide).len(), TERMS_MAX);
        let long = json!({"key": "x".repeat(10_000)});
        let term = term("key", &long["key"]).unwrap();
        assert!(term.len() <= TERM_BYTES_MAX);
        assert_eq!(terms(&long), [term]);
    }

    #[test]
    fn text_has_its_keys_in_order_and_reads_back() {
        let value = json!({"b": [1, {"z": "\"\\\u{0}", "a": null}], "a": 1.5});
        let text = to_text(&value);
        assert_eq!(text, r#"{"a":1.5,"b":[1,{"a":null,"z":"\"\\\u0000"}]}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn depth_is_found_without_recursion() {
        let mut value = json!(1);
        for _ in 1..DEPTH_MAX {
            value = Value::Array(vec![value]);
        }
        assert!(!nests_too_deep(&value));
        assert!(nests_too_deep(&json!([value])));
    }
}
