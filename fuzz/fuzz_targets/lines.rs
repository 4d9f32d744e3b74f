//! See `mcpeg_fuzz::lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| mcpeg_fuzz::lines::holds(input.0, input.1));
