//! One receiver in a temporary world of its own: a folder, a git repository that gates it, a
//! process. A failing test prints the tree on disk and the log through `Display`.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, Client, PATIENCE, Put};
pub use crate::here::{TempDir, own_address};
use crate::process::{self, signal};
pub use crate::program::{cis490, has_steps, is_emulated, is_release_build};
pub use crate::repository::Repo;

/// The window that worlds are configured with; their repository has two commits more.
pub const WINDOW: usize = 3;

/// One receiver and what belongs to it.
pub struct World {
    pub repo: Repo,
    /// The store; usually in `dir`.
    data: PathBuf,
    config: String,
    process: Option<Child>,
    address: Option<SocketAddr>,
    env: Vec<(String, String)>,
    /// The options of a tmpfs that the next process has for its store, seen by itself alone.
    mount: Option<&'static str>,
    /// The command that runs the next process: words before the program's own.
    under: Vec<String>,
    /// The limit on open files that the next processes are given.
    files: Option<u32>,
    // Dropped last: it removes the folder that the rest lives in.
    dir: TempDir,
}

impl World {
    /// A running receiver with default configuration, gated by its repository.
    pub fn new() -> World {
        World::with("")
    }

    /// The same with further configuration, top-level keys first.
    pub fn with(config: &str) -> World {
        let mut world = World::prepared(config);
        world.start();
        world
    }

    /// Everything but the process: the store is made by `init`. In the configuration, `REPOSITORY`
    /// is the path of the world's repository.
    pub fn prepared(config: &str) -> World {
        World::prepared_on(None, config)
    }

    /// The same with the store in a folder of another disk.
    pub fn prepared_on(data: Option<&Path>, config: &str) -> World {
        let dir = TempDir::new();
        let repo = Repo::new(&dir.path().join("repo"), WINDOW + 2);
        let data = data.map_or(dir.path().join("data"), Path::to_owned);
        let mut text = format!("data_dir = {data:?}\nmin_free_bytes = 0\n");
        if !config.contains("listen = ") {
            text += "listen = \"127.0.0.1:0\"\n";
        }
        text += &config.replace("REPOSITORY", repo.dir.to_str().unwrap());
        if !config.contains("[version_gate]") {
            text += "\n[version_gate]\n";
            text += &format!(
                "window = {WINDOW}\nrefresh_seconds = 1\nlocal_repo_path = {:?}\n",
                repo.dir
            );
        }
        fs::write(dir.path().join("receiver.toml"), &text).unwrap();
        let world = World {
            dir,
            repo,
            data,
            config: text,
            process: None,
            address: None,
            env: Vec::new(),
            mount: None,
            under: Vec::new(),
            files: None,
        };
        world.run(&["init", "--config", &world.config_path()]);
        world
    }

    pub fn config_path(&self) -> String {
        self.dir.path().join("receiver.toml").display().to_string()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        let path = self.data.clone();
        match (&self.process, self.mount) {
            (Some(process), Some(_)) => {
                let root = PathBuf::from(format!("/proc/{}/root", process.id()));
                root.join(path.strip_prefix("/").unwrap())
            }
            _ => path,
        }
    }

    /// From the next start on, the store is on a tmpfs with these options, which ends with the process.
    pub fn mount_at_start(&mut self, options: &'static str) {
        self.mount = Some(options);
    }

    /// The next process, and only that, is run by this command, which ends with it.
    pub fn run_under(&mut self, command: Vec<String>) {
        self.under = command;
    }

    /// From the next start on, the process may have so many files open and no more.
    pub fn limit_files(&mut self, most: u32) {
        self.files = Some(most);
    }

    /// The program, in a mount namespace of its own if one is wanted.
    fn receiver(&mut self) -> Command {
        let mut program = cis490();
        let mut under = self.under.drain(..);
        if let Some(first) = under.next() {
            let mut command = Command::new(first);
            command
                .args(under)
                .arg(program.get_program())
                .args(program.get_args());
            return command;
        }
        drop(under);
        if let Some(most) = self.files {
            let mut limited = Command::new("sh");
            limited.args(["-c", &format!("ulimit -n {most} && exec \"$@\""), "sh"]);
            limited.arg(program.get_program()).args(program.get_args());
            program = limited;
        }
        let Some(options) = self.mount else {
            return program;
        };
        // $0 is the program, with its runner if it has one; $@ what it is asked to do.
        let data_dir = &self.data;
        let config = self.config_path();
        let script = format!(
            "mount -t tmpfs -o {options} none {data_dir:?} && $0 init --config {config:?} && exec $0 \"$@\""
        );
        let mut command = Command::new("unshare");
        let words = std::iter::once(program.get_program()).chain(program.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        command.args(["-Umr", "sh", "-c", &script, &words.join(" ")]);
        command
    }

    /// Adds to the configuration's top level; takes effect with the next start.
    pub fn configure(&mut self, top_level: &str) {
        self.config = format!("{top_level}\n{}", self.config);
        fs::write(self.config_path(), &self.config).unwrap();
    }

    /// Adds tables at the end of the configuration; takes effect with the next start.
    pub fn add_tables(&mut self, tables: &str) {
        self.config = format!("{}\n{tables}", self.config);
        fs::write(self.config_path(), &self.config).unwrap();
    }

    /// Changes a part of the configuration; takes effect with the next start.
    pub fn replace_in_config(&mut self, part: &str, by: &str) {
        assert!(self.config.contains(part), "{part}");
        self.config = self.config.replace(part, by);
        fs::write(self.config_path(), &self.config).unwrap();
    }

    /// The environment of the next process only.
    pub fn env(&mut self, name: &str, value: impl fmt::Display) {
        self.env.push((name.to_owned(), value.to_string()));
    }

    /// Runs a command of the program to its end, which must be good; what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = cis490().args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cis490 {args:?}\n{text}\n{errors}");
        text
    }

