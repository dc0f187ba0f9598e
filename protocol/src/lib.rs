//! NodeSpace's protocol: what two devices must agree on bit for bit.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod clock;
pub mod ids;
