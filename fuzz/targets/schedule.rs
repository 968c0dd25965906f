#![no_main]
//! See `schedule` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::schedule::check(bytes));
