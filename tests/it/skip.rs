//! What is skipped here, and why. Each is named at once, past the capture of a test's output, and
//! counted when the tests have ended.

use std::io::{self, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// `skip!("{test}: no strace here")` names what is not tested on this machine.
macro_rules! skip {
    ($($words:tt)*) => {
        $crate::skip::report(&format!($($words)*))
    };
}

/// Counts what it is sent, a line each, and says how many they were when this process ends.
const COUNTER: &str =
    r#"trap '' INT; n=$(wc -l); echo "skipped: $n in total, each named above" >&2"#;

pub fn report(words: &str) {
    static TALLY: Mutex<Option<ChildStdin>> = Mutex::new(None);
    // eprintln would be captured with the test's other output, and shown only if it fails.
    let _ = writeln!(io::stderr(), "skipped: {words}");
    let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    if tally.is_none() {
        let counter = Command::new("sh")
            .args(["-c", COUNTER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        *tally = counter.ok().and_then(|mut counter| counter.stdin.take());
    }
    if let Some(tally) = tally.as_mut() {
        let _ = tally.write_all(b"\n");
    }
}
