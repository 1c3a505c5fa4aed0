//! Reading what is stored: who may, the list over HTTP, `cis490 list`, and the bytes of an
//! episode.

mod bounds;
pub mod bytes;
mod command;
mod keys;
mod list;
pub mod pull;
mod readers;
mod stores;

use std::fmt::Write as _;

pub use keys::{NO_GATE, READER};

use crate::client::Answer;
use crate::world::World;

/// A running receiver that the test may read, with this index and nothing else in its store.
pub fn with_index(index: &str) -> World {
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    std::fs::write(world.data_dir().join("index.jsonl"), index).unwrap();
    world.start();
    world
}

/// A row as the receiver writes it.
pub fn row(seq: usize, host: &str, episode: &str) -> String {
    format!(
        "{{\"seq\":{seq},\"host\":\"{host}\",\"episode\":\"{episode}\",\"bytes\":{seq},\"sha256\":\"{seq:064x}\",\"commit\":\"{commit}\",\"dirty\":false,\"received_at\":\"2026-01-02T03:04:05Z\",\"path\":\"episodes/{host}/{episode}.tar.zst\",\"gate\":null}}\n",
        commit = "c".repeat(40)
    )
}

/// So many rows, in turn of the hosts `lab-0` to `lab-2`.
pub fn rows(count: usize) -> String {
    let mut text = String::new();
    for seq in 1..=count {
        let host = format!("lab-{}", seq % 3);
        write!(text, "{}", row(seq, &host, &format!("ep-{seq}"))).unwrap();
    }
    text
}

/// The cursor of the page that follows.
pub fn next(answer: &Answer) -> u64 {
    let next = answer.header("X-Cis490-Next");
    let next = next.unwrap_or_else(|| panic!("no X-Cis490-Next: {answer:?}"));
    next.parse().unwrap()
}

/// The name of a problem.
pub fn problem(answer: &Answer) -> String {
    let kind = answer.json()["type"].as_str().unwrap().to_owned();
    kind.strip_prefix("urn:cis490:problem:").unwrap().to_owned()
}

/// All pages from here on: the rows of all, and how many pages there were.
pub fn all_pages(world: &World, query: &str) -> (String, usize) {
    let mut text = String::new();
    let mut answer = world.get(&format!("/v1/episodes{query}"));
    for pages in 1.. {
        assert_eq!(answer.status, 200, "{answer:?}");
        text += &answer.body;
        let Some(link) = answer.header("Link") else {
            return (text, pages);
        };
        let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (target, relation) = target.unwrap_or_else(|| panic!("{link}"));
        assert_eq!(relation, "; rel=\"next\"");
        let cursor = format!("cursor={}", next(&answer));
        assert!(target.contains(&cursor), "{link} {cursor}");
        answer = world.get(target);
    }
    unreachable!("the last page has no link")
}

/// The cursors at which the rows of this index begin.
pub fn starts(index: &str) -> Vec<usize> {
    let lengths = index.split_inclusive('\n').map(str::len);
    let begin = |end: &mut usize, length| {
        let begin = *end;
        *end += length;
        Some(begin)
    };
    lengths.scan(0, begin).collect()
}
