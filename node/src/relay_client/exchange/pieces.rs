//! Attachments that are asked for, piece by piece.
//!
//! An answer of which nothing can be made, because it is larger than any may be or is not what was asked for, must not keep anything else
//! from coming: less is asked for then, down to one, and that one is left out. Whatever is not had this way is lacking, and asked for again
//! like everything that is ([`super::lacking`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nodespace_protocol::ids::OpHash;
use nodespace_protocol::op::Segment;

use super::super::api::{ATTACHMENTS_MAX, Given};
use super::super::error::RelayError;
use super::Attempt;
use crate::engine::is_what_was_announced;
use crate::sync::SyncCounts;

/// Bytes that are taken at one time, about: embeddings take a small part of it. The rest comes later.
const BYTES_AIM: usize = 32 << 20;
/// So many are left out, each after an answer of its own that was of no use, before the relay is not asked any further.
const LEFT_OUT_MAX: usize = 8;

/// What came of asking.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What was given.
    pub(super) attachments: BTreeMap<OpHash, Vec<u8>>,
    /// Why not everything was asked for.
    pub(super) trouble: Option<RelayError>,
}

/// How many are asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceSize {
    count: usize,
    /// It was made less because of one attachment, not because so many are too many: with every answer that is of use it is doubled.
    is_rising: bool,
}

impl Default for PieceSize {
    fn default() -> Self {
        Self { count: ATTACHMENTS_MAX, is_rising: false }
    }
}

impl<P: Fn(SyncCounts) + Send + Sync> Attempt<'_, P> {
    /// Puts attachments into segments: answers name them and leave them behind. Operations do not wait for those that the relay does not
    /// give: what they come without is asked for later.
    pub(super) async fn bring_attachments(&mut self, segments: &mut [Segment]) -> Result<(), RelayError> {
        if self.leaves_attachments {
            return Ok(());
        }
        let named = segments.iter_mut().flat_map(|segment| &mut segment.ops).filter_map(|op| op.attachment.as_mut());
        let mut places: Vec<_> = named.filter(|(_, bytes)| bytes.is_none()).collect();
        let wanted: Vec<OpHash> = places.iter().map(|(blob, _)| OpHash(blob.hash)).collect::<BTreeSet<_>>().into_iter().collect();
        let found = self.ask_for_attachments(&wanted).await?;
        if let Some(error) = &found.trouble {
            tracing::warn!(relay = %self.exchange.api.url(), %error, "operations are taken without their attachments");
            self.leaves_attachments = true;
        }
        for (blob, bytes) in &mut places {
            let found = found.attachments.get(&OpHash(blob.hash)).filter(|bytes| is_what_was_announced(blob, bytes));
            *bytes = found.map(|bytes| bytes.as_slice().into());
        }
        Ok(())
    }

    /// Asks the relay for attachments. That it gives some of them not, or none, is no error.
    pub(super) async fn ask_for_attachments(&mut self, wanted: &[OpHash]) -> Result<Found, RelayError> {
        let mut piece = self.piece;
        let (exchange, counts) = (self.exchange, self.counts);
        let ask = |piece: Vec<OpHash>| {
            (exchange.progress)(counts);
            let api = Arc::clone(&exchange.api);
            async move { api.attachments(&piece).await }
        };
        let found = in_pieces(wanted, &mut piece, ask).await;
        self.piece = piece;
        found
    }
}

impl PieceSize {
    /// So many were answered as they should be.
    fn rise(&mut self) {
        if self.is_rising {
            self.count = (self.count * 2).min(ATTACHMENTS_MAX);
        }
    }
}

