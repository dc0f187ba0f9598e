//! The disk as this crate sees it: a folder of files, and the calls that make things durable.
//!
//! Everything the store writes goes through [`Disk`] and [`DiskFile`], redb's pages included, so that a simulated disk
//! ([`SimulatedDisk`]) can take the place of the real one, forget what was not synced, and be asked for every state a power cut may
//! leave. The traits promise no more than POSIX does (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014):
//!
//! - bytes are durable after [`DiskFile::sync_data`] on their file, in any order before;
//! - a name (made, renamed, removed) is durable after [`Disk::sync_folder`] on its folder;
//! - a failed sync says nothing about what is durable, and is never tried again (the lesson of "fsyncgate", 2018).

mod real;
pub mod simulated;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

pub use real::RealDisk;
pub(crate) use real::{FILE_MODE, FOLDER_MODE, sync_folder};
pub use simulated::SimulatedDisk;

/// A file that is read and written at given places.
pub trait DiskFile: Debug + Send + Sync {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// When the environment fails.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before; else when the environment fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file grows as needed.
    ///
    /// # Errors
    /// When the environment fails; any part may have been written then.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// When the environment fails.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Lengthens the file with zeros whose blocks are taken from the file system now, so that writing there later changes no
    /// metadata. An optimisation: a caller goes on without it.
    ///
    /// # Errors
    /// When the file system cannot.
    fn reserve(&self, size: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable.
    ///
    /// # Errors
    /// When that cannot be promised. What is durable is unknown then.
    fn sync_data(&self) -> io::Result<()>;
}

/// A folder of files, named by paths relative to it with `/` between folders; `""` is the folder itself.
pub trait Disk: Debug + Send + Sync {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it is not there; else when the environment fails.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file; one of that name loses its content.
    ///
    /// # Errors
    /// When the environment fails.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file within its folder; a file of the new name is replaced.
    ///
    /// # Errors
    /// When the environment fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not there or the environment fails.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of the files in a folder, ascending; none when the folder is not there.
    ///
    /// # Errors
    /// When the environment fails.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a folder, unless it is there, and its name durable.
    ///
    /// # Errors
    /// When the environment fails.
    fn make_folder(&self, folder: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// When that cannot be promised.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// The full name of a file, for messages.
    fn place(&self, name: &str) -> String;
}

/// Writes a small file so that after a crash either all of it is there under its name, or what was there before.
///
/// # Errors
/// When the environment fails.
pub fn replace_file(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    let file = disk.create(&fresh)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&fresh, name)?;
    disk.sync_folder(folder_of(name))
}

/// The folder a name lies in.
pub fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}
