//! `cis490 install` on a machine of its own with a real systemd: a container that has this machine's
//! /usr and nothing else of it. Both sides run in the sandbox of their units.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{Repo, TempDir, cis490};

const PATIENCE: Duration = Duration::from_secs(120);

/// A booted container; it is gone with its owner.
struct Machine {
    nspawn: Child,
    /// systemd in there, by its number out here.
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
        let mut nspawn = Command::new("systemd-nspawn")
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

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn enter(leader: u32, words: &[&str]) -> Output {
    let mut command = Command::new("nsenter");
    command.args(["--all", "--target", &leader.to_string()]);
    command.args(words).stdin(Stdio::null()).output().unwrap()
}

/// Settings that a test has no time for otherwise.
fn hurry(root: &Path, unit: &str) {
    let dir = root.join(format!("etc/systemd/system/{unit}.service.d"));
    fs::create_dir_all(&dir).unwrap();
    let text = "[Service]\nRestartSec=1\nWatchdogSec=2\nTimeoutStopSec=5\n";
    fs::write(dir.join("99-test.conf"), text).unwrap();
}

fn machine(test: &str, prepare: impl FnOnce(&Path)) -> Option<Machine> {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let machine = match is_root {
        true => Machine::boot(prepare),
        false => Err("needs root".to_owned()),
    };
    machine.inspect_err(|why| skip!("{test}: {why}")).ok()
}

fn bring_program(root: &Path) {
    let program = cis490().get_program().to_owned();
    fs::copy(program, root.join("opt/copied")).unwrap();
}

const NAME: &str = "a_copied_file_becomes_two_services_that_ship_heal_and_leave";

#[test]
fn a_copied_file_becomes_two_services_that_ship_heal_and_leave() {
    let mut head = String::new();
    let machine = machine(NAME, |root| {
        bring_program(root);
        // The fallback's repository is another user's, as a lab's checkout is.
        let repo = Repo::new(&root.join("opt/cis490"), 3);
        head = repo.head().to_owned();
        let given = Command::new("chown")
            .args(["-R", "1000:1000"])
            .arg(&repo.dir)
            .status();
        assert!(given.unwrap().success());
        hurry(root, "cis490-receiver");
        hurry(root, "cis490-shipper");
    });
    let Some(machine) = machine else { return };
    let receiver = "cis490-receiver";

    // One command, and it answers; git works in the sandbox.
    let planned = machine.good(&["/opt/copied", "install", "receiver", "--dry-run"]);
    assert!(
        planned.contains("would make  systemctl start cis490-receiver"),
        "{planned}"
    );
    let has_program = |machine: &Machine| machine.run(&["test", "-x", "/usr/local/bin/cis490"]).0;
    assert!(!has_program(&machine));
    let out = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(
        out.contains("The receiver answers on 127.0.0.1:8490 and accepts uploads."),
        "{out}"
    );
    let gate = machine.curl("/v1/gate");
    assert!(
        gate.contains(r#""source":"git""#) && gate.contains(&head),
        "{gate}"
    );
    // It tells so in time; what it told first may be older than its window.
    machine.wait_until("it tells that it takes uploads", |machine| {
        let told = machine.show(receiver, "StatusText");
        told.contains("accepts uploads on 0.0.0.0:8490")
    });
    assert_eq!(machine.show(receiver, "UnitFileState"), "enabled");

    // Twice is as once, and the service runs on.
    let pid = machine.show(receiver, "MainPID");
    let again = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(!again.contains("made "), "{again}");
    assert_eq!(machine.show(receiver, "MainPID"), pid);

    // What root has left in its folder is handed over while it is stopped, and it runs again.
    let left = "/var/lib/cis490/quarantine/left";
    machine.good(&["touch", left]);
    let again = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(again.contains("systemctl stop cis490-receiver"), "{again}");
    assert!(again.contains("systemctl start cis490-receiver"), "{again}");
    assert_eq!(machine.good(&["stat", "-c", "%U", left]), "cis490\n");
    assert_ne!(machine.show(receiver, "MainPID"), pid);

    // The lab host's side, here too, with a folder of its own and a token.
    let made = machine.good(&["/opt/copied", "token", "lab-7"]);
    let mut lines = made.lines();
    let token = lines.nth(1).unwrap().to_owned();
    let rule = made.split_once("[[host]]").unwrap().1;
    let config = fs::read_to_string(machine.at("etc/cis490/receiver.toml")).unwrap();
    fs::write(
        machine.at("etc/cis490/receiver.toml"),
        format!("{config}\n[[host]]{rule}"),
    )
    .unwrap();
    fs::write(machine.at("opt/token"), &token).unwrap();
    machine.good(&["systemctl", "restart", receiver]);
    let shipper_toml = "receiver_url = \"http://127.0.0.1:8490\"\nhost_id = \"lab-7\"\nroot = \"/mnt/queue\"\ntoken_file = \"cis490-token\"\nscan_seconds = 1\n";
    fs::write(machine.at("etc/cis490/shipper.toml"), shipper_toml).unwrap();
    let (good, said) = machine.run(&["/opt/copied", "install", "shipper"]);
    assert!(!good && said.contains("is its disk mounted?"), "{said}");
    machine.good(&[
        "/opt/copied",
        "init",
        "--config",
        "/etc/cis490/shipper.toml",
    ]);
    let out = machine.good(&[
        "/opt/copied",
        "install",
        "shipper",
        "--token-file",
        "/opt/token",
    ]);
    assert!(
        out.contains("the receiver at http://127.0.0.1:8490 answers"),
        "{out}"
    );
    assert!(!out.contains(&token), "{out}");

    // An episode travels, out of one sandbox into the other.
    let episode = machine.at("mnt/queue/episodes/ep-1");
    fs::create_dir(&episode).unwrap();
    fs::write(episode.join("data.bin"), "recorded").unwrap();
    let meta = format!(r#"{{"code_version":{{"commit":"{head}","dirty":false}}}}"#);
    fs::write(episode.join("meta.json"), meta).unwrap();
    let given = machine.good(&["chown", "-R", "cis490:cis490", "/mnt/queue/episodes/ep-1"]);
    assert_eq!(given, "");
    machine.wait_until("it is shipped", |machine| {
        machine.at("mnt/queue/shipped/ep-1.receipt.json").exists()
    });
    assert!(
        machine
            .at("var/lib/cis490/episodes/lab-7/ep-1.tar.zst")
            .exists()
    );

    // What took its body gives way to what answers, in the sandbox too.
    let pid = machine.show(receiver, "MainPID");
    let tasks = machine.good(&["sh", "-c", &format!("cat /proc/{pid}/task/*/stat")]);
    let nice = |line: &str| {
        let fields = line.rsplit_once(") ")?.1;
        fields.split(' ').nth(16).map(str::to_owned)
    };
    let is_body = |line: &&str| line.contains("(body)");
    let bodies: Vec<_> = tasks.lines().filter(is_body).map(nice).collect();
    assert!(!bodies.is_empty(), "{tasks}");
    assert!(
        bodies.iter().all(|nice| nice.as_deref() == Some("5")),
        "{tasks}"
    );

    // Killed, it comes back; stuck, it is killed by the watchdog, and comes back.
    let pid = machine.show(receiver, "MainPID");
    machine.good(&["kill", "-9", &pid]);
    let is_new = |machine: &Machine, old: &str| {
        let pid = machine.show(receiver, "MainPID");
        pid != "0" && pid != old && machine.show(receiver, "ActiveState") == "active"
    };
    machine.wait_until("it is back", |machine| is_new(machine, &pid));
    let pid = machine.show(receiver, "MainPID");
    machine.good(&["kill", "-STOP", &pid]);
    machine.wait_until("the watchdog has ended it", |machine| is_new(machine, &pid));
    assert!(
        machine.log().contains("Watchdog timeout"),
        "{}",
        machine.log()
    );

    // What is left when both are gone.
    machine.good(&["/opt/copied", "uninstall", "shipper"]);
    assert!(has_program(&machine), "the other side needs it");
    let out = machine.good(&["/opt/copied", "uninstall", "receiver"]);
    assert!(out.contains("/var/lib/cis490"), "{out}");
    assert!(!has_program(&machine));
    assert!(!machine.run(&["systemctl", "cat", receiver]).0);
    assert!(
        machine
            .at("var/lib/cis490/episodes/lab-7/ep-1.tar.zst")
            .exists()
    );
}

const LATE: &str = "a_disk_that_comes_late_or_again_has_its_service_with_it";

#[test]
fn a_disk_that_comes_late_or_again_has_its_service_with_it() {
    let machine = machine(LATE, |root| {
        bring_program(root);
        fs::create_dir_all(root.join("opt/disk")).unwrap();
        fs::create_dir_all(root.join("mnt/a disk-1")).unwrap();
        // As from fstab, which systemd does not read for a container's disks.
        let units = root.join("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        let unit = "[Mount]\nWhat=/opt/absent.img\nWhere=/mnt/a disk-1\nOptions=loop\n";
        fs::write(units.join("mnt-a\\x20disk\\x2d1.mount"), unit).unwrap();
        fs::create_dir(root.join("etc/cis490")).unwrap();
        let config = "data_dir = \"/mnt/a disk-1/store\"\n[version_gate]\nenabled = false\n";
        fs::write(root.join("etc/cis490/receiver.toml"), config).unwrap();
        hurry(root, "cis490-receiver");
    });
    let Some(machine) = machine else { return };
    let receiver = "cis490-receiver";
    let mount = ["mount", "--bind", "/opt/disk", "/mnt/a disk-1"];
    let state = |machine: &Machine| machine.show(receiver, "ActiveState");

    machine.good(&mount);
    let config = "/etc/cis490/receiver.toml";
    machine.good(&["/opt/copied", "init", "--config", config]);
    machine.good(&["/opt/copied", "install", "receiver"]);
    assert_eq!(state(&machine), "active");

    // Without its disk it is not started, and nothing tries in a circle.
    machine.good(&["systemctl", "stop", receiver]);
    machine.good(&["umount", "/mnt/a disk-1"]);
    let disk = "mnt-a\\x20disk\\x2d1.mount";
    let disk_is = |wanted| move |machine: &Machine| machine.show(disk, "ActiveState") == wanted;
    machine.wait_until("systemd misses the disk", disk_is("inactive"));
    let (good, said) = machine.run(&["systemctl", "start", receiver]);
    assert!(!good && said.contains("dependency"), "{said}");
    assert_eq!(state(&machine), "inactive");

    // The disk comes, by whatever hand.
    machine.good(&mount);
    machine.wait_until("its disk has it started", |machine| {
        state(machine) == "active"
    });

    // Switched off it is not started by the disk.
    machine.good(&["systemctl", "disable", "--now", receiver]);
    machine.good(&["umount", "/mnt/a disk-1"]);
    machine.wait_until("systemd misses the disk", disk_is("inactive"));
    machine.good(&mount);
    machine.wait_until("systemd has seen the disk", disk_is("active"));
    machine.wait_until("systemd has nothing to do", |machine| {
        machine
            .good(&["systemctl", "list-jobs"])
            .contains("No jobs")
    });
    assert_eq!(state(&machine), "inactive");
}

const ADDRESS: &str = "an_address_that_comes_late_is_waited_for";

#[test]
fn an_address_that_comes_late_is_waited_for() {
    let machine = machine(ADDRESS, |root| {
        bring_program(root);
        fs::create_dir(root.join("etc/cis490")).unwrap();
        let config = "listen = \"10.8.0.1:8490\"\ndata_dir = \"/var/lib/cis490\"\n[version_gate]\nenabled = false\n";
        fs::write(root.join("etc/cis490/receiver.toml"), config).unwrap();
        hurry(root, "cis490-receiver");
    });
    let Some(machine) = machine else { return };
    if !machine.run(&["ip", "-V"]).0 {
        skip!("{ADDRESS}: needs ip (iproute2)");
        return;
    }
    let receiver = "cis490-receiver";
    let config = "/etc/cis490/receiver.toml";
    machine.good(&["/opt/copied", "init", "--config", config]);
    let (good, said) = machine.run(&["/opt/copied", "install", "receiver"]);
    let why = "this machine has no such address, or not yet (is WireGuard up?)";
    assert!(!good && said.contains(why), "{said}");
    // Tried again and again, with a rest between.
    machine.wait_until("it was tried again", |machine| {
        machine.show(receiver, "NRestarts").parse::<u32>().unwrap() >= 2
    });
    machine.good(&["ip", "address", "add", "10.8.0.1/32", "dev", "lo"]);
    machine.wait_until("it listens", |machine| {
        let told = machine.show(receiver, "StatusText");
        machine.show(receiver, "ActiveState") == "active"
            && told.contains("accepts uploads on 10.8.0.1:8490")
    });
    let again = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(
        again.contains("The receiver answers on 10.8.0.1:8490"),
        "{again}"
    );
}
