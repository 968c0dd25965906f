#![no_main]
//! See `ports` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::ports::check(bytes));
