//! The target `device_ticket` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nodespace_protocol_fuzz::run("device_ticket", bytes));
