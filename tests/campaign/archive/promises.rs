//! What was acknowledged, and whether it is kept: a whole file, or an object that the ledger calls proven
//! and whose bytes, read by another program, are right.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use super::stores::RealStore;
use super::{COMMIT, bucket};
use crate::client::{Client, Put, sha256};
use crate::dice::noise;
use crate::world::World;

/// In Garage's metadata, in one of its blocks, in several; in one part of Ceph's, in several; none at all.
const SIZES: [usize; 6] = [0, 900, 70_000, 400_000, 1_500_000, 5_000_123];

/// How many bytes the episode of this number has.
pub fn size(n: u64) -> usize {
    SIZES[n as usize % SIZES.len()]
}

/// Digests by slot.
pub type Kept = BTreeMap<String, String>;

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Acknowledged,
    /// 507.
    NoRoom,
    /// Without an answer.
    Cut,
}

/// Of an upload of this number: its bytes follow from the number alone.
pub fn put(n: u64) -> (String, Put) {
    let body = noise(n, size(n));
    let slot = format!("lab-{}/ep-{n}", n / 25);
    let put = Put::sample(COMMIT)
        .path(&format!("/v1/episodes/{slot}"))
        .body(&body);
    (slot, put)
}

/// Uploads it, and notes the promise if there is one.
pub fn upload(world: &World, n: u64, kept: &Mutex<Kept>) -> Ended {
    let (slot, put) = put(n);
    let answer = Client::try_connect(world.address()).and_then(|mut client| {
        // A refusal may come before the body is sent.
        let _ = client.send(&put.bytes());
        client.answer()
    });
    match answer.map(|answer| answer.status) {
        Some(200 | 201) => {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(slot, sha256(&put.body));
            Ended::Acknowledged
        }
        Some(507) => Ended::NoRoom,
        None => Ended::Cut,
        Some(other) => panic!("{slot}: {other}\n{world}"),
    }
}

/// Uploads all of them, which must be accepted.
pub fn upload_all(world: &World, numbers: std::ops::Range<u64>, kept: &Mutex<Kept>) {
    for n in numbers {
        assert_eq!(upload(world, n, kept), Ended::Acknowledged, "{n}\n{world}");
    }
}

/// Whether the local file of the episode of this number is here.
pub fn is_here(world: &World, n: u64) -> bool {
    let (slot, _) = put(n);
    let path = world.data_dir().join(format!("episodes/{slot}.tar.zst"));
    path.exists()
}

/// Where the promised episodes are.
#[derive(Debug, Default)]
pub struct Found {
    pub here: usize,
    /// In the bucket alone.
    pub evicted: usize,
}

/// Every promise is kept, and no object has other bytes than its key says.
pub fn check(world: &World, store: &dyn RealStore, kept: &Kept) -> Found {
    let objects = bucket::digests(store);
    for (key, digest) in &objects {
        assert!(
            key.ends_with(&format!("~{digest}.tar.zst")),
            "{key} has {digest}\n{world}"
        );
    }
    let rows = rows(world);
    let states = ledger(world);
    let mut found = Found::default();
    for (slot, digest) in kept {
        assert_eq!(
            rows.get(slot),
            Some(&vec![digest.clone()]),
            "the row of {slot}\n{world}"
        );
        let key = key(slot, digest);
        let (host, episode) = slot.split_once('/').unwrap();
        if let Some(bytes) = world.stored(host, episode) {
            assert_eq!(sha256(&bytes), *digest, "the file of {slot}\n{world}");
            found.here += 1;
        } else {
            let state = states.get(&key).map(String::as_str);
            assert_eq!(state, Some("proven"), "{slot} is not here\n{world}");
            assert_eq!(
                objects.get(&key),
                Some(digest),
                "{slot} is not here\n{world}"
            );
            found.evicted += 1;
        }
    }
    found
}

pub fn key(slot: &str, digest: &str) -> String {
    format!("episodes/{slot}~{digest}.tar.zst")
}

/// The digests of the rows, by slot.
fn rows(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in world.rows() {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let slot = format!("{}/{}", text("host"), text("episode"));
        rows.entry(slot).or_default().push(text("sha256"));
    }
    rows
}

/// The last state of each object that the ledger knows, by its key.
pub fn ledger(world: &World) -> BTreeMap<String, String> {
    let path = world.data_dir().join("archive.jsonl");
    let text = fs::read_to_string(path).unwrap_or_default();
    // A kill may leave a part of a line.
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let states = lines.map(|line| {
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        let slot = format!("{}/{}", word("host"), word("episode"));
        (key(&slot, &word("sha256")), word("state"))
    });
    states.collect()
}
