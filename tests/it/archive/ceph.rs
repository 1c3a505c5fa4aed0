//! Ceph's gateway: a real store, started and ended by the script `rgw` beside this file.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::world::TempDir;

pub const KEYS: (&str, &str) = ("RGWACCESSKEY0000000A", "RGWSECRETKEY");
const NO_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A running gateway with the bucket `lab`. It ends with the pipe to its script.
pub struct Gateway {
    script: Mutex<Script>,
    port: u16,
    dir: TempDir,
}

struct Script {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    /// `None`, reported, where it is not unpacked.
    pub fn start() -> Option<Gateway> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = std::env::var_os("CIS490_RGW").map(PathBuf::from);
        let root = root.unwrap_or(repository.join("target/rgw"));
        if !root.join("usr/bin/radosgw").exists() {
            skip!("no radosgw in target/rgw: tests/it/archive/rgw fetch target/rgw");
            return None;
        }
        let dir = TempDir::new();
        let [mon, mon1, port] = free_ports();
        let mut process = Command::new(repository.join("tests/it/archive/rgw"))
            .arg("serve")
            .args([&root, &dir.path().join("work")])
            .args([mon, mon1, port].map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let gateway = Gateway {
            script: Mutex::new(Script { process, lines }),
            port,
            dir,
        };
        let ready = gateway.script().lines.next().and_then(Result::ok);
        assert_eq!(
            ready.as_deref(),
            Some("ready"),
            "the gateway does not start"
        );
        gateway.make_bucket("lab");
        Some(gateway)
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the script carry out a command, which must succeed: `rgw` names them. What the last `run` printed.
    pub fn tell(&self, command: &str) -> String {
        let mut script = self.script();
        let mut input = script.process.stdin.as_ref().unwrap();
        writeln!(input, "{command}").unwrap();
        let answer = script.lines.next().unwrap().unwrap();
        let printed = self.dir.path().join("work/run/program.out");
        let printed = std::fs::read_to_string(printed).unwrap_or_default();
        assert_eq!(answer, "done", "{command}\n{printed}");
        printed
    }

    pub fn make_bucket(&self, name: &str) {
        self.asked("PUT", name);
    }

    /// What a request without a body is answered with, asked by another client.
    pub fn asked(&self, method: &str, target: &str) -> String {
        let url = format!("{}/{target}", self.endpoint());
        let answered = Command::new("curl")
            .args(["-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "-X", method])
            .args(["--user", &format!("{}:{}", KEYS.0, KEYS.1)])
            .args(["-H", &format!("x-amz-content-sha256: {NO_PAYLOAD}"), &url])
            .output()
            .unwrap();
        assert!(answered.status.success(), "{method} {target}: {answered:?}");
        String::from_utf8(answered.stdout).unwrap()
    }

    /// A folder of its own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The configuration of a receiver for this store: the keys are in the file `secret`.
    pub fn config(&self, secret: &Path) -> String {
        let endpoint = self.endpoint();
        format!("[archive]\nendpoint = {endpoint:?}\nbucket = \"lab\"\nsecret_file = {secret:?}\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let mut script = self.script();
        drop(script.process.stdin.take());
        let _ = script.process.wait();
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
