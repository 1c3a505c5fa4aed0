//! `cis490 pull` of many small episodes, and `rsync -a` over loopback ssh and `rclone copy` from nginx of the
//! same files; and what a pull costs that finds nothing new.
//!
//! rsync and rclone write their files and leave them to the kernel. A pull has each on the disk before its receipt. So
//! rsync runs a second time with `--fsync`, and the floor is what the disk needs for the same files: they
//! are written by one thread, and then the filesystem is synced.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::dice::noise;
use crate::ground::Ground;
use crate::load::{Body, Payload, put_all};
use crate::process::{self, terminate};
use crate::report::{Goal, Series, short, spread, verdict};
use crate::servers::{Kind, Running, each_file, free_address, our_program};

const EPISODES: usize = 10_000;
const EPISODE_BYTES: usize = 64 << 10;
/// Memory that is warmed before a copy, besides that for its files.
const WARM_BYTES: usize = 64 << 20;
/// Of the pulls that find nothing new, which take milliseconds.
const IDLE_PULLS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(plan: &Plan) {
    if !plan.wants("pull") || plan.only.is_some_and(|only| only != Kind::Ours) {
        return;
    }
    let ground = Ground::new(plan);
    let payload = Payload::new(EPISODE_BYTES);
    let episodes = plan.scaled(EPISODES);
    let bodies: Vec<Body> = (0..episodes)
        .map(|number| Body::new(&payload, number, EPISODE_BYTES))
        .collect();
    let server = Running::start(Kind::Ours, ground.fresh());
    put_all(&server, &payload, &bodies, 8);
    server.sync_all();
    let ssh = if plan.only.is_none() {
        Ssh::start(&ground.fresh())
    } else {
        None
    };
    let web = if plan.only.is_none() {
        Web::start(&server, ground.fresh(), episodes)
    } else {
        None
    };
    let mut pulls = Series::new("cis490 pull");
    let mut web_copies = Series::new("rclone, nginx");
    let mut copies = Series::new("rsync -a, ssh");
    let mut synced_copies = Series::new("the same --fsync");
    let mut floors = Series::new("floor: the disk");
    let mut idle = Series::new("nothing new");
    for round in 0..=plan.rounds {
        let to = ground.fresh();
        warm(episodes);
        let pulled = pull(&server, &to);
        check(&to, episodes);
        server.sync_all();
        let waits: Vec<f64> = (0..IDLE_PULLS).map(|_| pull(&server, &to)).collect();
        empty(&to);
        server.sync_all();
        let copy = |options: &[&str]| {
            let to = ground.fresh();
            warm(episodes);
            let took = ssh
                .as_ref()?
                .copy(options, &server.dir().join("data/episodes"), &to);
            check(&to, episodes);
            server.sync_all();
            empty(&to);
            server.sync_all();
            Some(took)
        };
        let copied = copy(&[]);
        let copied_synced = copy(&["--fsync"]);
        let web_copied = web.as_ref().map(|web| {
            let to = ground.fresh();
            warm(episodes);
            let took = web.copy(&to);
            check(&to, episodes);
            server.sync_all();
            empty(&to);
            server.sync_all();
            took
        });
        let floor = write_and_sync(&server, &ground.fresh(), episodes);
        if round > 0 {
            pulls.values.push(pulled);
            copies.values.extend(copied);
            web_copies.values.extend(web_copied);
            synced_copies.values.extend(copied_synced);
            floors.values.push(floor);
            idle.values.extend(waits.iter().map(|wait| wait * 1e3));
        }
    }
    println!("\npull: {episodes} episodes of 64 KiB, seconds");
    for series in [&pulls, &copies, &synced_copies, &web_copies, &floors] {
        println!("  {:<16} {:>24}", series.name, spread(&series.values));
    }
    let rate = (episodes * EPISODE_BYTES) as f64 / pulls.median() / 1e6;
    println!(
        "  a pull's episodes a second {}, MB/s {}",
        short(episodes as f64 / pulls.median()),
        short(rate)
    );
    if copies.values.is_empty() {
        println!(
            "  rsync over ssh is left out: install openssh-server and rsync (tests/bench/peers.sh)"
        );
    } else {
        let ratio = copies.median() / pulls.median();
        verdict("rsync -a / ours", ratio, "", Goal::AtLeast(2.0, 2.0));
        let ratio = synced_copies.median() / pulls.median();
        println!("  rsync -a --fsync / ours {}", short(ratio));
    }
    if web_copies.values.is_empty() {
        println!(
            "  rclone from nginx is left out: install rclone and nginx (tests/bench/peers.sh)"
        );
    } else {
        let ratio = web_copies.median() / pulls.median();
        verdict("rclone copy / ours", ratio, "", Goal::AtLeast(2.0, 2.0));
    }
    println!("  nothing new: {} ms", spread(&idle.values));
    let bound = Goal::AtMost(50.0, 50.0);
    verdict("a pull of nothing new", idle.median(), "ms", bound);
    server.stop();
}

