//! Reading the file, with every mistake at its line.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Value;
use super::{FILE_BYTES_MAX, Loaded, Problem, Source, key};

/// The file's text; nothing when there is no file.
pub(super) fn text(path: &Path) -> Result<Option<String>, Problem> {
    let place = || path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem { place: place(), line: None, message: format!("cannot be read: {error}") }),
    };
    let mut bytes = Vec::new();
    let problem = |message: String| Problem { place: place(), line: None, message };
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| problem(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(problem(format!("is larger than {FILE_BYTES_MAX} bytes; this is no configuration")));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Problem { place: place(), line: Some(line), message: "is not UTF-8 here; save it in that encoding".into() }
    })
}

/// A file that was asked for by name and is not there.
pub(super) fn missing(path: &Path) -> Problem {
    Problem { place: path.display().to_string(), line: None, message: "there is no such file".into() }
}

/// Applies a file's settings, and lists everything that is wrong with it.
pub(super) fn apply(loaded: &mut Loaded, text: &str, place: &str) -> Vec<Problem> {
    let line = |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<(Option<usize>, String)> =
        errors.iter().map(|error| (error.span().map(|span| line(span.start)), error.message().to_owned())).collect();
    // The parser goes on after a mistake, and a line that it misread gives several; the first says it best.
    problems.dedup_by_key(|(line, _)| *line);
    // What a broken line leaves behind would only repeat the same mistake in other words.
    if problems.is_empty() {
        for (section, value) in table.get_ref() {
            let at = line(section.span().start);
            problems.extend(apply_section(loaded, section.get_ref(), value, at, &line).into_iter().map(|(at, text)| (Some(at), text)));
        }
    }
    problems.sort();
    problems.into_iter().map(|(line, message)| Problem { place: place.to_owned(), line, message }).collect()
}

fn apply_section(
    loaded: &mut Loaded,
    section: &str,
    value: &Spanned<DeValue<'_>>,
    at: usize,
    line: &impl Fn(usize) -> usize,
) -> Vec<(usize, String)> {
    let Some(table) = value.get_ref().as_table() else {
        return vec![(at, format!("`{section}` stands outside of a section; settings belong below a line such as [api]"))];
    };
    if let Err(message) = key::check_section(section) {
        return vec![(at, message)];
    }
    let mut problems = Vec::new();
    for (name, value) in table {
        let at = line(name.span().start);
        let outcome = key::find(section, name.get_ref())
            .and_then(|index| read(value.get_ref()).and_then(|value| key::apply(loaded, index, &value, Source::File(at))));
        if let Err(message) = outcome {
            problems.push((at, message));
        }
    }
    problems
}

/// A TOML value as one of the kinds that settings have.
fn read(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::Boolean(value) => Ok(Value::Switch(*value)),
        DeValue::String(value) => Ok(Value::Text(value.to_string())),
        DeValue::Integer(value) => {
            let number = i64::from_str_radix(value.as_str(), value.radix());
            number.map(Value::Number).map_err(|_| format!("{} is too large", value.as_str()))
        }
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(Value::List).ok_or_else(|| "this setting takes a list of texts".into())
        }
        other => Err(format!("no setting takes a value of the kind {}", other.type_str())),
    }
}
