//! `cis490 install` on a machine of its own with a real systemd: a container that has this machine's
//! /usr and nothing else of it. Both sides run in the sandbox of their units.

mod late;
mod package;
mod services;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::here::is_root;
use crate::process::children;
use crate::world::{TempDir, cis490};

const PATIENCE: Duration = Duration::from_secs(120);

/// A container is given a copy of each mount of its starter, out of its own sight, and has it for as
/// long as it lives: of a disk that another test has mounted now, too, which then could not be let go.
const WITHOUT_DISKS: &str =
    "findmnt -rno TARGET | grep /cis490-it- | tac | xargs -r umount -l; exec systemd-nspawn \"$@\"";

/// A booted container; it is gone with its owner.
struct Machine {
    nspawn: Child,
    /// The container's systemd, by its process number outside.
    leader: u32,
    dir: TempDir,
    /// Containers of one caller share its group of processes: one at a time.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Machine {
    /// The reason, where it cannot be had.
    fn boot(prepare: impl FnOnce(&Path)) -> Result<Machine, String> {
        if std::env::var_os("CIS490_RUNNER").is_some() {
            return Err("the program is not this machine's own".to_owned());
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::new();
        make_root(dir.path());
        prepare(dir.path());
        let log = fs::File::create(dir.path().join("boot.log")).unwrap();
        let mut nspawn = Command::new("unshare")
            .args(["--mount", "sh", "-c", WITHOUT_DISKS, "sh"])
            .args([
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--private-network",
            ])
            .arg(format!("--machine=cis490-it-{}", std::process::id()))
            .args(["--bind-ro=/usr", "--tmpfs=/usr/local", "--directory"])
            .arg(dir.path())
            .args(["--boot", "systemd.unit=basic.target"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("systemd-nspawn: {error}"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            let leader = children(nspawn.id()).first().copied().unwrap_or(0);
            let asked = enter(leader, &["systemctl", "is-active", "basic.target"]);
            if leader != 0 && asked.stdout == b"active\n" {
                return Ok(Machine {
                    nspawn,
                    leader,
                    dir,
                    _alone: alone,
                });
            }
            let ended = nspawn.try_wait().unwrap().is_some();
            if ended || until < Instant::now() {
                let _ = nspawn.kill();
                let _ = nspawn.wait();
                let log = fs::read_to_string(dir.path().join("boot.log")).unwrap_or_default();
                return Err(format!("it does not boot: {log}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs a command in there: whether it ended well, and all that it said.
    fn run(&self, words: &[&str]) -> (bool, String) {
        let output = enter(self.leader, words);
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }

    fn good(&self, words: &[&str]) -> String {
        let (good, text) = self.run(words);
        assert!(good, "{words:?}\n{text}\n{}", self.log());
        text
    }

    fn log(&self) -> String {
        self.run(&[
            "journalctl",
            "--no-pager",
            "-o",
            "short-monotonic",
            "-u",
            "cis490-*",
        ])
        .1
    }

    /// One property of a unit.
    fn show(&self, unit: &str, property: &str) -> String {
        let text = self.good(&["systemctl", "show", "--value", "-p", property, unit]);
        text.trim().to_owned()
    }

    fn wait_until(&self, what: &str, done: impl Fn(&Machine) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < until,
                "waiting until {what}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn curl(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:8490{path}");
        self.run(&["curl", "-s", "--max-time", "5", &url]).1
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its end ends all of the container.
        let _ = Command::new("kill")
            .args(["-9", &self.leader.to_string()])
            .status();
        let _ = self.nspawn.wait();
    }
}

/// The least that systemd boots from.
fn make_root(root: &Path) {
    for dir in [
        "usr", "etc", "var", "run", "tmp", "proc", "sys", "dev", "root", "opt", "mnt",
    ] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    for dir in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{dir}"), root.join(dir)).unwrap();
    }
    for (file, text) in [
        (
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\nlab:x:1000:1000::/opt:/bin/sh\n",
        ),
        ("group", "root:x:0:\nlab:x:1000:\nshadow:x:42:\n"),
        ("shadow", "root:*:19000:0:99999:7:::\n"),
        ("gshadow", ""),
        ("machine-id", "uninitialized\n"),
        ("hostname", "lab-7\n"),
        ("os-release", "ID=cis490-test\n"),
    ] {
        fs::write(root.join("etc").join(file), text).unwrap();
    }
}

fn enter(leader: u32, words: &[&str]) -> Output {
    let mut command = Command::new("nsenter");
    command.args(["--all", "--target", &leader.to_string()]);
    command.args(words).stdin(Stdio::null()).output().unwrap()
}

/// Shorter times than the unit has, since a test cannot wait that long.
fn hurry(root: &Path, unit: &str) {
    let dir = root.join(format!("etc/systemd/system/{unit}.service.d"));
    fs::create_dir_all(&dir).unwrap();
    let text = "[Service]\nRestartSec=1\nWatchdogSec=2\nTimeoutStopSec=5\n";
    fs::write(dir.join("99-test.conf"), text).unwrap();
}

fn machine(test: &str, prepare: impl FnOnce(&Path)) -> Option<Machine> {
    if !is_root(test) {
        return None;
    }
    let machine = Machine::boot(prepare);
    machine.inspect_err(|why| skip!("{test}: {why}")).ok()
}

fn bring_program(root: &Path) {
    let program = cis490().get_program().to_owned();
    fs::copy(program, root.join("opt/copied")).unwrap();
}
