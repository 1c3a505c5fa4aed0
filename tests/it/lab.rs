//! A lab host in a temporary folder: the built program, real folders, its shipper as a process.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use crate::dice;
use crate::process::signal;
use crate::world::{TempDir, cis490};

/// A lab host: a root, a configuration.
pub struct Lab {
    dir: TempDir,
}

/// How a command ended.
pub struct Ended {
    /// -1 after a signal.
    pub code: i32,
    pub out: String,
    pub log: String,
}

impl Ended {
    pub fn count(&self, words: &str) -> usize {
        self.log.matches(words).count()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n{}\n{}", self.code, self.out, self.log)
    }
}

impl Lab {
    pub fn new(url: &str) -> Lab {
        Lab::with(url, "")
    }

    /// With further configuration.
    pub fn with(url: &str, config: &str) -> Lab {
        Lab::of_host("lab-1", url, config)
    }

    /// One of several.
    pub fn of_host(host: &str, url: &str, config: &str) -> Lab {
        let lab = Lab {
            dir: TempDir::new(),
        };
        let text = format!(
            "receiver_url = {url:?}\nhost_id = {host:?}\nroot = {:?}\n{config}\n",
            lab.root()
        );
        fs::write(lab.config(), text).unwrap();
        let made = lab.run(&["init"], &[]);
        assert_eq!(made.code, 0, "{made}");
        lab
    }

    /// From now on the lab host's receiver is another.
    pub fn point_at(&self, url: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        let line = text.lines().next().unwrap().to_owned();
        fs::write(
            self.config(),
            text.replace(&line, &format!("receiver_url = {url:?}")),
        )
        .unwrap();
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("shipper.toml")
    }

    /// Beside the root.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A finished episode, made as a recorder does: `meta.json` last, by rename.
    pub fn episode(&self, id: &str, commit: &str) {
        self.episode_with(id, commit, &format!("data of {id}").into_bytes());
    }

    pub fn episode_with(&self, id: &str, commit: &str, data: &[u8]) {
        let dir = self.path("episodes").join(id);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("data.bin"), data).unwrap();
        let meta =
            format!(r#"{{"code_version":{{"commit":"{commit}","dirty":true}},"id":"{id}"}}"#);
        fs::write(dir.join(".meta.json"), meta).unwrap();
        fs::rename(dir.join(".meta.json"), dir.join("meta.json")).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = cis490();
        command
            .args(args)
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Ended {
        let child = self
            .command(args)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs the program with these words and no other.
    pub fn run_as_is(&self, words: &[&str]) -> Ended {
        let output = cis490().args(words).stdin(Stdio::null()).output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that may have so many files open and no more.
    pub fn run_with_files(&self, most: u32, args: &[&str]) -> Ended {
        let program = self.command(args);
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {most} && exec \"$@\""), "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn ship_once(&self) -> Ended {
        self.run(&["ship", "--once"], &[])
    }

    /// Ships until it is stopped.
    pub fn ship(&self) -> Shipper<'_> {
        self.ship_with(&[])
    }

    pub fn ship_with(&self, env: &[(&str, &str)]) -> Shipper<'_> {
        let log = self.dir.path().join("log");
        let child = self
            .command(&["ship"])
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Shipper {
            child,
            log,
            lab: self,
        }
    }

    /// What lies in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn json(&self, path: &str) -> serde_json::Value {
        let text =
            fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}\n{self}"));
        serde_json::from_str(&text).unwrap()
    }

    pub fn status(&self) -> serde_json::Value {
        let ended = self.run(&["status", "--json"], &[]);
        assert_eq!(ended.code, 0, "{ended}");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Everything shipped, nothing left over.
    pub fn assert_all_shipped(&self, ids: &[&str]) {
        let want: Vec<String> = ids
            .iter()
            .flat_map(|id| [(*id).to_owned(), format!("{id}.receipt.json")])
            .collect();
        assert_eq!(self.names("shipped"), want, "{self}");
        for folder in ["episodes", "outbox", "refused"] {
            assert_eq!(self.names(folder), [""; 0], "{folder}\n{self}");
        }
    }
}

impl fmt::Display for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for folder in ["episodes", "outbox", "shipped", "refused"] {
            writeln!(f, "{folder}/ {:?}", self.names(folder))?;
        }
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        write!(f, "{log}")
    }
}

/// A running shipper, killed when it is dropped.
pub struct Shipper<'a> {
    child: Child,
    log: PathBuf,
    lab: &'a Lab,
}

impl Shipper<'_> {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        wait_until(what, done, self.lab);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGTERM, and its exit status.
    pub fn stop(mut self) -> i32 {
        self.signal("TERM");
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end\n{}", self.lab);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Shipper<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait_until(what: &str, done: impl Fn() -> bool, world: &impl fmt::Display) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waiting until {what}\n{world}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes that do not compress, the same in every run.
pub fn noise(bytes: usize) -> Vec<u8> {
    dice::noise(490, bytes)
}
