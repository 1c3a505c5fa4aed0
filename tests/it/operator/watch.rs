//! `status --watch` on a terminal: the page fits the pane, `q` ends it, and the terminal is as before, whatever
//! has ended it.

use std::process::Command;

use crate::lab::Lab;
use crate::program::{cis490, is_emulated};

/// Runs the words after the second on a terminal of 30 columns and 6 rows, until its output has the first word
/// twice. Then it presses the key or sends the signal that the second word names. It prints the exit status,
/// whether the terminal's modes were changed meanwhile, whether they are the old ones again, and the output.
const IN_A_PANE: &str = r#"
import fcntl, os, pty, signal, struct, sys, termios
awaited, end, words = sys.argv[1].encode(), sys.argv[2], sys.argv[3:]
ready, go = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.read(ready, 1)
    os.execvp(words[0], words)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 6, 30, 0, 0))
before = termios.tcgetattr(terminal)
os.write(go, b"x")
output = b""
while output.count(awaited) < 2:
    output += os.read(terminal, 65536)
changed = termios.tcgetattr(terminal) != before
if end == "q":
    os.write(terminal, b"xq")
elif end == "ctrl-c":
    os.write(terminal, b"\x03")
else:
    os.kill(pid, signal.SIGTERM)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(status, changed, termios.tcgetattr(terminal) == before)
sys.stdout.flush()
sys.stdout.buffer.write(output)
"#;

/// The first line of the script's answer, and the output; `None` if the test cannot run here.
fn in_a_pane(end: &str, words: &[&str]) -> Option<(String, String)> {
    let python = Command::new("python3").args(["-c", "import pty"]).status();
    if !python.is_ok_and(|status| status.success()) || is_emulated() {
        skip!("status --watch in a pane: it needs python3 and the program as it is");
        return None;
    }
    let output = Command::new("python3")
        .args(["-c", IN_A_PANE, "UTC", end])
        .arg(cis490().get_program())
        .args(words)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, shown) = text
        .split_once('\n')
        .unwrap_or_else(|| panic!("{output:?}"));
    Some((answer.to_owned(), shown.to_owned()))
}

#[test]
fn it_fits_the_pane_and_ends_with_q_and_gives_the_terminal_back() {
    let lab = Lab::new("http://127.0.0.1:9");
    let config = lab.config().display().to_string();
    let words = ["status", "--watch", "--config", &config];
    for (end, want) in [
        ("q", "0 True True"),
        ("ctrl-c", "130 True True"),
        ("term", "130 True True"),
    ] {
        let Some((answer, shown)) = in_a_pane(end, &words) else {
            return;
        };
        assert_eq!(answer, want, "{end}: {shown:?}");
        let first = shown.split("\x1b[H").nth(1).unwrap_or_default();
        let lines: Vec<&str> = first.trim_end_matches("\x1b[J").lines().collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[0].contains("UTC (q ends it)"), "{lines:?}");
        assert!(lines[1].contains("lab-1: nothing is waiting"), "{lines:?}");
        assert!(lines[4].contains("more lines)"), "{lines:?}");
        let plain = lines[1].replace("\x1b[1;31m", "").replace("\x1b[0m", "");
        let plain = plain.trim_end_matches('\r').replace("\x1b[K", "");
        assert_eq!(plain.chars().count(), 30, "{plain:?}");
    }
}
