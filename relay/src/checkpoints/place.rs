//! Of which log a checkpoint is, and up to where.

use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::view::RunningHash;

use crate::store::{Epoch, WorkspaceRow};

/// The form of what follows.
const FORM: u8 = 1;
/// A form, a workspace's id, three numbers, a hash.
const BYTES: usize = 1 + 32 + 3 * 8 + 32;

/// A place in a workspace's log. The running hash at a version is a hash over all operations up to it in their order: whoever
/// has the same at the same version has the same operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) workspace: WorkspaceId,
    /// The workspace's number in the database.
    pub(crate) number: i64,
    pub(crate) epoch: Epoch,
    pub(crate) version: u64,
    pub(crate) running: RunningHash,
}

impl Place {
    /// As checkpoints carry it: a byte for the form, then the fields in their order, numbers little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.push(FORM);
        out.extend_from_slice(&self.workspace.0);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.running.0);
        out
    }

    /// The inverse; `None` for what is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&FORM, rest) = bytes.split_first()? else { return None };
        let (workspace, rest) = rest.split_first_chunk::<32>()?;
        let (numbers, running) = rest.split_first_chunk::<24>()?;
        let ([number, epoch, version], []) = numbers.as_chunks::<8>() else { return None };
        Some(Self {
            workspace: WorkspaceId(*workspace),
            number: i64::from_le_bytes(*number),
            epoch: u64::from_le_bytes(*epoch),
            version: u64::from_le_bytes(*version),
            running: RunningHash(running.try_into().ok()?),
        })
    }

    /// Why it is no place in the log of a workspace, as far as that can be seen without looking into the log.
    pub(crate) fn misfit(&self, workspace: &WorkspaceId, row: &WorkspaceRow, epoch: Epoch) -> Option<&'static str> {
        if self.workspace != *workspace || self.number != row.number {
            return Some("it is of another workspace");
        }
        if self.epoch != epoch {
            return Some("it is of another epoch");
        }
        (self.version > row.version).then_some("it includes operations that the log does not have")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_anything_else_is_none() {
        let place = Place { workspace: WorkspaceId([7; 32]), number: -3, epoch: 1 << 40, version: 5, running: RunningHash([9; 32]) };
        let bytes = place.encode();
        assert_eq!(Place::decode(&bytes), Some(place));
        for len in 0..bytes.len() {
            assert_eq!(Place::decode(&bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(Place::decode(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Place::decode(&[&[2], &bytes[1..]].concat()), None, "another form");
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Place::decode(&damaged);
            assert!(read.is_none_or(|other| other != place && other.encode() == damaged), "bit {bit}: {read:?} says something else");
        }
    }

    #[test]
    fn what_is_of_another_log_does_not_fit() {
        let workspace = WorkspaceId([7; 32]);
        let running = RunningHash([9; 32]);
        let row = WorkspaceRow { number: 3, version: 10, running, bytes: 0, attachment_bytes: 0, held: false };
        let place = Place { workspace, number: 3, epoch: 4, version: 10, running };
        assert_eq!(place.misfit(&workspace, &row, 4), None);
        for odd in [
            Place { workspace: WorkspaceId([8; 32]), ..place },
            Place { number: 4, ..place },
            Place { epoch: 5, ..place },
            Place { version: 11, ..place },
        ] {
            assert!(odd.misfit(&workspace, &row, 4).is_some(), "{odd:?}");
        }
    }
}
