//! Who makes the load: recorders on lab hosts, uploaders that do right and wrong, readers.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{EPISODE_BYTES_MAX, Stage};
use crate::client::{Client, Put, sha256};
use crate::dice::Dice;
use crate::lab::{Lab, noise};

/// What one lab host's recorder has made.
pub struct Recorder {
    pub host: String,
    pub made: Vec<String>,
}

/// Of old commits each host has so many, so that what is held stays the same.
const HELD_MAX: usize = 5;

pub fn record(stage: &Stage, lab: &Lab, mut dice: Dice) -> Recorder {
    let (mut made, mut held) = (Vec::new(), 0);
    while stage.go_on(dice.wait(50, 900)) {
        let id = format!("ep-{}", made.len());
        match dice.below(100) {
            0..3 if held < HELD_MAX => {
                lab.episode(&id, &stage.old_commit());
                held += 1;
            }
            // One that can never be packed: set aside by the shipper itself.
            3..5 => {
                let dir = lab.path("episodes").join(&id);
                fs::create_dir_all(&dir).unwrap();
                symlink("/nonexistent", dir.join("link")).unwrap();
                lab.episode(&id, &stage.good_commit(&mut dice));
            }
            _ => {
                let bytes = size(&mut dice);
                lab.episode_with(&id, &stage.good_commit(&mut dice), &noise(bytes));
            }
        }
        made.push(id);
    }
    let config = fs::read_to_string(lab.config()).unwrap();
    let host = config.split("host_id = \"").nth(1).unwrap();
    Recorder {
        host: host.split('"').next().unwrap().to_owned(),
        made,
    }
}

/// Mostly small, sometimes of megabytes.
fn size(dice: &mut Dice) -> usize {
    let most = match dice.below(50) {
        0 => 4 << 20,
        1..10 => 300 << 10,
        _ => 20 << 10,
    };
    dice.below(most) as usize
}

/// Of an episode in the queue; empty if it has left meanwhile.
pub fn commit_of(lab: &Lab, id: &str) -> String {
    let text = fs::read_to_string(lab.path(&format!("episodes/{id}/meta.json")));
    let meta: serde_json::Value = match text {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => return String::new(),
    };
    meta["code_version"]["commit"].as_str().unwrap().to_owned()
}

/// What one direct uploader was told.
#[derive(Default)]
pub struct Direct {
    /// Name and digest.
    pub acknowledged: Vec<(String, String)>,
    /// Names of good uploads whose answer did not come.
    pub unanswered: Vec<String>,
}

pub fn upload(stage: &Stage, number: usize, mut dice: Dice) -> Direct {
    let mut direct = Direct::default();
    for n in 0.. {
        if !stage.go_on(dice.wait(20, 150)) {
            break;
        }
        let name = format!("direct-{number}/ep-{n}");
        let mut body = noise(dice.below(60_000) as usize);
        body.extend_from_slice(name.as_bytes());
        let good = Put::sample(&stage.good_commit(&mut dice))
            .path(&format!("/v1/episodes/{name}"))
            .body(&body);
        let earlier = direct.acknowledged.last().cloned();
        let (put, right): (Put, &[u16]) = match (dice.below(20), earlier) {
            (0, Some((earlier, _))) => (good.path(&format!("/v1/episodes/{earlier}")), &[409]),
            (1, _) => (good.sha256(&"0".repeat(64)), &[422]),
            (2, _) => (good.length(&(EPISODE_BYTES_MAX + 1).to_string()), &[413]),
            (3, _) => (good.no_commit(), &[400]),
            (4, _) => (good.commit(&stage.old_commit()), &[412]),
            (5, _) => (good.commit(&"5".repeat(40)), &[412]),
            (6, _) => (good.path("/v1/episodes/direct/..%2fetc"), &[400]),
            (7, _) => (good.extra("Transfer-Encoding: chunked\r\n"), &[501]),
            (8, _) => {
                cut_off(stage, &good, &mut dice);
                continue;
            }
            (9, _) => {
                good_and_again(stage, &good, (name, sha256(&body)), &mut direct);
                continue;
            }
            _ => {
                let status = exchange(stage, &good.bytes());
                note(stage, status, (name, sha256(&body)), &mut direct);
                continue;
            }
        };
        if let Some(status) = exchange(stage, &put.bytes()) {
            // 503: a restarted receiver that has not asked yet whether it knows the commit.
            assert!(
                right.contains(&status) || status == 503,
                "{status}, not {right:?}"
            );
            stage.note_refused();
        }
    }
    direct
}

fn note(stage: &Stage, status: Option<u16>, name: (String, String), direct: &mut Direct) {
    match status {
        Some(200 | 201) => direct.acknowledged.push(name),
        Some(503) => stage.note_refused(),
        None => direct.unanswered.push(name.0),
        Some(status) => panic!("{status} for the good upload {name:?}"),
    }
}

/// The same bytes a second time, on the same connection: 201, then 200.
fn good_and_again(stage: &Stage, put: &Put, name: (String, String), direct: &mut Direct) {
    let Some(mut client) = Client::try_connect(stage.address) else {
        return;
    };
    let (_, first) = (client.send(&put.bytes()), client.answer());
    let first = first.map(|answer| answer.status);
    note(stage, first, name, direct);
    if first == Some(201) {
        let (_, second) = (client.send(&put.bytes()), client.answer());
        assert!(second.is_none_or(|answer| answer.status == 200));
    }
}

/// Goes away in the middle: of the head, or of the body.
fn cut_off(stage: &Stage, put: &Put, dice: &mut Dice) {
    if let Some(mut client) = Client::try_connect(stage.address) {
        let bytes = put.bytes();
        let part = dice.below(bytes.len() as u64) as usize;
        let _ = client.send(&bytes[..part]);
    }
}

fn exchange(stage: &Stage, request: &[u8]) -> Option<u16> {
    let mut client = Client::try_connect(stage.address)?;
    let _ = client.send(request); // an answer may come before the end
    Some(client.answer()?.status)
}

/// Everything that is read, again and again.
pub fn read(stage: &Stage, mut dice: Dice) {
    let paths = [
        "/v1/health",
        "/metrics",
        "/",
        "/v1/gate",
        "/v1/status",
        "/v1/episodes/lab-0/ep-0",
        "/nowhere",
    ];
    while stage.go_on(Duration::from_millis(40)) {
        let path = dice.one_of(&paths).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n");
        let right: &[u16] = match *path {
            "/nowhere" => &[404],
            "/v1/episodes/lab-0/ep-0" => &[200, 404],
            _ => &[200, 503],
        };
        let status = exchange(stage, request.as_bytes());
        assert!(
            status.is_none_or(|status| right.contains(&status)),
            "{path}: {status:?}"
        );
    }
}
