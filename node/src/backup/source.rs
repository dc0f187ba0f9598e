//! What goes into a backup: the records of a store up to a point, page by page, and signatures over this device's own logs.
//!
//! Records are never changed once they are there, so pages that were read while others wrote are together what the store held when the
//! [`Manifest`] was made.

use std::ops::ControlFlow;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::{Purpose, verify};
use nodespace_protocol::replica::{LogRange, Replica};
use nodespace_protocol::store::{Record, Store, StoreError};
use serde_bytes::ByteBuf;

use super::Manifest;
use crate::model::time;

/// How many records a page has when its reader has no reason for another number.
pub const PAGE_RECORDS_DEFAULT: usize = 512;

/// A page ends after so many bytes of content, so that a page of large operations stays small too.
const PAGE_BYTES: usize = 8 << 20;

/// What a backup that is begun now will hold, and the signatures to end it with.
///
/// # Errors
/// When the store fails.
pub fn begin<S: Store>(replica: &mut Replica<S>, now: Timestamp) -> Result<(Manifest, Vec<Record>), StoreError> {
    let counts = replica.counts();
    let manifest = Manifest {
        workspace: replica.workspace(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: time::to_text(now),
        records: replica.store().record_count(),
        operations: counts.ops,
        state_digest: (counts.held == 0).then(|| ByteBuf::from(replica.state_digest().to_vec())),
    };
    Ok((manifest, seal(replica)?))
}

/// The records from `from` on, at most `limit`, none from `until` on.
///
/// # Errors
/// When the store is damaged there.
pub fn page<S: Store>(store: &S, from: u64, until: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
    let wanted = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX).min(limit);
    let mut page = Vec::with_capacity(wanted.min(PAGE_RECORDS_DEFAULT));
    let mut bytes = 0;
    store.replay(from, &mut |record| {
        if page.len() == wanted || bytes >= PAGE_BYTES {
            return ControlFlow::Break(());
        }
        bytes += content_bytes(&record);
        page.push(record);
        ControlFlow::Continue(())
    })?;
    Ok(page)
}

fn content_bytes(record: &Record) -> usize {
    match record {
        Record::Op(op) => op.payload.len() + op.attachment.as_ref().map_or(0, |bytes| bytes.len()),
        Record::Signature { .. } => 0,
    }
}

/// One signature for each end of each log that this device wrote, in every epoch. It covers everything before it in its log. None from a
/// replica that has no key: everything it holds came to it signed.
///
/// # Errors
/// When the store fails.
pub fn seal<S: Store>(replica: &Replica<S>) -> Result<Vec<Record>, StoreError> {
    let Some(device) = replica.device() else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for entry in replica.frontier().into_iter().filter(|entry| entry.log.device == device) {
        let (ranges, _) = replica.lacking(entry.log, &[])?;
        for range in ranges {
            let last = LogRange { after: range.through.saturating_sub(1), ..range };
            let Some(segment) = replica.segment(&last, false, &|_| 0)? else { continue };
            // A forked log has several ends; the signature tells which this is.
            let signed = entry.heads.iter().find(|head| verify(&device.0, Purpose::Operation, &[&head.hash.0], &segment.signature).is_ok());
            records.extend(signed.map(|head| Record::Signature {
                log: entry.log,
                seq: head.seq,
                hash: head.hash,
                signature: segment.signature,
            }));
        }
    }
    Ok(records)
}
