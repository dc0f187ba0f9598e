//! The projection from outside: written, searched, damaged, and read by others.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod faults;
mod python_reader;
mod search;
mod support;
mod writes;
