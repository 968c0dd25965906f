#![no_main]
//! See `body` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::body::check(bytes));
