//! See `mcpeg_fuzz::splice`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| mcpeg_fuzz::splice::holds(text));
