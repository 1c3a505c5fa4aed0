//! The same against a real store: Ceph's gateway, if its packages are unpacked in `target/rgw`
//! (`tests/it/archive/rgw fetch target/rgw`, which CI does).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{body, hurry, key, ledger, put, wait_for_metric, wait_proven, write_secret};
use crate::operator::doctor;
use crate::world::{TempDir, World};

const KEYS: (&str, &str) = ("RGWACCESSKEY0000000A", "RGWSECRETKEY");
const NO_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A running gateway. It ends with the pipe to its script.
struct Gateway {
    script: Child,
    port: u16,
    _dir: TempDir,
}

impl Gateway {
    /// `None`, reported, where it is not unpacked.
    fn start() -> Option<Gateway> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = std::env::var_os("CIS490_RGW").map(PathBuf::from);
        let root = root.unwrap_or(repository.join("target/rgw"));
        if !root.join("usr/bin/radosgw").exists() {
            skip!("no radosgw in target/rgw: tests/it/archive/rgw fetch target/rgw");
            return None;
        }
        let dir = TempDir::new();
        let [mon, mon1, port] = free_ports();
        let mut script = Command::new(repository.join("tests/it/archive/rgw"))
            .arg("serve")
            .args([&root, &dir.path().join("work")])
            .args([mon, mon1, port].map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let ready = lines.next().and_then(Result::ok);
        assert_eq!(
            ready.as_deref(),
            Some("ready"),
            "the gateway does not start"
        );
        let gateway = Gateway {
            script,
            port,
            _dir: dir,
        };
        gateway.make_bucket("lab");
        Some(gateway)
    }

    fn make_bucket(&self, name: &str) {
        let url = format!("http://127.0.0.1:{}/{name}", self.port);
        let made = Command::new("curl")
            .args(["-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "-X", "PUT"])
            .args(["--user", &format!("{}:{}", KEYS.0, KEYS.1)])
            .args(["-H", &format!("x-amz-content-sha256: {NO_PAYLOAD}"), &url])
            .status();
        assert!(made.unwrap().success(), "no bucket");
    }

    /// A world whose receiver archives into it, not started.
    fn world(&self, more: &str) -> World {
        let mut world = World::prepared("");
        let secret = world.dir().join("s3-keys");
        write_secret(&secret, &format!("{}\n{}\n", KEYS.0, KEYS.1));
        let port = self.port;
        world.add_tables(&format!(
            "[archive]\nendpoint = \"http://127.0.0.1:{port}\"\nbucket = \"lab\"\nsecret_file = {secret:?}\n{more}"
        ));
        hurry(&mut world);
        world
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// One gateway, since it takes seconds to start: its way from a doctor's look to an episode that is only
/// there.
#[test]
fn episodes_go_to_a_real_store_and_come_back() {
    let Some(gateway) = Gateway::start() else {
        return;
    };
    let mut world = gateway.world("[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n");
    let (_, report) = doctor(&world.config_path(), &[]);
    let found = |words: &str| {
        let findings = report["findings"].as_array().unwrap();
        let is_it = |one: &Value| one["found"].as_str().unwrap().contains(words);
        assert!(findings.iter().any(is_it), "{words}\n{report:#}");
    };
    found("LIST is allowed");
    found("bytes that have not the stated digest are refused");
    found("GET brings the same bytes back");

    world.start();
    let large: Vec<u8> = (0..3u32 << 20).flat_map(u32::to_le_bytes).collect();
    let large_put = world.good().episode("large").body(&large);
    assert_eq!(world.put(&large_put).status, 201);
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    wait_proven(&world, "large");
    wait_proven(&world, "ep-1");

    // A file that has rotted is refused by the store, by the digest of the row.
    world.stop();
    let path = world.data_dir().join("episodes/lab-1/rotten.tar.zst");
    hurry(&mut world);
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    let secret = world.dir().join("s3-keys");
    write_secret(&secret, &format!("{}\nWRONG\n", KEYS.0));
    world.start();
    assert_eq!(world.put(&put(&world, "rotten")).status, 201);
    world.wait_until("the wrong keys are loud", |world| {
        world.log().contains("event=archive_stopped kind=denied")
    });
    fs::write(&path, b"the bytes of r0tten").unwrap();
    write_secret(&secret, &format!("{}\n{}\n", KEYS.0, KEYS.1));
    world.wait_until("it is refused", |world| {
        world
            .log()
            .contains("event=archive_refused host=lab-1 episode=rotten kind=own-file")
    });
    fs::write(&path, body("rotten")).unwrap();

    // Evicted, and fetched from there.
    world.stop();
    world.replace_in_config(
        "[archive]\n",
        "[archive]\nevict_below_bytes = 1000000000000000\n",
    );
    hurry(&mut world);
    world.start();
    world.wait_until("all are evicted", |world| {
        world.names("episodes/lab-1").is_empty() && ledger(world).len() == 3
    });
    let dir = world.dir().join("pulled");
    let url = format!("http://{}", world.address());
    world.run(&["pull", "--url", &url, "--to", dir.to_str().unwrap()]);
    assert_eq!(fs::read(dir.join("lab-1/large.tar.zst")).unwrap(), large);
    assert_eq!(
        fs::read(dir.join("lab-1/ep-1.tar.zst")).unwrap(),
        body("ep-1")
    );
    let place = &world.get("/v1/episodes/lab-1/ep-1").json()["archive"];
    assert_eq!(place["key"], key("ep-1", &body("ep-1")));
    wait_for_metric(&world, "cis490_archive_episodes{state=\"evicted\"} 3\n");
}
