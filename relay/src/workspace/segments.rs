//! From rows of the log back to the signed segments they came in as.

use nodespace_protocol::ids::OpHash;
use nodespace_protocol::op::Segment;
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
use nodespace_protocol::view::PacketSegment;

use crate::store::{LogRow, StoreError};

/// A run of the log that one signature proves.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its rows; the last one has the signature.
    pub rows: Vec<LogRow>,
}

/// Cuts rows into runs. Rows begin and end with whole runs: see [`crate::store::PageEnd`].
///
/// # Errors
/// When the rows end without a signature, or a run is none.
pub fn runs_of(rows: Vec<LogRow>) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    let mut current: Vec<LogRow> = Vec::new();
    for row in rows {
        let ends = row.signature.is_some();
        current.push(row);
        if ends {
            runs.push(Run { rows: std::mem::take(&mut current) });
        }
    }
    match current.last() {
        Some(last) => Err(StoreError::corrupt(format!("operation {}", last.version), "no signature follows it")),
        None => Ok(runs),
    }
}

impl Run {
    /// The segment, with the hash of what comes before it. Attachments are named and not brought along.
    ///
    /// # Errors
    /// When the rows are no run.
    pub fn segment(&self) -> Result<(Option<OpHash>, Segment), StoreError> {
        let place = || format!("operation {}", self.rows.first().map_or(0, |row| row.version));
        let broken = |what: &str| StoreError::corrupt(place(), what);
        let (first, last) = self.rows.first().zip(self.rows.last()).ok_or_else(|| broken("an empty run"))?;
        let signature = last.signature.ok_or_else(|| broken("a run without a signature"))?;
        let header = &first.op.header;
        let in_order = self.rows.iter().zip(header.seq..).all(|(row, seq)| row.op.header.log == header.log && row.op.header.seq == seq);
        if !in_order {
            return Err(broken("operations of one segment do not follow each other"));
        }
        let mut previous_prefix = [0; PREFIX_BYTES];
        if let Some(previous) = header.previous {
            previous_prefix.copy_from_slice(&previous.0[..PREFIX_BYTES]);
        }
        let ops = self.rows.iter().map(|row| WireOp::of(&row.op, true, |_| None)).collect();
        Ok((header.previous, Segment { log: header.log, first_seq: header.seq, previous_prefix, ops, signature }))
    }

    /// The segment as packets carry it.
    ///
    /// # Errors
    /// When the rows are no run.
    pub fn packed(&self) -> Result<PacketSegment, StoreError> {
        let (previous, segment) = self.segment()?;
        Ok(PacketSegment::new(previous, &segment))
    }

    /// The hash of its last operation.
    #[must_use]
    pub fn last(&self) -> Option<OpHash> {
        self.rows.last().map(|row| row.op.hash)
    }
}
