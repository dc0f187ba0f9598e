//! redb's storage on a [`DiskFile`], so that a simulated disk sees its writes too.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::disk::DiskFile;

/// Locks are not offered: the folder the file lies in is locked as a whole.
#[derive(Debug)]
pub(crate) struct Backend {
    file: Arc<dyn DiskFile>,
}

impl Backend {
    pub(crate) const fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_size(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_at(offset, data)
    }
}