    /// Starts the receiver and waits until it listens, and until its gate has the repository's window.
    /// Panics if it ends instead.
    pub fn start(&mut self) {
        // The port that it found free may be taken by a client of another test before it listens.
        for _ in 0..3 {
            let env = self.env.clone();
            if self.try_start() || !self.log().contains("cannot listen") {
                break;
            }
            self.env = env;
        }
        assert!(
            self.process.is_some(),
            "the receiver ended at start\n{self}"
        );
        if self.config.contains("local_repo_path") && !self.config.contains("nonexistent") {
            self.wait_until("the gate has its window", |world| {
                world.get("/v1/gate").json()["loaded"] == true
            });
        }
    }

    /// False if the process ended before it listened.
    pub fn try_start(&mut self) -> bool {
        // One log a process: what is waited for below must not be an earlier one's line.
        let log = fs::File::create(self.log_path()).unwrap();
        let mut child = self
            .receiver()
            .args(["receive", "--config", &self.config_path()])
            .envs(self.env.drain(..))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        self.address = None;
        loop {
            let log = self.log();
            let address = log.split("event=listening address=").nth(1);
            if let Some(address) = address.and_then(|rest| rest.split_once(' ')) {
                self.address = Some(address.0.parse().unwrap());
                self.process = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(
                Instant::now() < until,
                "the receiver does not listen\n{self}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        self.address.expect("the receiver was started")
    }

    pub fn pid(&self) -> u32 {
        self.process
            .as_ref()
            .expect("the receiver was started")
            .id()
    }

    /// User and system time of the process, in clock ticks (of 10 ms, as a rule).
    pub fn cpu_ticks(&self) -> u64 {
        process::cpu_ticks(self.pid())
    }

    /// A field of the process in /proc/PID/status that is in kB, such as `VmHWM:`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        process::count(self.pid(), field)
    }

    /// How many descriptors the process has open.
    pub fn open_files(&self) -> usize {
        process::open_files(self.pid())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal by its name, without waiting for what comes of it.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGTERM, and the exit status it ends with; `None` after a signal.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait_for_end()
    }

    /// Whether the process ends by itself in this time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let process = self.process.as_mut().expect("the receiver was started");
        let until = Instant::now() + time;
        while process.try_wait().unwrap().is_none() {
            if until < Instant::now() {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("the receiver was started");
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "the receiver does not end\n{self}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A good upload, of the newest commit.
    pub fn good(&self) -> Put {
        Put::sample(self.repo.head())
    }

    /// A commit that is no longer in the window.
    pub fn too_old(&self) -> &str {
        &self.repo.commits[0]
    }

    /// Sends an upload on a connection of its own; its answer.
    pub fn put(&self, put: &Put) -> Answer {
        self.try_put(put)
            .unwrap_or_else(|| panic!("no answer\n{self}"))
    }

    pub fn try_put(&self, put: &Put) -> Option<Answer> {
        let mut client = self.client();
        let _ = client.send(&put.bytes());
        client.answer()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> Answer {
        let mut client = self.client();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: pi\r\n\r\n");
        client.send(request.as_bytes()).unwrap();
        client
            .answer_to(method)
            .unwrap_or_else(|| panic!("no answer\n{self}"))
    }

    /// The rows of the index, each a JSON object.
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.data_dir().join("index.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The bytes stored for an episode.
    pub fn stored(&self, host: &str, episode: &str) -> Option<Vec<u8>> {
        let name = format!("{episode}.tar.zst");
        fs::read(self.data_dir().join("episodes").join(host).join(name)).ok()
    }

    /// The names in a folder of the store, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.data_dir().join(folder))
            .into_iter()
            .flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Waits until `done` is true.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&World) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < until, "waiting until {what}\n{self}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--- files")?;
        show_tree(f, &self.data_dir())?;
        writeln!(f, "--- log\n{}", self.log())
    }
}

fn show_tree(f: &mut fmt::Formatter<'_>, dir: &Path) -> fmt::Result {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let bytes = path.symlink_metadata().map_or(0, |meta| meta.len());
        writeln!(f, "{} {bytes}", path.display())?;
        if path.is_dir() {
            show_tree(f, &path)?;
        }
    }
    Ok(())
}
