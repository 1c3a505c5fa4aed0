//! "Set up in five minutes" of the README, line by line: two folders stand for the Pi and for the lab host,
//! addresses of this machine for those in WireGuard, and a Forgejo with a repository for the lab's own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};
use crate::forgejo::Forgejo;
use crate::here::{TempDir, own_address};
use crate::process::signal;
use crate::program::cis490;
use crate::repository::Repository;

const README: &str = include_str!("../../README.md");

/// The text of the section, and its blocks of code in their order.
fn section() -> (&'static str, Vec<&'static str>) {
    let (_, rest) = README.split_once("\n## Set up in five minutes\n").unwrap();
    let (text, _) = rest.split_once("\n## ").unwrap();
    (text, text.split("```").skip(1).step_by(2).collect())
}

/// The commands of a block, without their remarks.
fn commands(block: &str) -> Vec<String> {
    let lines = block.lines().map(|line| line.split('#').next().unwrap());
    let lines = lines.map(|line| line.trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// A folder that stands for a machine, and what is there in the place of the README's addresses.
struct Machine<'a> {
    dir: TempDir,
    config: &'static str,
    replaced: &'a [(&'static str, String)],
}

impl<'a> Machine<'a> {
    fn new(config: &'static str, replaced: &'a [(&'static str, String)]) -> Machine<'a> {
        Machine {
            dir: TempDir::new(),
            config,
            replaced,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn here(&self, text: &str) -> String {
        let replace = |text: String, (from, to): &(&str, String)| text.replace(from, to);
        self.replaced.iter().fold(text.to_owned(), replace)
    }

    /// Runs a line of the README on this machine, and more words behind it; what it prints.
    fn run(&self, line: &str, more: &[&str]) -> String {
        let line = self.here(line);
        let words = line.strip_prefix("sudo ").unwrap_or(&line);
        let words = words.strip_prefix("./").unwrap_or(words);
        let words: Vec<&str> = words.strip_prefix("cis490 ").unwrap().split(' ').collect();
        let mut command = cis490();
        command.args(&words).args(more);
        match words[0] {
            "install" => command.arg("--root").arg(self.dir.path()),
            "token" => &mut command,
            _ => command.arg("--config").arg(self.at(self.config)),
        };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}\n{said}\n{output:?}");
        said
    }

    fn edit(&self, change: impl Fn(String) -> String) {
        let path = self.at(self.config);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, change(text)).unwrap();
    }

    /// Its folder is where this machine sees it.
    fn move_data(&self) {
        let data = self.at("var/lib/cis490").display().to_string();
        self.edit(|text| text.replace("\"/var/lib/cis490\"", &format!("{data:?}")));
    }
}

/// The receiver, which ends with its owner.
struct Running(Child);

impl Running {
    /// Waits until it answers.
    fn start(machine: &Machine<'_>, address: SocketAddr) -> Running {
        let log = fs::File::create(machine.at("log")).unwrap();
        let mut command: Command = cis490();
        command.arg("receive").arg("--config");
        command.arg(machine.at(machine.config)).stdin(Stdio::null());
        let running = Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(machine.at("log")).unwrap();
            let is_ready = log.contains(&format!("event=listening address={address} "));
            if is_ready && is_well(address) {
                return running;
            }
            assert!(Instant::now() < until, "{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_well(address: SocketAddr) -> bool {
    let mut client = Client::connect(address);
    client
        .send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    client.answer().is_some_and(|answer| answer.status == 200)
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

#[test]
fn the_five_minutes_of_the_readme_end_with_an_episode_on_the_pi() {
    let (text, blocks) = section();
    let [install_receiver, toml, start, install_shipper] = blocks[..] else {
        panic!("{blocks:#?}");
    };
    let repository = Repository::new(4);
    let forgejo = Forgejo::serve(repository.path());
    let address = own_address();
    let replaced = [
        ("http://127.0.0.1:3000", forgejo.url.clone()),
        ("10.8.0.1:8490", address.to_string()),
        ("\"10.8.0.11\"", "\"127.0.0.1\"".to_owned()),
    ];

    let pi = Machine::new("etc/cis490/receiver.toml", &replaced);
    for line in commands(install_receiver) {
        assert!(
            line.contains("--forgejo-url") && line.contains("--repo"),
            "{line}"
        );
        pi.run(&line, &[]);
    }
    // The first line in the place of the one that is there, the rest at the end.
    let lines = toml.strip_prefix("toml\n").unwrap();
    let (listen, hosts) = lines.split_once('\n').unwrap();
    pi.edit(|text| {
        let is_listen = |line: &&str| line.starts_with("listen = ");
        let before = text.lines().find(is_listen).unwrap();
        text.replacen(before, &pi.here(listen), 1) + &pi.here(hosts)
    });
    pi.move_data();
    let mut receiver = None;
    for line in commands(start) {
        if line == "sudo systemctl restart cis490-receiver" {
            receiver = Some(Running::start(&pi, address));
        } else {
            let said = pi.run(&line, &[]);
            assert!(
                said.contains(&repository.log("main", 1)[0].to_string()),
                "{said}"
            );
        }
    }
    assert!(receiver.is_some(), "{start}");

    let lab = Machine::new("etc/cis490/shipper.toml", &replaced);
    for line in commands(install_shipper) {
        if line.contains(" install ") {
            lab.run(&line, &[]);
            lab.move_data();
        } else {
            lab.run(&line, &["--repo", repository.path().to_str().unwrap()]);
        }
    }
    // As the section tells the recorder.
    assert!(text.contains("`/var/lib/cis490/episodes/<id>/`"), "{text}");
    let episode = lab.at("var/lib/cis490/episodes/ep-1");
    fs::create_dir(&episode).unwrap();
    fs::write(episode.join("data.bin"), "recorded").unwrap();
    let commit = repository.log("main", 1)[0].to_string();
    let meta = format!(r#"{{"code_version":{{"commit":"{commit}","dirty":false}}}}"#);
    fs::write(episode.join("meta.json"), meta).unwrap();
    lab.run("cis490 ship", &["--once"]);
    let index = fs::read_to_string(pi.at("var/lib/cis490/index.jsonl")).unwrap();
    assert!(
        index.contains(r#""host":"lab-1","episode":"ep-1""#),
        "{index}"
    );

    // What else the section says that one types.
    let add = "sudo cis490 host add lab-2 --address 10.8.0.12";
    for (named, line) in [
        ("`cis490 config`", "cis490 config"),
        (&*format!("`{add}`"), add),
        ("`host remove lab-2`", "sudo cis490 host remove lab-2"),
        ("`cis490 token lab-1`", "cis490 token lab-1"),
    ] {
        assert!(text.contains(named), "{named}\n{text}");
        pi.run(line, &[]);
    }
}
