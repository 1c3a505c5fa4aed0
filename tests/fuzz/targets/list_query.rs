//! The query of a list. See `cis490::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cis490::fuzzing::list_query(bytes));
