//! Packing and sending in a chain: ten episodes by the shipper as it is, beside packing them all and
//! sending them all. Over a link that is far faster than packing, and over one that is as slow: there
//! most is to be gained, and no chain takes less than eleven tenths of either.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::packing::{META, json_lines};
use crate::report::{Goal, median, spread, verdict};
use crate::servers::{Kind, Running, our_program};

const EPISODES: usize = 10;

pub fn run(plan: &Plan) {
    if !plan.wants("chain") {
        return;
    }
    let ground = Ground::plain();
    let bytes = plan.scaled(100 << 20);
    println!("\nchain: {EPISODES} episodes of {bytes} bytes of JSON lines; seconds");
    let data = ground.path().join("data");
    fs::write(&data, json_lines(bytes)).expect("a file");
    File::open(&data)
        .and_then(|file| file.sync_all())
        .expect("a sync");
    // Warms, and tells what a link as slow as packing is.
    let (packing_s, packed_bytes) = pack_all(&Host::new(ground.fresh(), &data));
    let slow = packed_bytes as f64 / packing_s;
    for (name, rate) in [("as it is here", None), ("as slow as packing", Some(slow))] {
        let (mut packing, mut sending, mut both) = (Vec::new(), Vec::new(), Vec::new());
        let mut ratios = Vec::new();
        for _ in 0..plan.rounds {
            let host = Host::new(ground.fresh(), &data);
            let (packing_s, _) = pack_all(&host);
            let sending_s = host.ship_to_ours(&ground, rate);
            let host = Host::new(ground.fresh(), &data);
            let both_s = host.ship_to_ours(&ground, rate);
            packing.push(packing_s);
            sending.push(sending_s);
            both.push(both_s);
            ratios.push(both_s / packing_s.max(sending_s));
        }
        println!("  link {name}");
        println!("  {:<32} {}", "  packing all", spread(&packing));
        println!("  {:<32} {}", "  sending all", spread(&sending));
        println!("  {:<32} {}", "  both, by the shipper", spread(&both));
        println!(
            "  {:<32} {}",
            "  its ratio, round by round",
            spread(&ratios)
        );
        verdict(
            "  both / the slower of the two",
            median(&ratios),
            "",
            Goal::AtMost(1.15, 1.15),
        );
    }
}

/// How long it takes, and the bytes of the tarballs, which are left in outbox/.
fn pack_all(host: &Host) -> (f64, u64) {
    let seconds = host.ship(refuser(), 1);
    let tarballs = fs::read_dir(host.dir.join("root/outbox")).expect("an outbox");
    let sizes: Vec<u64> = tarballs
        .map(|found| {
            found
                .and_then(|found| found.metadata())
                .expect("a tarball")
                .len()
        })
        .collect();
    assert_eq!(sizes.len(), EPISODES, "all are packed");
    (seconds, sizes.iter().sum())
}

/// A lab host with its episodes recorded, and nothing packed.
struct Host {
    dir: PathBuf,
}

impl Host {
    fn new(dir: PathBuf, data: &Path) -> Host {
        let host = Host { dir };
        host.send_to(SocketAddr::from(([127, 0, 0, 1], 1)));
        let init = host.command("init").output().expect("init runs");
        assert!(init.status.success(), "init: {init:?}");
        for number in 0..EPISODES {
            let episode = host.dir.join(format!("root/episodes/ep-{number}"));
            fs::create_dir(&episode).expect("a folder");
            fs::hard_link(data, episode.join("data")).expect("a link");
            fs::write(episode.join("meta.json"), META).expect("a file");
        }
        host
    }

    fn send_to(&self, address: SocketAddr) {
        let config = format!(
            "receiver_url = \"http://{address}\"\nhost_id = \"lab-1\"\nroot = {:?}\n",
            self.dir.join("root")
        );
        fs::write(self.dir.join("shipper.toml"), config).expect("a file");
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(our_program());
        command.arg(name).arg("--config");
        command.arg(self.dir.join("shipper.toml"));
        command
    }

    /// Runs the shipper until nothing can move, which it must tell with this status.
    fn ship(&self, address: SocketAddr, status: i32) -> f64 {
        self.send_to(address);
        let began = Instant::now();
        let ended = self
            .command("ship")
            .arg("--once")
            .output()
            .expect("it runs");
        let took_s = began.elapsed().as_secs_f64();
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        took_s
    }

    /// Over a link of so many bytes a second, if any bound.
    fn ship_to_ours(&self, ground: &Ground, rate: Option<f64>) -> f64 {
        let receiver = Running::start(Kind::Ours, ground.fresh());
        let address = match rate {
            Some(rate) => link(receiver.address, rate),
            None => receiver.address,
        };
        let took_s = self.ship(address, 0);
        receiver.stop();
        took_s
    }
}

/// A receiver that stumbles over each episode, and takes no body: each is packed, and waits.
fn refuser() -> SocketAddr {
    serve(|mut peer| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && peer.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let _ =
            peer.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    })
}

/// Passes on what comes for `to`, so many bytes a second, and all that is answered.
fn link(to: SocketAddr, bytes_per_second: f64) -> SocketAddr {
    serve(move |peer| {
        let Ok(there) = TcpStream::connect(to) else {
            return;
        };
        let (Ok(mut from), Ok(mut back)) = (there.try_clone(), peer.try_clone()) else {
            return;
        };
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut back);
            let _ = back.shutdown(std::net::Shutdown::Write);
        });
        let _ = pass(peer, there, bytes_per_second);
    })
}

fn pass(mut from: TcpStream, mut to: TcpStream, bytes_per_second: f64) -> io::Result<()> {
    let began = Instant::now();
    let (mut buffer, mut passed) = (vec![0; 64 << 10], 0);
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        to.write_all(&buffer[..n])?;
        passed += n;
        let due = Duration::from_secs_f64(passed as f64 / bytes_per_second);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

/// Each connection on a thread of its own, to the end of the process.
fn serve(with: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            let with = with.clone();
            thread::spawn(move || with(peer));
        }
    });
    address
}
