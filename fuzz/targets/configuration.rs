#![no_main]
//! See `configuration` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::configuration::check(bytes));
