//! The contestants: this program, nginx with DAV, restic's rest-server, and a sink. Each round starts
//! them anew on a fresh folder. After a round their large files are truncated, and removed only at the
//! end: ext4 is slower while it steps over inodes that were freed in the last minutes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Body, Connection};
use crate::process::{self, Usage};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ours,
    RestServer,
    Nginx,
    Sink,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "cis490",
            Kind::RestServer => "rest-server",
            Kind::Nginx => "nginx",
            Kind::Sink => "sink",
        }
    }

    /// The head of the request that uploads a body.
    pub fn put_head(self, number: usize, body: &Body) -> String {
        let Body { bytes, sha256, .. } = body;
        let length = format!("Host: pi\r\nContent-Length: {bytes}\r\n");
        match self {
            Kind::Ours => format!(
                "PUT /v1/episodes/lab-1/ep-{number} HTTP/1.1\r\n{length}X-Cis490-Sha256: {sha256}\r\nX-Cis490-Code-Commit: {}\r\n\r\n",
                COMMIT
            ),
            Kind::RestServer => {
                format!("POST /data/{sha256} HTTP/1.1\r\n{length}\r\n")
            }
            Kind::Nginx | Kind::Sink => format!("PUT /d/ep-{number} HTTP/1.1\r\n{length}\r\n"),
        }
    }

    /// A path whose answer shows that the server is alive.
    pub fn health_path(self) -> &'static str {
        match self {
            Kind::Ours => "/v1/health",
            Kind::Nginx => "/health",
            Kind::RestServer | Kind::Sink => "/config",
        }
    }

    fn program(self) -> Option<PathBuf> {
        let found = match self {
            Kind::Ours => our_program(),
            Kind::Sink => std::env::current_exe().ok()?,
            Kind::Nginx => in_path("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")))?,
            Kind::RestServer => {
                let fetched = "bench/peers/rest-server/usr/bin/restic-rest-server";
                let fetched = target_dir().join(fetched);
                if fetched.is_file() {
                    fetched
                } else {
                    in_path("restic-rest-server").or_else(|| in_path("rest-server"))?
                }
            }
        };
        found.is_file().then_some(found)
    }

    pub fn is_installed(self) -> bool {
        self.program().is_some()
    }

    /// The first line that the program prints of its version.
    pub fn version(self) -> String {
        let Some(program) = self.program() else {
            return "missing".to_owned();
        };
        let flag = if self == Kind::Nginx {
            "-v"
        } else {
            "--version"
        };
        let Ok(output) = Command::new(program).arg(flag).output() else {
            return String::new();
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().next().unwrap_or("").to_owned()
    }
}

/// The program that cargo built for this run, or another build that `CIS490_BIN` names.
pub fn our_program() -> PathBuf {
    let named = std::env::var_os("CIS490_BIN").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_cis490")))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

pub fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    named.unwrap_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
}

/// The newest commit that our receiver's gate knows.
pub const COMMIT: &str = "4904904904904904904904904904904904904904";

/// A server that answers.
pub struct Running {
    pub kind: Kind,
    pub address: SocketAddr,
    /// From exec to the first answer.
    pub started_in: Duration,
    child: Child,
    dir: PathBuf,
}

impl Running {
    pub fn start(kind: Kind, dir: PathBuf) -> Running {
        Running::start_at(kind, dir, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at an address of the calling thread's network.
    pub fn start_at(kind: Kind, dir: PathBuf, ip: IpAddr) -> Running {
        let (address, command) = prepare(kind, &dir, ip);
        Running::start_command(kind, dir, address, command)
    }

    /// This program, in a folder that [`prepare_ours`] has prepared.
    pub fn start_prepared(dir: PathBuf, address: SocketAddr) -> Running {
        Running::start_prepared_as(&our_program(), dir, address)
    }

    /// The same by another build of this program.
    pub fn start_prepared_as(program: &Path, dir: PathBuf, address: SocketAddr) -> Running {
        let command = ours(program, &dir);
        Running::start_command(Kind::Ours, dir, Some(address), command)
    }

    fn start_command(
        kind: Kind,
        dir: PathBuf,
        address: Option<SocketAddr>,
        mut command: Command,
    ) -> Running {
        let began = Instant::now();
        let mut child = command.spawn().expect("the server starts");
        let address = match address {
            Some(address) => address,
            None => {
                let mut line = String::new();
                let stdout = child.stdout.take().expect("the sink's stdout is a pipe");
                let _ = BufReader::new(stdout).read_line(&mut line);
                line.trim().parse().expect("an address")
            }
        };
        loop {
            let connection = Connection::open(address);
            match connection.and_then(|mut connection| connection.get(kind.health_path())) {
                Ok(status) if kind != Kind::Ours || status == 200 => break,
                _ if began.elapsed() > PATIENCE => panic!("{} does not answer", kind.name()),
                _ => thread::sleep(Duration::from_micros(200)),
            }
        }
        Running {
            kind,
            address,
            started_in: began.elapsed(),
            child,
            dir,
        }
    }

    /// Its folder, in which its store is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn usage(&self) -> Usage {
        process::usage_of_tree(self.child.id())
    }

    pub fn cpu_ns(&self) -> u64 {
        process::cpu_ns(self.child.id())
    }

    /// Syncs the whole filesystem in one call: what nginx leaves out, at the least that it could cost.
    pub fn sync_all(&self) -> Duration {
        let began = Instant::now();
        let synced = Command::new("sync").arg("-f").arg(&self.dir).status();
        assert!(synced.is_ok_and(|status| status.success()), "sync -f");
        began.elapsed()
    }

    /// Ends the server, and frees its disk space without freeing inodes.
    pub fn stop(mut self) {
        process::terminate(self.child.id());
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > until {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(1));
        }
        let large = |path: &Path| path.metadata().is_ok_and(|found| found.len() >= 1 << 16);
        each_file(&self.dir, &mut |path| {
            if large(path) && path.is_file() {
                let _ = File::options()
                    .write(true)
                    .open(path)
                    .and_then(|file| file.set_len(0));
            }
        });
        // Otherwise the kernel would write the rest of this round during the next one.
        self.sync_all();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            process::terminate(self.child.id());
            let _ = self.child.wait();
        }
    }
}

