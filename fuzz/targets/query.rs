#![no_main]
//! See `query` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::query::check(bytes));
