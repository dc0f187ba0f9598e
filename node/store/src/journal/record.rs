//! One record as bytes: an operation (its header as it is hashed, payload, attachment) or a signature.
//!
//! ```text
//! operation:  1 | header length u32 | header | payload length u32 | payload | attachment length + 1 u32, 0 = none | attachment
//! signature:  2 | device 32 | epoch u32 | sequence u64 | hash 32 | signature 64
//! ```

use std::sync::Arc;

use nodespace_protocol::crypto::{Domain, Signature};
use nodespace_protocol::ids::{DeviceId, LogId, OpHash, WorkspaceId};
use nodespace_protocol::op::{Header, Op};
use nodespace_protocol::store::Record;

use super::format::Fields;

const OP: u8 = 1;
const SIGNATURE: u8 = 2;
const SIGNATURE_BYTES: usize = 32 + 4 + 8 + 32 + 64;

/// What is wrong with a record whose block's checksum fits: the program that wrote it was not this one, or is broken.
pub(crate) type BadRecord = &'static str;

/// Appends a record's bytes.
pub(crate) fn encode(out: &mut Vec<u8>, workspace: &WorkspaceId, record: &Record) {
    match record {
        Record::Op(op) => {
            out.push(OP);
            put_bytes(out, &op.header.encode(workspace));
            put_bytes(out, &op.payload);
            match &op.attachment {
                None => out.extend_from_slice(&0_u32.to_le_bytes()),
                Some(bytes) => {
                    out.extend_from_slice(&(bytes.len() as u32).saturating_add(1).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
        Record::Signature { log, seq, hash, signature } => {
            out.push(SIGNATURE);
            out.extend_from_slice(&log.device.0);
            out.extend_from_slice(&log.epoch.to_le_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&hash.0);
            out.extend_from_slice(&signature.0);
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A record that has been delimited and not yet read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    Op { header: &'a [u8], payload: &'a [u8], attachment: Option<&'a [u8]> },
    Signature(&'a [u8]),
}

impl<'a> Raw<'a> {
    /// Takes the next record off the front of a block.
    pub(crate) fn take(bytes: &mut &'a [u8]) -> Result<Self, BadRecord> {
        match take(bytes, 1)?[0] {
            OP => {
                let header = take_sized(bytes)?;
                let payload = take_sized(bytes)?;
                let attachment = match take_u32(bytes)? {
                    0 => None,
                    len => Some(take(bytes, len as usize - 1)?),
                };
                Ok(Self::Op { header, payload, attachment })
            }
            SIGNATURE => Ok(Self::Signature(take(bytes, SIGNATURE_BYTES)?)),
            _ => Err("a record is neither an operation nor a signature"),
        }
    }

    /// The operation's hash, without reading the operation.
    pub(crate) fn hash(&self) -> Option<OpHash> {
        match self {
            Self::Op { header, .. } => Some(OpHash(Domain::Header.hash(header))),
            Self::Signature(_) => None,
        }
    }

    /// Reads the record.
    pub(crate) fn record(&self) -> Result<Record, BadRecord> {
        match self {
            Self::Op { header, payload, attachment } => {
                let hash = OpHash(Domain::Header.hash(header));
                let (_, header) = Header::decode(header).map_err(|_| "an operation's header cannot be read")?;
                let attachment = attachment.map(Arc::from);
                Ok(Record::Op(Arc::new(Op { hash, header, payload: Arc::from(*payload), attachment })))
            }
            Self::Signature(bytes) => {
                let mut fields = Fields(bytes);
                let log = LogId { device: DeviceId(fields.array()), epoch: fields.u32() };
                let (seq, hash) = (fields.u64(), OpHash(fields.array()));
                Ok(Record::Signature { log, seq, hash, signature: Signature(fields.array()) })
            }
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], BadRecord> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or("a record reaches beyond its block")?;
    *bytes = rest;
    Ok(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, BadRecord> {
    Ok(Fields(take(bytes, 4)?).u32())
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], BadRecord> {
    let len = take_u32(bytes)?;
    take(bytes, len as usize)
}
