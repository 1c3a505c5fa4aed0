//! `receive` and `ship` run by hand: they end with their terminal, and a second one names the first.
//! As a service SIGHUP means something else, which other tests see.

use std::cell::OnceCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::here::{mkfifo, writer_to};
use crate::lab::{Lab, wait_until};
use crate::process::signal;
use crate::world::{TempDir, World, cis490, is_emulated};

/// Runs the words after the first on a terminal of their own, says their process, and closes the
/// terminal at the end of its input; then says the exit status.
const ON_TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
print(pid, flush=True)
sys.stdin.read()
os.close(terminal)
status = os.waitpid(pid, 0)[1]
print(os.waitstatus_to_exitcode(status), flush=True)
";

struct Terminal {
    python: Child,
    pid: u32,
    answers: BufReader<std::process::ChildStdout>,
}

impl Terminal {
    fn run(log: &Path, command: &[&str]) -> Terminal {
        let mut python = Command::new("python3")
            .args(["-c", ON_TERMINAL])
            .arg(log)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(python.stdout.take().unwrap());
        let mut pid = String::new();
        answers.read_line(&mut pid).unwrap();
        Terminal {
            python,
            pid: pid.trim().parse().unwrap(),
            answers,
        }
    }

    fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Closes the terminal; the exit status of the command.
    fn close(mut self) -> i32 {
        drop(self.python.stdin.take());
        let mut code = String::new();
        self.answers.read_line(&mut code).unwrap();
        code.trim().parse().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-9", &self.pid.to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}

/// Whether a test can run here.
fn has_terminals(test: &str) -> bool {
    let python = Command::new("python3").args(["-c", "import pty"]).status();
    if python.is_ok_and(|status| status.success()) && !is_emulated() {
        return true;
    }
    skip!("{test}: it needs python3 and the program as it is");
    false
}

fn program() -> String {
    cis490().get_program().to_str().unwrap().to_owned()
}

#[test]
fn a_shipper_by_hand_ends_with_its_terminal() {
    if !has_terminals("a_shipper_by_hand_ends_with_its_terminal") {
        return;
    }
    let lab = Lab::new("http://127.0.0.1:1");
    let (log, config) = (lab.dir().join("log"), lab.config());
    let program = program();
    let ship = [&program, "ship", "--config", config.to_str().unwrap()];
    let terminal = Terminal::run(&log, &ship);
    let lines = |words: &str| {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.matches(words).count()
    };
    wait_until("it runs", || lines("event=shipper_started") == 1, &lab);

    // The second one names the first, and says how to end it: no service is meant.
    let second = lab.run(&["ship", "--once"], &[]);
    assert_eq!(second.code, 1, "{second}");
    let pid = terminal.pid;
    let named = format!("is at work in {}: process {pid}, ", lab.root().display());
    assert!(second.log.contains(&named), "{second}");
    assert!(second.log.contains(" ship --config "), "{second}");
    assert!(second.log.contains(&format!("kill {pid}")), "{second}");
    assert!(!second.log.contains("systemctl"), "{second}");

    // On a terminal that stays, SIGHUP asks it to try again, as it asks the service.
    terminal.signal("HUP");
    wait_until(
        "it looks again",
        || lines("event=shipper_reloading") == 1,
        &lab,
    );
    let begun = Instant::now();
    assert_eq!(terminal.close(), 0, "{lab}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{lab}");
    assert_eq!(lines("event=shipper_stopped"), 1, "{lab}");
}

#[test]
fn a_receiver_by_hand_ends_with_its_terminal() {
    if !has_terminals("a_receiver_by_hand_ends_with_its_terminal") {
        return;
    }
    let world = World::prepared("");
    let log = world.dir().join("terminal-log");
    let (program, config) = (program(), world.config_path());
    let receive = [&program, "receive", "--config", &config];
    let terminal = Terminal::run(&log, &receive);
    let has = |words: &str| fs::read_to_string(&log).unwrap_or_default().contains(words);
    wait_until("it runs", || has("event=listening"), &world);
    let second = cis490().args(&receive[1..]).output().unwrap();
    let words = String::from_utf8_lossy(&second.stderr);
    let named = format!(": process {}, ", terminal.pid);
    assert!(
        words.contains(&named) && words.contains(" receive "),
        "{words}"
    );
    assert_eq!(terminal.close(), 0, "{}", fs::read_to_string(&log).unwrap());
    assert!(
        has("event=stopped"),
        "{}",
        fs::read_to_string(&log).unwrap()
    );
}

/// With its terminal goes also a shipper that waits for its configuration at a pipe.
#[test]
fn a_shipper_that_waits_at_a_pipe_ends_with_its_terminal() {
    if !has_terminals("a_shipper_that_waits_at_a_pipe_ends_with_its_terminal") {
        return;
    }
    let folder = TempDir::new();
    let (log, pipe) = (folder.path().join("log"), folder.path().join("pipe"));
    mkfifo(&pipe);
    let program = program();
    let ship = [&program, "ship", "--config", pipe.to_str().unwrap()];
    let terminal = Terminal::run(&log, &ship);
    let writer = OnceCell::new();
    let reads = || {
        let opened = writer_to(&pipe).map(|file| writer.set(file));
        opened.is_some()
    };
    wait_until("it reads", reads, &log.display());
    let closing = std::thread::spawn(move || terminal.close());
    wait_until("it ends", || closing.is_finished(), &log.display());
    assert_eq!(closing.join().unwrap(), -libc::SIGHUP);
}

/// A person who writes `nohup` means the shipper to outlive the terminal.
#[test]
fn nohup_keeps_a_shipper_running_without_its_terminal() {
    if !has_terminals("nohup_keeps_a_shipper_running_without_its_terminal") {
        return;
    }
    let lab = Lab::new("http://127.0.0.1:1");
    let folder = TempDir::new();
    let (log, config) = (folder.path().join("log"), lab.config());
    let program = program();
    let config = config.to_str().unwrap();
    let terminal = Terminal::run(&log, &["nohup", &program, "ship", "--config", config]);
    let lines = |words: &str| {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.matches(words).count()
    };
    wait_until("it runs", || lines("event=shipper_started") == 1, &lab);
    let pid = terminal.pid;
    let hung_up = std::thread::spawn(move || terminal.close());
    wait_until(
        "it hears the hang-up",
        || lines("event=shipper_reloading") == 1,
        &lab,
    );
    signal(pid, "TERM");
    assert_eq!(hung_up.join().unwrap(), 0, "{lab}");
}
