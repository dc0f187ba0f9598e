//! Reading a file from front to back in large pieces.

use std::io;

use crate::disk::DiskFile;

/// What is read at once: few calls, little memory.
const WINDOW_BYTES: usize = 1 << 20;

/// A view of a file that moves with what is asked of it.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    /// Nothing is read from here on.
    limit: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(crate) const fn new(file: &'a dyn DiskFile, limit: u64) -> Self {
        Self { file, limit, start: 0, bytes: Vec::new() }
    }

    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// The `len` bytes at `offset`; `None` when they reach beyond the limit.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len as u64).filter(|end| *end <= self.limit) else { return Ok(None) };
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let room = (self.limit - offset).min(len.max(WINDOW_BYTES) as u64);
            self.bytes.resize(room as usize, 0);
            self.start = offset;
            if let Err(error) = self.file.read_at(offset, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }
}
