//! Lab hosts that upload without rest, with commits of every sort, and note each answer.

use std::net::SocketAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::truth::{Moment, Said, Seen};
use crate::client::{Answer, Client, Put};
use crate::dice::Dice;

/// What all of them look at.
pub struct Scene {
    pub start: Instant,
    pub address: RwLock<SocketAddr>,
    pub commits: RwLock<Commits>,
    pub over: AtomicBool,
}

/// What there is to choose from.
#[derive(Default)]
pub struct Commits {
    /// Newest first.
    pub window: Vec<String>,
    /// Made, and not pushed yet.
    pub planned: Vec<String>,
    /// Were in the window once.
    pub former: Vec<String>,
}

impl Scene {
    pub fn now(&self) -> Moment {
        self.start.elapsed()
    }

    fn choose(&self, dice: &mut Dice) -> String {
        let commits = self.commits.read().unwrap();
        let unknown_host = format!("{:040x}", dice.below(1 << 40));
        let chosen = match dice.below(100) {
            0..35 => commits.window.first(),
            35..60 => dice.one_of(&commits.window),
            60..75 => dice.one_of(&commits.planned),
            75..95 => dice.one_of(&commits.former),
            _ => None,
        };
        chosen.cloned().unwrap_or(unknown_host)
    }
}

/// What one host has seen in the end.
#[derive(Default)]
pub struct Diary {
    pub seen: Vec<Seen>,
    /// Names of the episodes for which 200 or 201 was heard.
    pub acknowledged: Vec<String>,
    pub unanswered: usize,
}

/// An upload of which no answer came.
struct Lost {
    episode: String,
    commit: String,
    asked: Moment,
}

/// One host, until it is over.
pub fn upload_until_over(scene: &Scene, host: usize, mut dice: Dice) -> Diary {
    let mut diary = Diary::default();
    let mut lost = None;
    for n in 0.. {
        if scene.over.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(dice.wait(5, 150));
        let upload = lost.take().unwrap_or_else(|| Lost {
            episode: format!("ep-{n}"),
            commit: scene.choose(&mut dice),
            asked: scene.now(),
        });
        match dice.one_in(5) {
            true => ask(scene, &upload.commit, &mut diary),
            false => lost = send(scene, host, upload, &mut diary),
        }
    }
    diary
}

/// Sends one; hands it back if no answer came.
fn send(scene: &Scene, host: usize, upload: Lost, diary: &mut Diary) -> Option<Lost> {
    let Lost {
        episode,
        commit,
        asked,
    } = &upload;
    let put = Put::sample(commit)
        .path(&format!("/v1/episodes/lab-{host}/{episode}"))
        .body(format!("{episode} of {host}").as_bytes());
    let Some(answer) = exchange(scene, &put.bytes()) else {
        diary.unanswered += 1;
        return Some(upload);
    };
    let said = match answer.status {
        200 | 201 => {
            diary.acknowledged.push(format!("lab-{host}/{episode}"));
            Said::Admitted(position(&answer))
        }
        status => refusal(status, &answer),
    };
    diary.seen.push(Seen {
        asked: *asked,
        answered: scene.now(),
        commit: commit.clone(),
        said,
    });
    None
}

/// `GET /v1/gate/{commit}`: the same verdict without an upload.
fn ask(scene: &Scene, commit: &str, diary: &mut Diary) {
    let asked = scene.now();
    let request = format!("GET /v1/gate/{commit} HTTP/1.1\r\nHost: pi\r\n\r\n");
    let Some(answer) = exchange(scene, request.as_bytes()) else {
        diary.unanswered += 1;
        return;
    };
    let said = match answer.status {
        200 => Said::Admitted(answer.json()["position"].as_u64().map(|n| n as usize)),
        status => refusal(status, &answer),
    };
    diary.seen.push(Seen {
        asked,
        answered: scene.now(),
        commit: commit.to_owned(),
        said,
    });
}

fn exchange(scene: &Scene, request: &[u8]) -> Option<Answer> {
    let address = *scene.address.read().unwrap();
    let mut client = Client::try_connect(address)?;
    client.send(request).ok()?;
    client.answer()
}

/// 412 comes with what is known of the commit and with lines to paste where they help, 503 with when
/// to come back.
fn refusal(status: u16, answer: &Answer) -> Said {
    match status {
        412 => {
            let problem = answer.json();
            let known = problem["known"].as_str().unwrap_or("none");
            let words = ["older", "elsewhere", "never-pushed", "unknown"];
            assert!(words.contains(&known), "{answer:?}");
            let has_lines = problem["remediation"].is_string();
            assert_eq!(has_lines, known == "older", "{answer:?}");
            assert!(problem["head_commit"].is_string(), "{answer:?}");
            Said::Refused
        }
        503 => {
            assert!(answer.header("Retry-After").is_some(), "{answer:?}");
            Said::Later
        }
        _ => panic!("not an answer of the gate: {answer:?}"),
    }
}

/// `X-Cis490-Gate-Position: 3/12`; not told for what was stored before.
fn position(answer: &Answer) -> Option<usize> {
    let (position, _) = answer.header("X-Cis490-Gate-Position")?.split_once('/')?;
    Some(position.parse().unwrap())
}
