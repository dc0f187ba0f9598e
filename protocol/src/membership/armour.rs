//! Tickets as text: a prefix that says what it is, and the base32 (RFC 4648, lower case, no padding) of bytes and a check of four bytes,
//! so that a ticket that was cut or mistyped is told from one that is merely unknown.
//!
//! Bytes have one text. Base32 rather than base64: it survives being read aloud, and in upper case it is what QR codes pack best.

use super::ticket::TicketError;
use crate::crypto::Domain;

const CHECK_BYTES: usize = 4;
/// The longest text in bytes; a longer one is no ticket.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The text of `bytes`.
pub(super) fn to_text(prefix: &str, mut bytes: Vec<u8>) -> String {
    let check = Domain::Secret.hash(&bytes);
    bytes.extend_from_slice(&check[..CHECK_BYTES]);
    format!("{prefix}{}", base32(&bytes))
}

/// The bytes of a text; white space around it and upper case are forgiven.
pub(super) fn from_text(prefix: &'static str, text: &str) -> Result<Vec<u8>, TicketError> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX {
        return Err(TicketError::Alphabet);
    }
    let text = text.to_ascii_lowercase();
    let body = text.strip_prefix(prefix).ok_or(TicketError::Prefix { wanted: prefix })?;
    let mut bytes = unbase32(body)?;
    let split = bytes.len().checked_sub(CHECK_BYTES).ok_or(TicketError::Check)?;
    let check = bytes.split_off(split);
    if Domain::Secret.hash(&bytes)[..CHECK_BYTES] == *check { Ok(bytes) } else { Err(TicketError::Check) }
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    out
}

fn unbase32(text: &str) -> Result<Vec<u8>, TicketError> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for c in text.bytes() {
        let digit = ALPHABET.iter().position(|a| *a == c).ok_or(TicketError::Alphabet)? as u32;
        buffer = (buffer << 5 | digit) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
        }
    }
    // What is left over is less than a digit, and zero: bytes have one text.
    if bits < 5 && buffer & ((1 << bits) - 1) == 0 { Ok(out) } else { Err(TicketError::Check) }
}
