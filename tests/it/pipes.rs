//! A configuration or a secret that is a pipe, such as a shell's `<(...)`: a command waits for the
//! pipe's writer, and a signal ends the wait.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::here::{mkfifo, writer_to};
use crate::lab::Lab;
use crate::process::{signal, status};
use crate::world::{TempDir, World, cis490};

const PATIENCE: Duration = Duration::from_secs(20);

/// A command that is killed, should it not end by itself.
struct Command {
    child: Child,
    words: String,
    log: PathBuf,
}

impl Command {
    fn start(words: &str, config: &Path, dir: &Path) -> Command {
        let log = dir.join("log");
        let file = File::create(&log).unwrap();
        let child = cis490()
            .args(words.split(' '))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Command {
            child,
            words: words.to_owned(),
            log,
        }
    }

    /// The writing end of a pipe that the command has opened, or waits to open.
    fn writer(&mut self, pipe: &Path) -> File {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(writer) = writer_to(pipe) {
                return writer;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?} {self}");
            assert!(Instant::now() < until, "nobody reads: {self}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return ended;
            }
            assert!(Instant::now() < until, "it does not end: {self}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the command reads the pipe, and sends it a signal, which must end it.
    fn ends_by(mut self, name: &str, pipe: &Path) {
        let _writer = self.writer(pipe);
        if name == "INT" && ignores_interrupts(self.child.id()) {
            signal(self.child.id(), "TERM");
        } else {
            signal(self.child.id(), name);
        }
        let ended = self.end();
        let by_signal = [Some(libc::SIGTERM), Some(libc::SIGINT)].contains(&ended.signal());
        // `check` has a thread that waits for the signal, and ends with its own exit status.
        assert!(by_signal || ended.code() == Some(1), "{ended} {self}");
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        write!(f, "{}\n{log}", self.words)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the process was started with SIGINT ignored, as a script starts what it ends with `&`.
fn ignores_interrupts(pid: u32) -> bool {
    let ignored = u64::from_str_radix(&status(pid, "SigIgn:"), 16).unwrap();
    ignored & (1 << (libc::SIGINT - 1)) != 0
}

fn pipe_in(dir: &Path) -> PathBuf {
    let pipe = dir.join("pipe");
    mkfifo(&pipe);
    pipe
}

/// `receive` and `ship` once blocked all signals before they read, and only SIGKILL ended them.
#[test]
fn a_signal_ends_a_command_that_waits_for_its_configuration() {
    let dir = TempDir::new();
    let pipe = pipe_in(dir.path());
    for words in [
        "receive",
        "ship",
        "ship --once",
        "check",
        "status",
        "doctor",
        "requeue --all",
        "resend ep-1",
        "set-aside --commit 0123abc",
        "scrub",
        "backfill",
        "refusals",
        "init",
    ] {
        for name in ["TERM", "INT"] {
            Command::start(words, &pipe, dir.path()).ends_by(name, &pipe);
        }
    }
}

#[test]
fn a_signal_ends_a_command_that_waits_for_a_secret() {
    let dir = TempDir::new();
    let pipe = pipe_in(dir.path());
    let token = format!("token_file = {pipe:?}\n");
    let lab = Lab::with("http://127.0.0.1:1", &token);
    let gate = format!(
        "[version_gate]\nforgejo_url = \"http://127.0.0.1:1\"\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\nauth_token_file = {pipe:?}\n"
    );
    let world = World::prepared(&gate);
    for name in ["TERM", "INT"] {
        for words in ["ship", "ship --once", "doctor"] {
            Command::start(words, &lab.config(), dir.path()).ends_by(name, &pipe);
        }
        let receive = Command::start("receive", Path::new(&world.config_path()), dir.path());
        receive.ends_by(name, &pipe);
    }
}

#[test]
#[cfg(feature = "tls")]
fn a_signal_ends_a_command_that_waits_for_a_certificate() {
    let dir = TempDir::new();
    let pipe = pipe_in(dir.path());
    let certificate = format!("ca_file = {pipe:?}\n");
    let lab = Lab::with("https://127.0.0.1:1", &certificate);
    for words in ["ship", "doctor"] {
        Command::start(words, &lab.config(), dir.path()).ends_by("TERM", &pipe);
    }
}

/// `status` and `doctor` read the configuration twice, and the second time waited for a second writer.
#[test]
fn what_a_pipe_has_given_once_is_enough() {
    let dir = TempDir::new();
    let (config, token) = (dir.path().join("config"), dir.path().join("token"));
    mkfifo(&config);
    mkfifo(&token);
    let lab = Lab::with(
        "http://127.0.0.1:1",
        &format!("token_file = {token:?}\nscan_seconds = 1\n"),
    );
    let text = fs::read(lab.config()).unwrap();
    for (words, needs_token, shown) in [
        ("status", false, "lab-1"),
        ("doctor", true, "cannot reach http://127.0.0.1:1"),
        ("ship --once", true, "0 shipped, 0 refused"),
    ] {
        let mut command = Command::start(words, &config, dir.path());
        command.writer(&config).write_all(&text).unwrap();
        if needs_token {
            command.writer(&token).write_all(b"sesame\n").unwrap();
        }
        command.end();
        assert!(command.to_string().contains(shown), "{command}");
    }
}
