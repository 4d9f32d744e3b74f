//! See `mcpeg_fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| mcpeg_fuzz::message::holds(text));
