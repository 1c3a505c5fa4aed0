//! Two hosts in network namespaces of their own, and the line between them: a veth pair with
//! tbf at 1 Mbit/s and, by nftables, packets that are lost. Needs root, iproute2 and nftables.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lab::Lab;
use crate::world::{World, cis490};

/// The receiver's side and the shipper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Receiver,
    Shipper,
}

pub struct Line {
    name: String,
}

/// A process in a namespace, killed when it is dropped.
pub struct Process {
    pub child: Child,
    pub log: PathBuf,
}

impl Process {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const RECEIVER: &str = "10.49.0.1";
const SHIPPER: &str = "10.49.0.2";

impl Line {
    /// Why there can be none here.
    pub fn missing() -> Option<String> {
        let can = |program: &str, args: &[&str]| {
            let run = Command::new(program).args(args).output();
            run.is_ok_and(|output| output.status.success())
        };
        let probe = format!("cis490-probe-{}", std::process::id());
        if !can("ip", &["netns", "add", &probe]) {
            return Some("it needs root, iproute2 and network namespaces".to_owned());
        }
        let table = ["netns", "exec", &probe, "nft", "add", "table", "inet", "t"];
        let nft = can("ip", &table);
        can("ip", &["netns", "del", &probe]);
        (!nft).then(|| "it needs nftables".to_owned())
    }

    pub fn new() -> Line {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let line = Line {
            name: format!("c4{:x}-{number}", std::process::id()),
        };
        for side in [Side::Receiver, Side::Shipper] {
            sh(&["ip", "netns", "add", &line.namespace(side)]);
        }
        let (a, b) = (line.device(Side::Receiver), line.device(Side::Shipper));
        let (near, far) = (
            line.namespace(Side::Receiver),
            line.namespace(Side::Shipper),
        );
        sh(&[
            "ip", "link", "add", &a, "netns", &near, "type", "veth", "peer", "name", &b, "netns",
            &far,
        ]);
        for (side, address) in [(Side::Receiver, RECEIVER), (Side::Shipper, SHIPPER)] {
            let device = line.device(side);
            line.run(
                side,
                &[
                    "ip",
                    "address",
                    "add",
                    &format!("{address}/30"),
                    "dev",
                    &device,
                ],
            );
            line.run(side, &["ip", "link", "set", "lo", "up"]);
            line.run(side, &["ip", "link", "set", &device, "up"]);
            let tbf = ["tc", "qdisc", "add", "dev", &device, "root", "tbf"];
            line.run(
                side,
                &[
                    &tbf[..],
                    &["rate", "1mbit", "burst", "16kb", "latency", "300ms"],
                ]
                .concat(),
            );
            line.run(
                side,
                &[
                    "nft",
                    "add table inet t; add chain inet t c { type filter hook input priority 0; }",
                ],
            );
        }
        line
    }

    pub fn namespace(&self, side: Side) -> String {
        format!("cis490-{}-{side:?}", self.name).to_lowercase()
    }

    fn device(&self, side: Side) -> String {
        match side {
            Side::Receiver => format!("{}a", self.name),
            Side::Shipper => format!("{}b", self.name),
        }
    }

    fn run(&self, side: Side, words: &[&str]) {
        let namespace = self.namespace(side);
        sh(&[&["ip", "netns", "exec", &namespace], words].concat());
    }

    /// So many of a hundred packets are lost, each way. 100 is a line that is dead and does not say so.
    pub fn lose(&self, percent: u32) {
        for side in [Side::Receiver, Side::Shipper] {
            self.run(side, &["nft", "flush chain inet t c"]);
            let which = match percent {
                0 => continue,
                100 => String::new(),
                _ => format!("numgen random mod 100 < {percent}"),
            };
            let rule = format!("add rule inet t c iif != lo {which} drop");
            self.run(side, &["nft", &rule]);
        }
    }

    /// Ends every connection, as far as this side knows, with an error and a reset.
    pub fn cut(&self, side: Side) {
        let peer = match side {
            Side::Receiver => SHIPPER,
            Side::Shipper => RECEIVER,
        };
        self.run(side, &["ss", "-K", "dst", peer]);
    }

    pub fn plug(&self, in_: bool) {
        let state = if in_ { "up" } else { "down" };
        self.run(
            Side::Receiver,
            &["ip", "link", "set", &self.device(Side::Receiver), state],
        );
    }

    /// The world's receiver, on this line; it listens when this returns.
    pub fn receive(&self, world: &World) -> Process {
        let config = world.config_path();
        let process = self.start(
            Side::Receiver,
            &["receive", "--config", &config],
            world.dir().join("log"),
        );
        world.wait_until("it listens", |world| {
            world.log().contains("event=listening")
        });
        world.wait_until("the gate has its window", |world| {
            world.log().contains("event=gate_window")
        });
        process
    }

    pub fn ship(&self, lab: &Lab) -> Process {
        let config = lab.config().display().to_string();
        self.start(
            Side::Shipper,
            &["ship", "--config", &config],
            lab.dir().join("log"),
        )
    }

    /// A program of ours, in one of the namespaces.
    pub fn start(&self, side: Side, args: &[&str], log: PathBuf) -> Process {
        let program = cis490();
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(side)])
            .arg(program.get_program())
            .args(program.get_args())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Process { child, log }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for side in [Side::Receiver, Side::Shipper] {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.namespace(side)])
                .status();
        }
    }
}

fn sh(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
}
