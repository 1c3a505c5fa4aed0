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
    process: Mutex<Child>,
    port: u16,
    // Dropped last.
    dir: TempDir,
}

impl Garage {
    /// `None`, reported, where the program is not.
    pub fn start() -> Option<Garage> {
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
        let process = Mutex::new(serve(&program, root));
        let garage = Garage {
            program,
            process,
            port,
            dir,
        };
        garage.wait_until_it_answers();
        Some(garage)
    }

    fn wait_until_it_answers(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.has_answered() {
            let log = fs::read_to_string(self.dir.path().join("log"));
            assert!(Instant::now() < until, "garage does not answer\n{log:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether it knows its bucket.
    fn has_answered(&self) -> bool {
        let address = ([127, 0, 0, 1], self.port).into();
        Client::try_connect(address).is_some() && self.try_run(&["bucket", "info", "lab"])
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

fn serve(program: &Path, root: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(root.join("log"))
        .unwrap();
    Command::new(program)
        .arg("-c")
        .arg(root.join("garage.toml"))
        .args(["server", "--single-node", "--default-bucket"])
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
        *self.process.lock().unwrap() = serve(&self.program, self.dir.path());
        self.wait_until_it_answers();
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        self.kill();
    }
}
