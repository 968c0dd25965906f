#![no_main]
//! See `image` in the library.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nebula_fuzz::image::check(bytes));
