//! How fast a lab host's backlog of small episodes drains: a shipper with `--once`, and its receiver, on
//! this machine. Both write to the same disk: this machine's own, then one as slow as an SD card.
//!
//! CIS490_BEFORE names an older program, with which both sides are measured as well.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::dice::noise;
use crate::ground::{DiskKind, Ground};
use crate::load::Connection;
use crate::process;
use crate::report::{Goal, short, verdict};
use crate::servers::{self, COMMIT};

const EPISODE_BYTES: usize = 2 << 10;
const PATIENCE: Duration = Duration::from_secs(60);
const EPISODES_OWN: usize = 20_000;
/// At least a few seconds' work on a slow disk.
const EPISODES_SD: usize = 400;
const EPISODES_TRACED: usize = 400;

pub fn run(plan: &Plan) {
    let older = std::env::var_os("CIS490_BEFORE").map(PathBuf::from);
    println!("\ndrain: a backlog of episodes of {EPISODE_BYTES} bytes");
    for (kind, episodes) in [
        (DiskKind::Own, EPISODES_OWN),
        (DiskKind::SdCard, EPISODES_SD),
    ] {
        let ground = match Ground::on(kind, plan) {
            Ok(ground) => ground,
            Err(why) => {
                println!("  no disk as slow as an SD card: {why}");
                continue;
            }
        };
        let episodes = plan.scaled(episodes).max(10);
        let rate = |program: &Path, episodes: usize| {
            let lab = Lab::new(program, ground.fresh(), episodes);
            let took = lab.drain(&[]);
            episodes as f64 / took.as_secs_f64()
        };
        let now = rate(&servers::our_program(), episodes);
        let what = format!("{kind:?}, episodes a second");
        match kind {
            DiskKind::Own => verdict(&what, now, "", Goal::AtLeast(1000.0, 1000.0)),
            DiskKind::SdCard => println!("  {what}: {}", short(now)),
        }
        let Some(older) = &older else {
            continue;
        };
        match kind {
            DiskKind::Own => {
                let before = rate(older, (episodes / 2).max(10));
                println!("  {what}, before: {}", short(before));
            }
            DiskKind::SdCard => {
                let before = rate(older, (episodes / 8).max(10));
                println!("  {what}, before: {}", short(before));
                verdict(
                    "SdCard, now / before",
                    now / before,
                    "",
                    Goal::AtLeast(5.0, 5.0),
                );
            }
        }
    }
    count_syncs(plan, "now", &servers::our_program());
    if let Some(older) = &older {
        count_syncs(plan, "before", older);
    }
}

fn count_syncs(plan: &Plan, when: &str, program: &Path) {
    let episodes = plan.scaled(EPISODES_TRACED).max(10);
    let ground = Ground::new(plan);
    let lab = Lab::new(program, ground.fresh(), episodes);
    let log = lab.dir.join("syncs");
    let log = log.display().to_string();
    let trace = [
        "strace",
        "-f",
        "-c",
        "-e",
        "trace=fsync,fdatasync",
        "-o",
        &log,
    ];
    lab.drain(&trace);
    let text = fs::read_to_string(&log).unwrap_or_default();
    let calls = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_sync = matches!(words.last(), Some(&("fsync" | "fdatasync")));
        words.get(3).filter(|_| is_sync)?.parse::<f64>().ok()
    });
    let each = calls.sum::<f64>() / episodes as f64;
    println!(
        "  syncs of the shipper for an episode, {when}: {}",
        short(each)
    );
}

/// A receiver that runs, and a queue for it.
struct Lab {
    program: PathBuf,
    dir: PathBuf,
    receiver: Child,
}

impl Lab {
    fn new(program: &Path, dir: PathBuf, episodes: usize) -> Lab {
        let address = servers::free_address();
        servers::prepare_ours(&dir, address);
        let receiver = Command::new(program)
            .args(["receive", "--config"])
            .arg(dir.join("receiver.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the receiver starts");
        wait_for(address);
        let root = dir.join("root");
        let config = format!(
            "receiver_url = \"http://{address}\"\nhost_id = \"lab-1\"\nroot = {root:?}\nmin_free_bytes = 0\n"
        );
        fs::write(dir.join("shipper.toml"), config).expect("a file");
        let lab = Lab {
            program: program.to_owned(),
            dir,
            receiver,
        };
        assert!(
            lab.command(&[], &["init"])
                .status()
                .is_ok_and(|status| status.success())
        );
        lab.record(&root, episodes);
        lab
    }

    fn record(&self, root: &Path, episodes: usize) {
        let meta = format!(r#"{{"code_version": {{"commit": "{COMMIT}"}}}}"#);
        for n in 0..episodes {
            let dir = root.join(format!("episodes/ep-{n:06}"));
            fs::create_dir(&dir).expect("a folder");
            fs::write(dir.join("data.bin"), noise(n as u64, EPISODE_BYTES)).expect("a file");
            fs::write(dir.join("meta.json"), &meta).expect("a file");
        }
        // What was recorded just now is not the shipper's to write.
        let synced = Command::new("sync").arg("-f").arg(root).status();
        assert!(synced.is_ok_and(|status| status.success()), "sync -f");
    }

    fn command(&self, under: &[&str], args: &[&str]) -> Command {
        let program = self.program.display().to_string();
        let mut words = under.iter().copied().chain([program.as_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(args)
            .arg("--config")
            .arg(self.dir.join("shipper.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Ships all, under a command if one is named. The time that it took.
    fn drain(mut self, under: &[&str]) -> Duration {
        let began = Instant::now();
        let status = self.command(under, &["ship", "--once"]).status();
        let took = began.elapsed();
        assert!(
            status.is_ok_and(|status| status.success()),
            "all is shipped"
        );
        process::terminate(self.receiver.id());
        let _ = self.receiver.wait();
        took
    }
}

fn wait_for(address: SocketAddr) {
    let until = Instant::now() + PATIENCE;
    let asks = || Connection::open(address).and_then(|mut one| one.get("/v1/health"));
    while !asks().is_ok_and(|status| status == 200) {
        assert!(Instant::now() < until, "the receiver does not answer");
        thread::sleep(Duration::from_millis(5));
    }
}