/// Asks for attachments. `size` says for how many at once, and is less after answers that were of no use.
///
/// # Errors
/// Those of this device; what is the relay's is told in the answer.
async fn in_pieces<F>(wanted: &[OpHash], size: &mut PieceSize, ask: impl Fn(Vec<OpHash>) -> F) -> Result<Found, RelayError>
where
    F: Future<Output = Result<Given, RelayError>>,
{
    let (mut found, mut left, mut bytes, mut left_out) = (Found::default(), wanted.to_vec(), 0, 0);
    let mut good = 1;
    while !left.is_empty() && bytes < BYTES_AIM {
        let rest = left.split_off(left.len().min(size.count));
        match ask(left.clone()).await {
            Ok(given) => {
                bytes += given.attachments.values().map(Vec::len).sum::<usize>();
                found.attachments.extend(given.attachments);
                (left, good) = (given.left, size.count);
                left.extend(rest);
                size.rise();
            }
            Err(error) if error.asks_for_less() && left.len() > 1 => {
                *size = PieceSize { count: left.len() / 2, is_rising: false };
                left.extend(rest);
            }
            Err(error) if error.asks_for_less() && left_out < LEFT_OUT_MAX => {
                tracing::debug!(%error, "an attachment is left out");
                left_out += 1;
                (left, *size) = (rest, PieceSize { count: good, is_rising: true });
            }
            Err(error) if error.is_of_this_relay() => {
                found.trouble = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt as _;

    use super::*;
    use crate::model::{ErrorCode, ServiceError};

    fn hash(number: usize) -> OpHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
        OpHash(hash)
    }

    fn hashes(count: usize) -> Vec<OpHash> {
        (0..count).map(hash).collect()
    }

    /// Asks a relay that answers by `answer`. Answers what was found, and how many were asked for each time.
    fn asked(
        count: usize,
        size: &mut PieceSize,
        answer: impl Fn(&[OpHash]) -> Result<usize, RelayError>,
    ) -> (Result<Found, RelayError>, Vec<usize>) {
        let pieces = RefCell::new(Vec::new());
        let ask = |piece: Vec<OpHash>| {
            pieces.borrow_mut().push(piece.len());
            let given = |bytes| Given { attachments: piece.iter().map(|hash| (*hash, vec![0; bytes])).collect(), left: Vec::new() };
            std::future::ready(answer(&piece).map(given))
        };
        let found = in_pieces(&hashes(count), size, ask).now_or_never().expect("there is nothing to wait for");
        (found, pieces.into_inner())
    }

    fn too_large() -> RelayError {
        RelayError::TooLarge { max: 1 }
    }

    #[test]
    fn what_is_answered_as_it_should_is_asked_for_in_as_few_pieces_as_a_relay_takes() {
        let (found, pieces) = asked(2_500, &mut PieceSize::default(), |_| Ok(1_536));
        let found = found.unwrap();
        assert_eq!((found.attachments.len(), found.trouble.is_none()), (2_500, true));
        assert_eq!(pieces, [ATTACHMENTS_MAX, ATTACHMENTS_MAX, 2_500 - 2 * ATTACHMENTS_MAX]);
        let (found, pieces) = asked(0, &mut PieceSize::default(), |_| Ok(1));
        assert!(found.unwrap().attachments.is_empty() && pieces.is_empty());
    }

    #[test]
    fn answers_that_are_too_large_come_in_smaller_pieces_and_later_ones_begin_with_these() {
        let mut size = PieceSize::default();
        let small = |piece: &[OpHash]| if piece.len() > 100 { Err(too_large()) } else { Ok(64 << 10) };
        let (found, pieces) = asked(300, &mut size, small);
        let found = found.unwrap();
        assert_eq!((found.attachments.len(), found.trouble.is_none()), (300, true));
        assert_eq!(pieces, [300, 150, 75, 75, 75, 75]);
        let (_, pieces) = asked(100, &mut size, small);
        assert_eq!(pieces, [75, 25]);
    }

    #[test]
    fn what_did_not_fit_into_an_answer_is_asked_for_next() {
        let pieces = RefCell::new(Vec::new());
        let ask = |piece: Vec<OpHash>| {
            pieces.borrow_mut().push(piece.len());
            let left = piece.get(2..).unwrap_or_default().to_vec();
            let attachments = piece.into_iter().take(2).map(|hash| (hash, vec![0; 10])).collect();
            std::future::ready(Ok(Given { attachments, left }))
        };
        let found = in_pieces(&hashes(5), &mut PieceSize::default(), ask).now_or_never().expect("there is nothing to wait for").unwrap();
        assert_eq!((found.attachments.len(), found.trouble.is_none()), (5, true));
        assert_eq!(pieces.into_inner(), [5, 3, 1]);
    }

    #[test]
    fn one_that_cannot_be_had_is_left_out_and_the_others_come() {
        let bad = hash(37);
        let answer = |piece: &[OpHash]| if piece.contains(&bad) { Err(too_large()) } else { Ok(10) };
        let (found, pieces) = asked(100, &mut PieceSize::default(), answer);
        let found = found.unwrap();
        assert_eq!((found.attachments.len(), found.trouble.is_none()), (99, true));
        assert!(!found.attachments.contains_key(&bad));
        assert!(pieces.len() < 20, "those after it are not asked for one by one: {pieces:?}");
    }

    #[test]
    fn when_the_first_cannot_be_had_the_others_are_not_asked_for_one_by_one() {
        let bad = hash(0);
        let answer = |piece: &[OpHash]| if piece.contains(&bad) { Err(too_large()) } else { Ok(10) };
        let mut size = PieceSize::default();
        let (found, pieces) = asked(100, &mut size, answer);
        assert_eq!(found.unwrap().attachments.len(), 99);
        assert_eq!(pieces, [100, 50, 25, 12, 6, 3, 1, 1, 2, 4, 8, 16, 32, 36]);
        // Nor later on, when it was by itself.
        let mut size = PieceSize::default();
        let (found, pieces) = asked(1, &mut size, answer);
        assert_eq!((found.unwrap().attachments.len(), pieces), (0, vec![1]));
        let (_, pieces) = asked(100, &mut size, |_| Ok(10));
        assert_eq!(pieces, [1, 2, 4, 8, 16, 32, 37]);
        for _ in 0..8 {
            size.rise();
        }
        assert_eq!(size.count, ATTACHMENTS_MAX, "not more than a relay takes");
    }

    #[test]
    fn a_relay_that_gives_nothing_of_use_is_not_asked_for_ever() {
        let garbage = |_: &[OpHash]| Err(RelayError::NotUnderstood("nothing of use".into()));
        let (found, pieces) = asked(ATTACHMENTS_MAX, &mut PieceSize::default(), garbage);
        let found = found.unwrap();
        assert!(found.attachments.is_empty() && found.trouble.is_some());
        assert_eq!(pieces.iter().filter(|piece| **piece == 1).count(), LEFT_OUT_MAX + 1);
        assert!(pieces.len() < 32, "{pieces:?}");
    }

    #[test]
    fn what_is_wrong_with_the_relay_ends_the_asking_and_keeps_what_came() {
        let given = RefCell::new(0);
        let (found, pieces) = asked(3 * ATTACHMENTS_MAX, &mut PieceSize::default(), |_| {
            *given.borrow_mut() += 1;
            if *given.borrow() > 1 { Err(RelayError::None) } else { Ok(10) }
        });
        let found = found.unwrap();
        assert_eq!((found.attachments.len(), pieces.len()), (ATTACHMENTS_MAX, 2));
        assert!(matches!(found.trouble, Some(RelayError::None)));
        // What is wrong here is another matter.
        let broken = |_: &[OpHash]| Err(RelayError::Store(ServiceError::new(ErrorCode::Internal, "the disk is full")));
        assert!(asked(1, &mut PieceSize::default(), broken).0.is_err());
    }

    #[test]
    fn not_more_is_taken_at_once_than_there_should_be_in_memory() {
        let (found, pieces) = asked(10 * ATTACHMENTS_MAX, &mut PieceSize::default(), |_| Ok(BYTES_AIM / ATTACHMENTS_MAX));
        let found = found.unwrap();
        assert_eq!((found.attachments.len(), pieces.len()), (ATTACHMENTS_MAX, 1), "the rest is lacking, and comes later");
        assert!(found.trouble.is_none());
    }
}
