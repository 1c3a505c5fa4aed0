//! Packing and sending at the same time: the shipper with ten episodes, beside packing all of them and
//! then sending all of them. Once over a link that is far faster than packing, and once over a link
//! that is as slow as packing, where there is most to gain: with ten episodes, eleven tenths of either
//! time are the least possible.

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
    // Warms up, and measures how slow a link as slow as packing is.
    let (packing_s, packed_bytes) = pack_all(&Host::new(ground.fresh(), &data));
    let slow = packed_bytes as f64 / packing_s;
    for (name, rate) in [("as it is here", None), ("as slow as packing", Some(slow))] {
        let mut packing = Vec::new();
        let mut sending = Vec::new();
        let mut both = Vec::new();
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

/// Packs all episodes, which stay in outbox/. The seconds that it takes, and the bytes of all tarballs.
fn pack_all(host: &Host) -> (f64, u64) {
    let seconds = host.ship(failing_receiver(), 1);
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

/// A lab host whose episodes are recorded and not packed.
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

    /// Runs `ship --once`, which must end with this status. The seconds that it takes.
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

    /// Ships to our receiver, over a link of `rate` bytes a second or, with `None`, over loopback. The
    /// seconds that it takes.
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

/// A receiver that answers each upload with 500 before its body: each episode is packed, and waits.
fn failing_receiver() -> SocketAddr {
    serve(|mut peer| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && peer.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let _ =
            peer.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    })
}

/// A proxy of `to`: it passes on so many bytes a second, and answers without delay.
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
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
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

/// Serves each connection on a thread of its own, until the process ends. The address.
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
