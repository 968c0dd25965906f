#![no_main]
//! See `authorization` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::authorization::check(bytes));
