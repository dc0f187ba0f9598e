//! Server-sent events (WHATWG HTML, section 9.2): a stream of changes or of states.

use super::error::ClientError;
use super::lines::Lines;

/// The kind of event by which the device says why it ends a stream.
const ERROR: &str = "error";

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where in the stream it stands.
    pub id: Option<String>,
    /// Its kind; `message` when the stream does not say.
    pub kind: String,
    /// What it says.
    pub data: String,
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    lines: Lines,
}

impl Events {
    pub(super) const fn new(lines: Lines) -> Self {
        Self { lines }
    }

    /// The next event of this kind; nothing when the device ended the stream. `seen` gets the events passed over on the way.
    ///
    /// # Errors
    /// When the connection is cut, or the device says why it ends the stream.
    pub async fn next_of(&mut self, kind: &str, mut seen: impl FnMut(Event)) -> Result<Option<Event>, ClientError> {
        while let Some(event) = self.next().await? {
            if event.kind == kind {
                return Ok(Some(event));
            }
            if event.kind == ERROR {
                let body = serde_json::from_str(&event.data).map_err(ClientError::not_understood)?;
                return Err(ClientError::Refused { status: 200, body });
            }
            seen(event);
        }
        Ok(None)
    }

    /// The next event; nothing when the device ended the stream.
    ///
    /// # Errors
    /// When the connection is cut.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        let mut event = Event { kind: "message".into(), ..Event::default() };
        let mut data: Option<String> = None;
        while let Some(line) = self.lines.next().await? {
            let line = String::from_utf8(line).map_err(|error| ClientError::NotUnderstood(error.to_string()))?;
            if line.is_empty() {
                if let Some(data) = data.take() {
                    return Ok(Some(Event { data, ..event }));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut event.kind),
                "data" => data = Some(data.map_or_else(|| value.to_owned(), |before| format!("{before}\n{value}"))),
                // Comments keep the connection alive; other fields mean nothing to us.
                _ => {}
            }
        }
        Ok(None)
    }
}
