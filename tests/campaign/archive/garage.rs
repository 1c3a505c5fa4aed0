//! Garage 2.5, one node. It neither syncs what it stores nor looks at its blocks before it answers HEAD.
//!
//! `cargo install garage --version 2.5.0 --locked --debug --no-default-features --features
//! bundled-libs,sqlite --root target/garage` makes the program, in some four minutes.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::stores::RealStore;
use crate::client::{Client, PATIENCE};
use crate::world::TempDir;

const KEYS: (&str, &str) = (
    "GK0123456789abcdef01234567",
    "abababababababababababababababababababababababababababababababab",
);

pub struct Garage {
    program: PathBuf,
    options: &'static [&'static str],
    process: Mutex<Child>,
    port: u16,
    // Dropped last.
    dir: TempDir,
}

impl Garage {
    /// `None`, reported, where the program is not.
    pub fn start() -> Option<Garage> {
        let garage = Garage::start_as(&["--single-node", "--default-bucket"])?;
        garage.wait_until(|garage| garage.try_run(&["bucket", "info", "lab"]));
        Some(garage)
    }

    /// As a package starts it: without a layout, keys and buckets.
    pub fn start_bare() -> Option<Garage> {
        let garage = Garage::start_as(&[])?;
        garage.wait_until(|garage| garage.try_run(&["status"]));
        Some(garage)
    }

    fn start_as(options: &'static [&'static str]) -> Option<Garage> {
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/garage/bin/garage");
        let program = std::env::var_os("CIS490_GARAGE").map_or(usual, PathBuf::from);
        if !program.exists() {
            skip!(
                "no garage in target/garage: tests/campaign/archive/garage.rs says how it is made"
            );
            return None;
        }
        let dir = TempDir::new();
        let [port, rpc] = [0; 2].map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        });
        let root = dir.path();
        let config = format!(
            "metadata_dir = {:?}\ndata_dir = {:?}\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{port}\"\n",
            root.join("meta"),
            root.join("data"),
            "11".repeat(32),
        );
        fs::write(root.join("garage.toml"), config).unwrap();
        let process = Mutex::new(serve(&program, root, options));
        Some(Garage {
            program,
            options,
            process,
            port,
            dir,
        })
    }

    fn wait_until(&self, is_ready: impl Fn(&Garage) -> bool) {
        let address = ([127, 0, 0, 1], self.port).into();
        let until = Instant::now() + PATIENCE;
        while Client::try_connect(address).is_none() || !is_ready(self) {
            let log = fs::read_to_string(self.dir.path().join("log"));
            assert!(Instant::now() < until, "garage does not answer\n{log:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a shell prints that has its commands as `garage`.
    pub fn shell(&self, script: &str) -> String {
        let config = self.dir.path().join("garage.toml");
        let script = format!(
            "garage() {{ {:?} -c {config:?} \"$@\"; }}\n{script}",
            self.program
        );
        let output = Command::new("sh")
            .args(["-ec", &script])
            .env("RUST_LOG", "off")
            .output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One of its own commands.
    pub fn run(&self, words: &[&str]) {
        assert!(self.try_run(words), "garage {words:?}");
    }

    fn try_run(&self, words: &[&str]) -> bool {
        let output = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.path().join("garage.toml"))
            .args(words)
            .env("RUST_LOG", "off")
            .output()
            .unwrap();
        output.status.success()
    }

    /// The files with the bytes of the objects; an object of less than 3 KiB is in the metadata.
    pub fn blocks(&self) -> Vec<PathBuf> {
        let mut blocks = Vec::new();
        collect_blocks(&self.dir.path().join("data"), &mut blocks);
        blocks
    }
}

fn collect_blocks(folder: &Path, blocks: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_block = name.trim_end_matches(".zst").len() == 64;
        if path.is_dir() {
            collect_blocks(&path, blocks);
        } else if is_block {
            blocks.push(path);
        }
    }
}

fn serve(program: &Path, root: &Path, options: &[&str]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(root.join("log"))
        .unwrap();
    Command::new(program)
        .arg("-c")
        .arg(root.join("garage.toml"))
        .arg("server")
        .args(options)
        .env("GARAGE_DEFAULT_ACCESS_KEY", KEYS.0)
        .env("GARAGE_DEFAULT_SECRET_KEY", KEYS.1)
        .env("GARAGE_DEFAULT_BUCKET", "lab")
        .env("RUST_LOG", "garage=warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl RealStore for Garage {
    fn name(&self) -> &'static str {
        "garage"
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn region(&self) -> &'static str {
        "garage"
    }

    fn keys(&self) -> (&'static str, &'static str) {
        KEYS
    }

    fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn start_again(&self) {
        *self.process.lock().unwrap() = serve(&self.program, self.dir.path(), self.options);
        self.wait_until(|garage| garage.try_run(&["bucket", "info", "lab"]));
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        self.kill();
    }
}
