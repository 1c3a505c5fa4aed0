//! The compressor: its frames are decoded to what was compressed. See `cis490::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cis490::fuzzing::compressor(bytes));
