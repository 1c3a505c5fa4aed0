//! Tarballs: zstd frames, and the tar in them. See `cis490::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The decoder may panic, and its caller answers for that: only what leaves the call is a finding.
fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| cis490::fuzzing::tarball(bytes)
);
