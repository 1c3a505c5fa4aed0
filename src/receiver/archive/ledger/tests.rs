//! Lines of the ledger: the last counts, torn ones, those of other processes.

use std::fs;
use std::io::Write;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let unique = format!("cis490-ledger-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(NAME)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(episode: &str, digit: &str, state: State) -> Entry {
    Entry {
        host: HostId::parse("lab-1").unwrap(),
        episode: EpisodeId::parse(episode).unwrap(),
        sha256: Sha256Digest::parse(&digit.repeat(64)).unwrap(),
        at: "2026-11-23T23:46:12Z".to_owned(),
        state,
    }
}

fn state(ledger: &Ledger, episode: &str, digit: &str) -> Option<State> {
    let entry = entry(episode, digit, State::Proven);
    ledger.state(&entry.slot(), &entry.sha256).unwrap()
}

fn proofs(ledger: &Ledger) -> Vec<String> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some((entry, next)) = ledger.next_proof(offset).unwrap() {
        found.push(entry.episode.to_string());
        offset = next;
    }
    found
}

#[test]
fn the_last_line_about_an_object_counts() {
    let folder = Folder::new("last");
    let ledger = Ledger::open(&folder.0).unwrap();
    for entry in [
        entry("a", "1", State::Proven),
        entry("b", "1", State::Listed),
        entry("c", "1", State::Proven),
        entry("a", "2", State::Lost),
        entry("a", "1", State::Lost),
        entry("b", "1", State::Proven),
    ] {
        ledger.append(&entry).unwrap();
    }
    for ledger in [ledger, Ledger::open(&folder.0).unwrap()] {
        assert_eq!(state(&ledger, "a", "1"), Some(State::Lost));
        assert_eq!(state(&ledger, "a", "2"), Some(State::Lost));
        assert_eq!(state(&ledger, "b", "1"), Some(State::Proven));
        assert_eq!(state(&ledger, "c", "1"), Some(State::Proven));
        assert_eq!(state(&ledger, "c", "2"), None);
        assert_eq!(proofs(&ledger), ["c", "b"]);
    }
}

#[test]
fn a_torn_line_is_ended_and_ignored() {
    let folder = Folder::new("torn");
    Ledger::open(&folder.0)
        .unwrap()
        .append(&entry("a", "1", State::Proven))
        .unwrap();
    for torn in [&b"{\"host\":\"lab-1\",\"epi"[..], &[0; 3000]] {
        let mut file = File::options().append(true).open(folder.file()).unwrap();
        file.write_all(torn).unwrap();
        let ledger = Ledger::open(&folder.0).unwrap();
        assert_eq!(state(&ledger, "a", "1"), Some(State::Proven));
        ledger.append(&entry("b", "1", State::Proven)).unwrap();
        assert_eq!(state(&ledger, "b", "1"), Some(State::Proven));
        let again = Ledger::open(&folder.0).unwrap();
        assert_eq!(state(&again, "b", "1"), Some(State::Proven));
    }
}

#[test]
fn what_another_process_appends_is_read_on() {
    let folder = Folder::new("other");
    let ours = Ledger::open(&folder.0).unwrap();
    ours.append(&entry("a", "1", State::Proven)).unwrap();
    assert_eq!(ours.read_on().unwrap(), News { unsettles: false });
    let other = Ledger::open(&folder.0).unwrap();
    other.append(&entry("b", "1", State::Proven)).unwrap();
    assert_eq!(ours.read_on().unwrap(), News { unsettles: false });
    assert_eq!(state(&ours, "b", "1"), Some(State::Proven));
    other.append(&entry("a", "1", State::Lost)).unwrap();
    ours.catch_up().unwrap();
    assert_eq!(state(&ours, "a", "1"), Some(State::Lost));
    assert_eq!(ours.read_on().unwrap(), News { unsettles: true });
    assert_eq!(ours.read_on().unwrap(), News { unsettles: false });
    assert_eq!(state(&ours, "a", "1"), Some(State::Lost));
    // Deleted, all is to be proven again.
    fs::remove_file(folder.file()).unwrap();
    assert_eq!(ours.read_on().unwrap(), News { unsettles: true });
    assert_eq!(state(&ours, "b", "1"), None);
}
