//! What the device's crate does, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod book;
mod care;
mod command;
mod corpus;
mod folder;
mod markdown;
mod words;
