//! Server-sent events (WHATWG HTML, section 9.2).

use super::{ApiError, Lines, Refusal};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where in the stream it stands.
    pub id: Option<String>,
    /// Its kind.
    pub kind: String,
    /// What it says.
    pub data: String,
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    lines: Lines,
    parser: Parser,
}

impl Events {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, parser: Parser::default() }
    }

    /// The next event; `None` when the device ended the stream.
    ///
    /// # Errors
    /// When the connection breaks, or the device says why it ends the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        while let Some(line) = self.lines.next().await? {
            let Some(event) = self.parser.line(&String::from_utf8_lossy(&line)) else { continue };
            if event.kind != "error" {
                return Ok(Some(event));
            }
            let refusal: Refusal = serde_json::from_str(&event.data)
                .map_err(|error| ApiError::NotUnderstood { what: "a stream's error".into(), text: error.to_string() })?;
            return Err(ApiError::Refused { status: 200, code: refusal.code, message: refusal.message });
        }
        Ok(None)
    }
}

/// Puts events together from lines.
#[derive(Debug, Default)]
pub(super) struct Parser {
    event: Event,
    data: Option<String>,
}

impl Parser {
    /// Takes a line; an empty one ends an event.
    pub(super) fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return self.data.take().map(|data| Event { data, ..event });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => self.data = Some(self.data.take().map_or_else(|| value.to_owned(), |before| format!("{before}\n{value}"))),
            // Comments keep the connection alive; other fields mean nothing to us.
            _ => {}
        }
        None
    }
}
