//! The target `header` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nodespace_protocol_fuzz::run("header", bytes));
