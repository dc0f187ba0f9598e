//! Checking every byte of a large table after it was opened.

use std::{io, path::PathBuf};

use super::{Doubt, Projection, open::blocking};
use crate::inventory::{Damage, Inventory};

/// A check of the opened version's files, to be run beside everything else.
#[derive(Debug)]
pub struct Verification {
    table_folder: PathBuf,
    inventory: Inventory,
}

impl Projection {
    /// The check of every byte of the last mark's version; `None` without a mark. [`super::State::Current`] already says that each
    /// file was there with its size, and for a table of up to [`super::Settings::verify_at_open_bytes`] that this check was made.
    pub fn verification(&self) -> Option<Verification> {
        let (_, inventory) = self.kept.last()?;
        Some(Verification { table_folder: self.table_folder(), inventory: inventory.clone() })
    }
}

impl Verification {
    /// How many bytes are to be read.
    pub fn bytes(&self) -> u64 {
        self.inventory.bytes()
    }

    /// Reads them. On a doubt open the projection again without a mark, and rebuild it.
    ///
    /// A file that is gone was pruned since, after a newer version had taken its place, and is passed over.
    pub async fn run(self) -> Result<(), Doubt> {
        let Self { table_folder, inventory } = self;
        blocking(move || {
            for (path, content) in inventory.files {
                let one = Inventory { files: [(path, content)].into(), ..Inventory::default() };
                match one.check_hashes(&table_folder) {
                    Err(Damage::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    checked => checked?,
                }
            }
            Ok(())
        })
        .await
    }
}
