#![no_main]
//! See `desired` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::desired::check(bytes));
