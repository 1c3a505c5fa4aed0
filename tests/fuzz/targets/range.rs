//! The size of an episode, and a `Range` header. See `cis490::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cis490::fuzzing::range(bytes));