/// Visits the files of a folder, then the folder.
pub fn each_file(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_file(&entry.path(), visit);
        } else {
            visit(&entry.path());
        }
    }
    visit(dir);
}

fn command_of(kind: Kind, dir: &Path) -> Command {
    let program = kind.program().expect("only installed programs are started");
    command_in(&program, dir)
}

fn command_in(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(dir.join("log")).expect("a log"));
    command
}

fn ours(program: &Path, dir: &Path) -> Command {
    let mut command = command_in(program, dir);
    let config = dir.join("receiver.toml");
    command.args(["receive", "--config"]).arg(config);
    command
}

/// The command, and its address; `None` if the server chooses it and prints it.
fn prepare(kind: Kind, dir: &Path, ip: IpAddr) -> (Option<SocketAddr>, Command) {
    let mut command = command_of(kind, dir);
    let address = free_address_at(ip);
    match kind {
        Kind::Sink => {
            command.arg("--sink").stdout(Stdio::piped());
            return (None, command);
        }
        Kind::Ours => {
            prepare_ours(dir, address);
            command = ours(&our_program(), dir);
        }
        Kind::RestServer => {
            let store = dir.join("store");
            fs::create_dir_all(store.join("data")).expect("a folder");
            // rest-server would make these folders itself for a new repository.
            for byte in 0..=255 {
                fs::create_dir(store.join(format!("data/{byte:02x}"))).expect("a folder");
            }
            command
                .args(["--no-auth", "--listen", &address.to_string(), "--path"])
                .arg(store);
        }
        Kind::Nginx => {
            let config = nginx_config(dir, address);
            fs::write(dir.join("nginx.conf"), config).expect("a file");
            fs::create_dir(dir.join("d")).expect("a folder");
            command.arg("-c").arg(dir.join("nginx.conf"));
            command.arg("-p").arg(dir).arg("-e").arg(dir.join("errors"));
        }
    }
    (Some(address), command)
}

/// Prepares a store with a saved window, so that the gate admits the first upload at once. The
/// window's repository does not exist, so the saved window stays. All uploads come from one address,
/// which may have half of `max_uploads` and of `max_downloads`.
pub fn prepare_ours(dir: &Path, address: SocketAddr) {
    let repository = dir.join("repository");
    let config = format!(
        "data_dir = {:?}\nlisten = \"{address}\"\nmin_free_bytes = 0\nmax_uploads = 128\nmax_downloads = 16\n\n[[reader]]\nid = \"bench\"\naddress = \"127.0.0.1\"\n\n[version_gate]\nwindow = 100\nrefresh_seconds = 3600\nlocal_repo_path = {repository:?}\n",
        dir.join("data"),
    );
    fs::write(dir.join("receiver.toml"), config).expect("a file");
    let init = Command::new(our_program())
        .args(["init", "--config"])
        .arg(dir.join("receiver.toml"))
        .output()
        .expect("init runs");
    assert!(init.status.success(), "init: {init:?}");
    let older = (1..100).map(|n| format!("{n:040x}"));
    let commits: Vec<String> = std::iter::once(COMMIT.to_owned()).chain(older).collect();
    let window = serde_json::json!({
        "url": null, "repository": repository, "branch": "main", "source": "git", "good_at": 1,
        "commits": commits,
    });
    fs::write(dir.join("data/window.json"), window.to_string()).expect("a file");
}

fn nginx_config(dir: &Path, address: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\nuser root;\nworker_processes auto;\npid {dir}/pid;\nevents {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  client_max_body_size 0;\n  client_body_temp_path {dir}/incoming;\n  proxy_temp_path {dir}/t1;\n  fastcgi_temp_path {dir}/t2;\n  uwsgi_temp_path {dir}/t3;\n  scgi_temp_path {dir}/t4;\n  keepalive_requests 1000000;\n  tcp_nodelay on;\n  sendfile on;\n  server {{\n    listen {address};\n    location = /health {{ return 200 \"ok\\n\"; }}\n    location /d/ {{ root {dir}; dav_methods PUT; autoindex on; }}\n  }}\n}}\n"
    )
}

pub fn free_address() -> SocketAddr {
    free_address_at(Ipv4Addr::LOCALHOST.into())
}

fn free_address_at(ip: IpAddr) -> SocketAddr {
    let probe = TcpListener::bind((ip, 0)).expect("a free port");
    probe.local_addr().expect("an address")
}
