//! The store as its users see it.

#![expect(clippy::unwrap_used, reason = "in a test the line that failed says enough")]

mod conformance;
mod damage;
mod home;
mod support;
