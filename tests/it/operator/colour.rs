//! What a terminal is shown and a pipe is not: colour, a page that is drawn over, a progress bar.

use std::process::Command;

use super::{ended, run};
use crate::client::Put;
use crate::here::has;
use crate::lab::Lab;
use crate::world::{World, cis490};

/// Runs a command on a terminal of its own; what it showed. Needs python3.
fn on_a_terminal(args: &[&str], env: &[(&str, &str)], until: &str) -> Option<String> {
    const SCRIPT: &str = r#"
import os, pty, select, signal, struct, fcntl, termios, sys, time
until, argv = sys.argv[1].encode(), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    # A shell has what it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(argv[0], argv)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
shown, give_up = b"", time.time() + 30
while time.time() < give_up:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    shown += part
    if until and until in shown:
        os.kill(pid, signal.SIGINT)
os.waitpid(pid, 0)
sys.stdout.buffer.write(shown)
"#;
    if !has("what a terminal shows", "python3") {
        return None;
    }
    let program = cis490();
    let output = Command::new("python3")
        .args(["-c", SCRIPT, until])
        .arg(program.get_program())
        .args(program.get_args())
        .args(args)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let (code, out, err) = ended(output);
    assert_eq!(code, 0, "{out}\n{err}");
    Some(out)
}

#[test]
fn colour_is_for_a_terminal_and_no_color_is_obeyed() {
    let lab = Lab::new("http://127.0.0.1:9");
    let config = lab.config().display().to_string();
    let args = ["status", "--config", &config];
    let Some(shown) = on_a_terminal(&args, &[], "") else {
        return;
    };
    assert!(
        shown.contains("\x1b[1;31mthe shipper is not running"),
        "{shown}"
    );
    let plain = on_a_terminal(&args, &[("NO_COLOR", "1")], "").unwrap();
    assert!(
        !plain.contains('\x1b') && plain.contains("the shipper is not running"),
        "{plain}"
    );
    let (_, piped, _) = run(&args);
    assert!(!piped.contains('\x1b'), "{piped}");
    // Watched, the page is drawn over the last one, until Ctrl-C.
    let args = ["status", "--watch", "--config", &config];
    let watched = on_a_terminal(&args, &[], "\x1b[J").unwrap();
    assert!(watched.starts_with("\x1b[2J\x1b[H"), "{watched:?}");
    assert!(watched.contains("\x1b[K"), "{watched:?}");
}

#[test]
fn scrub_draws_its_progress_on_a_terminal_alone() {
    let world = World::new();
    let put = Put::sample(world.repo.head()).body(&[7; 600_000]);
    assert_eq!(world.put(&put).status, 201);
    let args = ["scrub", "--rate", "1M", "--config", &world.config_path()];
    let Some(shown) = on_a_terminal(&args, &[], "") else {
        return;
    };
    assert!(
        shown.contains(" %  ") && shown.contains("/s, ") && shown.contains(" left"),
        "{shown:?}"
    );
    assert!(shown.contains("[####"), "{shown:?}");
    assert!(
        shown.ends_with("1 episode read, 600.0 kB: everything matches the index\r\n"),
        "{shown:?}"
    );
}
