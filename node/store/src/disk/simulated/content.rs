//! A file's bytes in shared pages, so that a copy of the disk for one crash image costs a few pointers.

use std::io;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

/// The bytes of a file; a page that was never written is zeros and takes no room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    size: u64,
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
}

impl Content {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write_at(0, bytes);
        content
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.copy_out(0, &mut bytes);
        bytes
    }

    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.copy_out(offset as usize, out);
        Ok(())
    }

    fn copy_out(&self, mut offset: usize, mut out: &mut [u8]) {
        while !out.is_empty() {
            let (page, within) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
            let (now, rest) = out.split_at_mut(out.len().min(PAGE_BYTES - within));
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(bytes) => now.copy_from_slice(&bytes[within..within + now.len()]),
                None => now.fill(0),
            }
            offset += now.len();
            out = rest;
        }
    }

    pub(crate) fn write_at(&mut self, offset: u64, mut bytes: &[u8]) {
        self.size = self.size.max(offset + bytes.len() as u64);
        self.pages.resize((self.size as usize).div_ceil(PAGE_BYTES), None);
        let mut offset = offset as usize;
        while !bytes.is_empty() {
            let (page, within) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
            let (now, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - within));
            let target = Arc::make_mut(self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES])));
            target[within..within + now.len()].copy_from_slice(now);
            offset += now.len();
            bytes = rest;
        }
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        let shrinks = size < self.size;
        self.size = size;
        self.pages.resize((size as usize).div_ceil(PAGE_BYTES), None);
        let within = size as usize % PAGE_BYTES;
        if shrinks
            && within > 0
            && let Some(Some(last)) = self.pages.last_mut()
        {
            Arc::make_mut(last)[within..].fill(0);
        }
    }
}
