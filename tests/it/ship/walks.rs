//! How often the shipper walks through an episode's directory before its first byte is sent.

use std::fs;

use super::stub::{Reply, Stub};
use super::{A, Lab};
use crate::syscalls::shipper::ship_under;
use crate::syscalls::{can_trace, whole_log};

/// A directory of the episode: each walk opens it once to list it.
const INNER: &str = "inner-directory";

/// The look at a new episode, the survey before it is packed, and the packing itself.
#[test]
fn an_episode_is_walked_three_times_before_it_is_sent() {
    if !can_trace("an_episode_is_walked_three_times_before_it_is_sent") {
        return;
    }
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let inner = lab.path("episodes/ep-1").join(INNER);
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("data.bin"), "data").unwrap();
    let log = lab.dir().join("calls");
    let path = log.display().to_string();
    let command = "strace -D -f -q -e trace=?open,openat,connect -o".split(' ');
    let command: Vec<String> = command.chain([path.as_str()]).map(str::to_owned).collect();
    let (process, status, said) = ship_under(&lab, &command);
    assert_eq!(status, Some(0), "{said}\n{lab}");
    let calls = whole_log(&log, process);
    let (before, _) = calls
        .split_once("connect(")
        .expect("it connects to the receiver");
    let named = format!("{INNER}\",");
    let lists = |line: &&str| line.contains(&named) && line.contains("O_DIRECTORY");
    let walks = before.lines().filter(lists).count();
    assert_eq!(walks, 3, "{calls}");
}
