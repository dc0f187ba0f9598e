//! Values on the command line: metadata members and vectors.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::exit::Failure;

/// The largest file that is read for a vector, in bytes; a larger one is refused.
const VECTOR_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A metadata member and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    /// The steps to it.
    steps: Vec<String>,
    /// What it is.
    value: Value,
}

/// Reads `key=value`. The value is JSON if it reads as JSON, else a text; steps of a nested key are separated by slashes.
pub(crate) fn member(text: &str) -> Result<Member, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no metadata; write it like done=true"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(Member { steps: steps(key)?, value })
}

/// Reads a key to be taken away.
pub(crate) fn key(text: &str) -> Result<Member, String> {
    Ok(Member { steps: steps(text)?, value: Value::Null })
}

fn steps(key: &str) -> Result<Vec<String>, String> {
    let steps: Vec<String> = key.split('/').map(str::to_owned).collect();
    if steps.iter().any(String::is_empty) { Err(format!("`{key}` is no key; write it like due or task/due")) } else { Ok(steps) }
}

/// Reads a JSON object.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

/// Puts members together to one object; a later one holds against an earlier one.
pub(crate) fn merged(base: Option<Map<String, Value>>, members: impl IntoIterator<Item = Member>) -> Map<String, Value> {
    let mut whole = base.unwrap_or_default();
    for Member { steps, value } in members {
        set(&mut whole, &steps, value);
    }
    whole
}

fn set(object: &mut Map<String, Value>, steps: &[String], value: Value) {
    match steps {
        [] => {}
        [last] => drop(object.insert(last.clone(), value)),
        [first, rest @ ..] => {
            let inner = object.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// Reads a vector from a file, or from standard input for `-`: a JSON list, or numbers separated by spaces, commas or lines.
pub(crate) fn vector(path: &Path) -> anyhow::Result<Vec<f32>> {
    let mut text = String::new();
    let stream: &mut dyn Read = if path == Path::new("-") {
        &mut io::stdin().lock()
    } else {
        &mut File::open(path).with_context(|| format!("cannot read {}", path.display()))?
    };
    stream.take(VECTOR_FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > VECTOR_FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} is larger than {VECTOR_FILE_BYTES_MAX} bytes; this is no vector", path.display())));
    }
    numbers(&text).map_err(|message| Failure::usage(format!("{}: {message}", path.display())))
}

fn numbers(text: &str) -> Result<Vec<f32>, String> {
    let inner = text.trim();
    let inner = inner.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(inner);
    let words = inner.split(|character: char| character.is_whitespace() || character == ',').filter(|word| !word.is_empty());
    let number = |(index, word): (usize, &str)| match word.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err(format!("number {} is {word}; a vector holds finite numbers only", index + 1)),
        Err(_) => Err(format!("`{}` is no number", super::style::preview(word, 20))),
    };
    let numbers = words.enumerate().map(number).collect::<Result<Vec<_>, _>>()?;
    if numbers.is_empty() { Err("there are no numbers".into()) } else { Ok(numbers) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_json_or_text_and_may_nest() {
        let members = ["done=true", "name=Ada L", "task/due=\"2025\"", "task/count=3", "empty="].map(|text| member(text).unwrap());
        let whole = merged(None, members.into_iter().chain([key("old").unwrap()]));
        let expected = json!({ "done": true, "name": "Ada L", "task": { "due": "2025", "count": 3 }, "empty": "", "old": null });
        assert_eq!(Value::Object(whole), expected);
        for bad in ["done", "=1", "a//b=1"] {
            assert!(member(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn vectors_are_finite_numbers() {
        assert_eq!(numbers("[1, -2.5, 3e-1]\n"), Ok(vec![1.0, -2.5, 0.3]));
        assert_eq!(numbers("1 2\n3"), Ok(vec![1.0, 2.0, 3.0]));
        for (bad, part) in [("[1, NaN]", "number 2"), ("1e99", "finite"), ("[]", "no numbers"), ("{\"a\":1}", "no number")] {
            assert!(numbers(bad).unwrap_err().contains(part), "{bad}");
        }
    }
}