/// The memory for the files of one copy: see [`process::warm_memory`].
fn warm(episodes: usize) {
    process::warm_memory(episodes * EPISODE_BYTES + WARM_BYTES);
}

/// The seconds of one pull.
fn pull(server: &Running, to: &Path) -> f64 {
    let mut command = Command::new(our_program());
    command.args(["pull", "--url", &format!("http://{}", server.address)]);
    seconds_of(command.arg("--to").arg(to.join("data")))
}

/// The seconds that the same files take without a network and a digest.
fn write_and_sync(server: &Running, to: &Path, episodes: usize) -> f64 {
    let bytes = noise(7, EPISODE_BYTES);
    warm(episodes);
    let began = Instant::now();
    for number in 0..episodes {
        fs::write(to.join(format!("{number}.zst")), &bytes).expect("a file");
    }
    server.sync_all();
    let took = began.elapsed();
    empty(to);
    server.sync_all();
    took.as_secs_f64()
}

fn seconds_of(command: &mut Command) -> f64 {
    let began = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let took = began.elapsed();
    assert!(output.status.success(), "{output:?}");
    took.as_secs_f64()
}

/// Each episode is there with its length.
fn check(dir: &Path, episodes: usize) {
    let mut whole = 0;
    each_file(dir, &mut |path| {
        let is_tarball = path.extension().is_some_and(|end| end == "zst");
        let bytes = path.metadata().map(|found| found.len());
        whole += usize::from(is_tarball && bytes.is_ok_and(|bytes| bytes == EPISODE_BYTES as u64));
    });
    assert_eq!(whole, episodes, "in {}", dir.display());
}

/// Frees the disk space and no inodes.
fn empty(dir: &Path) {
    each_file(dir, &mut |path| {
        if path.is_file() {
            let file = File::options().write(true).open(path).expect("a file");
            file.set_len(0).expect("it can be cut");
        }
    });
}

/// nginx, which lists and sends the very same files.
struct Web(Running);

impl Web {
    /// `None` without nginx or rclone.
    fn start(server: &Running, dir: PathBuf, episodes: usize) -> Option<Web> {
        let rclone = Command::new("rclone").arg("version").output();
        if !Kind::Nginx.is_installed() || rclone.is_err() {
            return None;
        }
        let web = Running::start(Kind::Nginx, dir);
        let from = server.dir().join("data/episodes/lab-1");
        for number in 0..episodes {
            let name = format!("ep-{number}.tar.zst");
            fs::hard_link(from.join(&name), web.dir().join("d").join(&name))
                .expect("a second name");
        }
        Some(Web(web))
    }

    /// The seconds that `rclone copy` takes.
    fn copy(&self, to: &Path) -> f64 {
        let url = format!("http://{}/d/", self.0.address);
        let mut command = Command::new("rclone");
        command.args(["--config", "/dev/null", "copy", "--http-url", &url]);
        seconds_of(command.arg(":http:").arg(to))
    }
}

/// An ssh server on loopback, with keys of its own.
struct Ssh {
    dir: PathBuf,
    address: SocketAddr,
    server: Child,
}

impl Ssh {
    /// `None` without root, sshd or rsync.
    fn start(dir: &Path) -> Option<Ssh> {
        let sshd = Path::new("/usr/sbin/sshd");
        let rsync = Command::new("rsync").arg("--version").output();
        let is_root = Command::new("id").arg("-u").output();
        let is_root = is_root.is_ok_and(|output| output.stdout == b"0\n");
        if !sshd.is_file() || rsync.is_err() || !is_root {
            return None;
        }
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.join(key))
                .status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen");
        }
        // sshd wants it, and its package makes it only when the service starts.
        fs::create_dir_all("/run/sshd").expect("a folder");
        let address = free_address();
        let shown = dir.display();
        let config = format!(
            "ListenAddress {address}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/user.pub\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        );
        fs::write(dir.join("sshd_config"), config).expect("a file");
        let server = Command::new(sshd)
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(File::create(dir.join("sshd.log")).expect("a log"))
            .spawn()
            .expect("sshd starts");
        let ssh = Ssh {
            dir: dir.to_owned(),
            address,
            server,
        };
        ssh.await_start();
        Some(ssh)
    }

    fn await_start(&self) {
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < until, "sshd does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The seconds that `rsync -a` takes to copy a folder.
    fn copy(&self, options: &[&str], from: &Path, to: &Path) -> f64 {
        let shell = format!(
            "ssh -F none -p {} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.address.port(),
            self.dir.join("user").display()
        );
        let mut command = Command::new("rsync");
        command.args(["-a", "-e", &shell]).args(options);
        command.arg(format!("root@127.0.0.1:{}/", from.display()));
        seconds_of(command.arg(format!("{}/", to.display())))
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        terminate(self.server.id());
        let _ = self.server.wait();
    }
}
