//! See `mcpeg_fuzz::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| mcpeg_fuzz::names::holds(text));
