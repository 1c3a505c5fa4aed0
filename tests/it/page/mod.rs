//! `GET /`, the pages of hosts and refusals, `GET /metrics` and `refusals.jsonl`: what a maintainer sees (design, section 2).

mod browser;
mod chart;
mod content;
mod help;
mod host;
mod looks;
mod metrics;
mod refusals;
mod running;

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use cis490::clock;
use serde_json::{Value, json};

use crate::client::{Client, Put};
use crate::world::{Repo, World};

/// As nasty as the grammars allow.
const NASTY_HOSTS: [&str; 6] = [
    "0--------------------------------------------------------------",
    "www-----------------------------------------------------------w",
    "constructor",
    "null",
    "xn--a",
    "0-0",
];
const NASTY_EPISODE: &str = "A_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-_.-.htm";

/// A lab host's report on its queue.
fn report(world: &World, host: &str, state: &Value) {
    let state = state.to_string();
    let length = state.len();
    let head = format!(
        "PUT /v1/hosts/{host}/state HTTP/1.1\r\nHost: pi\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut client = world.client();
    client.send((head + &state).as_bytes()).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// A receiver with a past: rows of days ago, written before it starts.
struct Lab {
    world: World,
    rows: Vec<(u64, String, String, u64, String)>,
}

impl Lab {
    /// Nothing yet; the window has 100 commits, and the repository 130.
    fn new(config: &str) -> Lab {
        let mut world =
            World::prepared(&format!("{config}\n[version_gate]\nrefresh_seconds = 1\n"));
        world.kill();
        let repo = Repo::new(&world.dir().join("long"), 130);
        let path = format!("local_repo_path = {:?}\n", repo.dir);
        let text = fs::read_to_string(world.config_path()).unwrap() + &path;
        fs::write(world.config_path(), text).unwrap();
        world.repo = repo;
        Lab {
            world,
            rows: Vec::new(),
        }
    }

    /// A commit by its place in the window.
    fn commit(&self, place: usize) -> String {
        let commits = &self.world.repo.commits;
        commits[commits.len() - place].clone()
    }

    /// Uploads of a host: one each `every` seconds, the last `ago` seconds ago.
    fn uploads(&mut self, host: &str, place: usize, count: u64, ago: u64, every: u64) {
        let commit = self.commit(place);
        for number in 0..count {
            let episode = format!("swing-{:04}", count - number);
            let row = (
                ago + number * every,
                host.to_owned(),
                episode,
                4_000_000 + 1000 * number,
                commit.clone(),
            );
            self.rows.push(row);
        }
    }

    fn start(mut self) -> Lab {
        self.rows.sort_by_key(|row| std::cmp::Reverse(row.0));
        let now = SystemTime::now();
        let lines = self.rows.iter().zip(1..).map(|((ago, host, episode, bytes, commit), seq)| {
            let at = clock::rfc3339(now - Duration::from_secs(*ago));
            let row = json!({
                "seq": seq, "host": host, "episode": episode, "bytes": bytes, "sha256": "0f".repeat(32),
                "commit": commit, "dirty": false, "received_at": at, "path": format!("episodes/{host}/{episode}.tar.zst"), "gate": null,
            });
            format!("{row}\n")
        });
        let index: String = lines.collect();
        fs::write(self.world.data_dir().join("index.jsonl"), index).unwrap();
        self.world.start();
        self.world.wait_until("the gate has its window", |world| {
            world.get("/v1/gate").json()["loaded"] == true
        });
        self
    }

    /// Five hosts that are well, one out of date, one that falls out soon, one silent, one gone,
    /// one whose token is wrong.
    fn with_trouble() -> Lab {
        let mut lab = Lab::new("");
        for (host, place, count) in [
            (1, 1, 40),
            (2, 1, 63),
            (3, 4, 25),
            (8, 2, 90),
            (10, 31, 120),
        ] {
            lab.uploads(
                &format!("lab-{host}"),
                place,
                count,
                60 * host,
                1500 + 200 * host,
            );
        }
        lab.uploads("lab-4", 89, 30, 1300, 4000);
        lab.uploads("lab-6", 3, 50, 3 * 86_400 + 4000, 1000);
        lab.uploads("lab-7", 116, 44, 18_000, 2000);
        lab.uploads("lab-9", 60, 20, 50 * 86_400, 3000);
        let lab = lab.start();
        for (path, commit) in [
            ("/v1/episodes/lab-7/swing-0045", lab.commit(116)),
            ("/v1/episodes/lab-11/first-swing", lab.commit(120)),
            ("/v1/episodes/Lab_3/swing-0026", lab.commit(1)),
        ] {
            let put = Put::sample(&commit).path(path);
            // On a busy machine the repository may not have answered in time: 503.
            lab.world.wait_until("it is refused for good", |world| {
                matches!(world.put(&put).status, 400 | 412)
            });
        }
        // The newest is the last on the page, which is kept for a second, and in the file.
        lab.wait_for_text("swing-0026");
        lab.wait_for_refusal("swing-0026");
        lab
    }

    fn with_nasty_names() -> Lab {
        let mut lab = Lab::new("");
        for host in NASTY_HOSTS {
            lab.uploads(host, 1, 1, 600, 1);
        }
        let lab = lab.start();
        let put = lab.world.good();
        let [host, ..] = NASTY_HOSTS;
        let answer = lab.world.put(
            &put.clone()
                .path(&format!("/v1/episodes/{host}/{NASTY_EPISODE}")),
        );
        assert_eq!(answer.status, 201, "{answer:?}");
        // Each from an address of its own: refusals of one address for one reason share a line.
        for (address, path) in [
            (2, "/v1/episodes/<img/src=x>"),
            (3, "/v1/episodes/\"'><script>alert(1)</script>/x"),
            (4, "/v1/episodes/&lt;b&gt;/{{7*7}}"),
            (5, "/<!--"),
        ] {
            let address = Ipv4Addr::new(127, 0, 0, address);
            let mut client = Client::connect_from(lab.world.address(), address);
            client.send(&put.clone().path(path).bytes()).unwrap();
            let answer = client.answer().unwrap();
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        }
        lab.wait_for_text("&lt;!--");
        lab
    }

    /// Waits until the file of refusals has this text: the page has it before.
    fn wait_for_refusal(&self, text: &str) {
        let file = self.world.data_dir().join("refusals.jsonl");
        self.world.wait_until("the refusal is written", |_| {
            let kept = fs::read(&file).unwrap_or_default();
            String::from_utf8_lossy(&kept).contains(text)
        });
    }

    /// Waits until the page has this text.
    fn wait_for_text(&self, text: &str) {
        self.world
            .wait_until(text, |world| world.get("/").body.contains(text));
    }
}
