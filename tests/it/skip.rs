//! What is skipped here, and why. Each is named at once, past the capture of a test's output, and
//! counted when the tests have ended.

use std::io::{self, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// `skip!("no strace here")` reports what is not tested on this machine, with the name of the test.
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
    let words = with_the_tests_name(words);
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

/// The words after the name of the test that says them, unless they begin with it. The test harness
/// calls a test's thread by the test's name; other threads and programs have no name to add.
fn with_the_tests_name(words: &str) -> String {
    let thread = thread::current();
    let path = thread.name().unwrap_or("");
    match path.rsplit_once("::") {
        Some((_, name)) if !words.starts_with(name) => format!("{path}: {words}"),
        _ => words.to_owned(),
    }
}
