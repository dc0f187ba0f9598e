//! An answer's lines as they come in.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::ApiError;

/// The longest line that is waited for; a device that sends a longer one is not one of ours. Nodes have at most a few MiB.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Lines of a body.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    splitter: Splitter,
}

impl Lines {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, splitter: Splitter::default() }
    }

    /// The next line without its end; `None` when the answer is complete.
    ///
    /// # Errors
    /// When the connection breaks, or a line is longer than any device would send.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            if let Some(line) = self.splitter.next() {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(frame) => self.take(&frame.map_err(ApiError::Cut)?)?,
                None => return Ok(self.splitter.rest()),
            }
        }
    }

    fn take(&mut self, frame: &hyper::body::Frame<hyper::body::Bytes>) -> Result<(), ApiError> {
        let Some(bytes) = frame.data_ref() else { return Ok(()) };
        if self.splitter.push(bytes) > LINE_BYTES_MAX {
            return Err(ApiError::NotUnderstood { what: "a stream".into(), text: format!("a line of more than {LINE_BYTES_MAX} bytes") });
        }
        Ok(())
    }
}

/// Cuts bytes at line ends, each byte looked at once.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    bytes: Vec<u8>,
    /// Where the next line begins, and up to where there is no line end.
    start: usize,
    searched: usize,
}

impl Splitter {
    /// Takes bytes; answers how many wait for a line end at most.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
        self.bytes.len()
    }

    /// The next complete line.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let Some(at) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + at;
        let line = &self.bytes[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        (self.start, self.searched) = (end + 1, end + 1);
        Some(line)
    }

    /// What is left without a line end, if anything is.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = self.bytes.split_off(self.start);
        *self = Self::default();
        (!rest.is_empty()).then_some(rest)
    }
}
