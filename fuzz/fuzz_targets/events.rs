//! See `mcpeg_fuzz::events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| mcpeg_fuzz::events::holds(input.0, input.1));
