//! An answer line by line, while it comes.

use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;

use super::error::ClientError;

/// The longest line that is taken, in bytes; a longer one is refused. A line holds one node at most, whose text is bounded by the protocol.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Lines of an answer.
#[derive(Debug)]
pub struct Lines {
    stream: BodyDataStream,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    begin: usize,
    /// Up to where the buffer was searched for a line's end.
    searched: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { stream: body.into_data_stream(), buffer: Vec::new(), begin: 0, searched: 0, ended: false }
    }

    /// The next line without its end; nothing when the answer has ended.
    ///
    /// # Errors
    /// When the connection is cut, or a line is longer than [`LINE_BYTES_MAX`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.take(self.searched + length)));
            }
            self.searched = self.buffer.len();
            if self.ended {
                return Ok((self.begin < self.buffer.len()).then(|| self.take(self.buffer.len())));
            }
            self.fill().await?;
        }
    }

    /// Takes the line that ends before `end`.
    fn take(&mut self, end: usize) -> Vec<u8> {
        let line = &self.buffer[self.begin..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.begin = (end + 1).min(self.buffer.len());
        self.searched = self.begin;
        line
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        self.buffer.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(ClientError::NotUnderstood(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
        }
        match self.stream.next().await {
            Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
            Some(Err(error)) => return Err(ClientError::Cut(error.to_string())),
            None => self.ended = true,
        }
        Ok(())
    }
}
