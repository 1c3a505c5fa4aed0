//! One receiver in a temporary world of its own: a folder, a git repository that gates it, a
//! process. A failing test prints the tree on disk and the log through `Display`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, Client, PATIENCE, Put};

/// The window that worlds are configured with; their repository has two commits more.
pub const WINDOW: usize = 3;

/// A command that runs the program under test.
pub fn cis490() -> Command {
    let program = std::env::var("CIS490_BIN").unwrap_or(env!("CARGO_BIN_EXE_cis490").to_owned());
    match std::env::var("CIS490_RUNNER") {
        Ok(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// Whether a runner like qemu runs the program: slowly, and without all of the kernel.
pub fn is_emulated() -> bool {
    std::env::var_os("CIS490_RUNNER").is_some()
}

/// Whether the program is a release build, as one that is named by `CIS490_BIN` always is.
pub fn is_release_build() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("CIS490_BIN").is_some()
}

/// Whether the program can be told to crash or fail at a durable step, which a release build has
/// none of. If not, says that the test is skipped.
pub fn has_steps(test: &str) -> bool {
    let has = !is_release_build();
    if !has {
        skip!("{test}: a release build has no durable steps to stop at");
    }
    has
}

/// A free port on an address of this machine that no other test uses, for a server that opens its port
/// by itself: on a shared address somebody else could have the port by then.
pub fn own_address() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = 1 + (std::process::id() % 250) as u8;
    let any = TcpListener::bind((Ipv4Addr::new(127, process, high, low), 0)).unwrap();
    any.local_addr().unwrap()
}

/// A folder that goes away with its owner.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cis490-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A real git repository, whose commits are the same in every run.
pub struct Repo {
    pub dir: PathBuf,
    /// Oldest first.
    pub commits: Vec<String>,
}

impl Repo {
    pub fn new(dir: &Path, commits: usize) -> Repo {
        let made = made_once(commits);
        for (path, bytes) in &made.files {
            let path = dir.join(path);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::create_dir_all(path).unwrap(),
            }
        }
        Repo {
            dir: dir.to_owned(),
            commits: made.commits.clone(),
        }
    }

    /// Makes one more commit; its hash.
    pub fn commit(&mut self) -> String {
        let message = format!("commit {}", self.commits.len());
        self.git(&["commit", "-q", "--allow-empty", "-m", &message]);
        let hash = self.git(&["rev-parse", "HEAD"]).trim().to_owned();
        self.commits.push(hash.clone());
        hash
    }

    /// Runs git in the repository, untouched by whoever runs the test; what it printed.
    pub fn git(&self, args: &[&str]) -> String {
        let output = git_in(&self.dir, args).output().expect("git runs");
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn head(&self) -> &str {
        self.commits.last().unwrap()
    }
}

fn git_in(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(args);
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "lab")
            .env(format!("GIT_{who}_EMAIL"), "lab@localhost")
            .env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
    }
    command
}

/// The files of a repository, by their paths in its folder; a folder has no bytes.
struct Made {
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
    /// Oldest first.
    commits: Vec<String>,
}

/// A repository of so many commits. Git makes it once in a run of the tests, and each world gets a
/// copy: hundreds of git processes and thousands of files took longer than the tests themselves.
fn made_once(commits: usize) -> Arc<Made> {
    static MADE: Mutex<BTreeMap<usize, Arc<Made>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made
        .entry(commits)
        .or_insert_with(|| Arc::new(make(commits)));
    Arc::clone(made)
}

fn make(commits: usize) -> Made {
    let dir = TempDir::new();
    let run = |args: &[&str], input: &str| {
        let mut git = git_in(dir.path(), args);
        git.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut git = git.spawn().expect("git runs");
        git.stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["init", "-q", "-b", "main", "--template="], "");
    let who = "committer lab <lab@localhost> 1767225600 +0000";
    let script = (0..commits).map(|number| {
        let message = format!("commit {number}\n");
        let bytes = message.len();
        format!("commit refs/heads/main\n{who}\ndata {bytes}\n{message}\n")
    });
    let script: String = script.collect();
    run(
        &["-c", "fastimport.unpackLimit=1", "fast-import", "--quiet"],
        &script,
    );
    let log = run(&["rev-list", "--reverse", "main"], "");
    let mut files = Vec::new();
    gather(dir.path(), Path::new(""), &mut files);
    Made {
        files,
        commits: log.lines().map(str::to_owned).collect(),
    }
}

/// Folders come before what is in them.
fn gather(root: &Path, dir: &Path, files: &mut Vec<(PathBuf, Option<Vec<u8>>)>) {
    files.push((dir.to_owned(), None));
    for entry in fs::read_dir(root.join(dir)).unwrap() {
        let entry = entry.unwrap();
        let path = dir.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            gather(root, &path, files);
        } else {
            files.push((path, Some(fs::read(entry.path()).unwrap())));
        }
    }
}

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

    /// Starts the receiver and waits until it listens. Panics if it ends instead.
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
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
        [fields[12], fields[13]]
            .iter()
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum()
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
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
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

    /// Waits until `done` says so.
    pub fn wait_until(&self, what: &str, done: impl Fn(&World) -> bool) {
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
