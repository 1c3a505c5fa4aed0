//! What is in the folder already: receipts, files of others, another pull, another list.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::shelf::{Say, Server, Shelf, problem};
use super::{Target, inode, slot_of};
use crate::client::PATIENCE;
use crate::world::has_steps;

#[test]
fn the_parent_of_the_folder_must_be_there() {
    let server = Server::good(Shelf::of(1));
    let target = Target::new();
    let to = target.dir.path().join("no/data");
    let mut command = crate::program::cis490();
    command
        .args(["pull", "--url", &server.url, "--to"])
        .arg(&to);
    let ran = super::ran(&mut command);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("is not there"), "{ran}");
    assert!(!target.dir.path().join("no").exists());
}

/// A link stands for the folder that it leads to, from the first moment on.
#[test]
fn a_link_is_followed_once_and_one_that_leads_nowhere_is_named() {
    let server = Server::good(Shelf::of(1));
    let target = Target::new();
    let real = target.dir.path().join("disk");
    fs::create_dir(&real).unwrap();
    let pull = |link: &str, to: &str| {
        let link = target.dir.path().join(link);
        symlink(target.dir.path().join(to), &link).unwrap();
        let mut command = crate::program::cis490();
        command.args(["pull", "--verify", "--url", &server.url, "--to"]);
        super::ran(command.arg(link))
    };
    let ran = pull("link", "disk");
    assert_eq!(ran.code, Some(0), "{ran}");
    let name = server.files().keys().next().unwrap().clone();
    let file = real.join(format!("{name}.tar.zst"));
    assert!(file.is_file(), "{ran}");
    // What is wrong there is named where it is.
    fs::write(&file, b"short").unwrap();
    let ran = pull("other", "disk");
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.err.contains(file.to_str().unwrap()), "{ran}");

    let ran = pull("nowhere", "not-mounted");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("is a link that leads nowhere"), "{ran}");
    assert!(!target.dir.path().join("not-mounted").exists());
}

#[test]
fn a_file_that_is_not_what_its_receipt_says_stays_and_is_named() {
    let server = Server::good(Shelf::of(6));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    // One is shorter, one has another byte, one is a folder.
    let short = target.tarball("lab-1/ep-3");
    fs::write(&short, b"short").unwrap();
    let rotten = target.tarball("lab-0/ep-4");
    let mut bytes = fs::read(&rotten).unwrap();
    bytes[9] ^= 1;
    fs::write(&rotten, &bytes).unwrap();
    let folder = target.tarball("lab-1/ep-5");
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let ran = target.pull(&server.url, &["--verify"]);
    assert_eq!(ran.code, Some(2), "{ran}");
    for (path, words) in [
        (&short, "it has 5 bytes, and should have 873"),
        (&rotten, "its SHA-256 is not that of its receipt"),
        (&folder, "it is a directory and not a file"),
    ] {
        let named = format!("{}: {words}: it stays", path.display());
        assert!(ran.err.contains(&named), "{named}\n{ran}");
    }
    assert_eq!(fs::read(&short).unwrap(), b"short");
    assert_eq!(fs::read(&rotten).unwrap(), bytes);
    assert!(folder.is_dir());
    // As the words say: away with them, and again.
    fs::remove_file(&short).unwrap();
    fs::remove_file(&rotten).unwrap();
    fs::remove_dir(&folder).unwrap();
    let ran = target.pull(&server.url, &["--verify"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    target.check(&server.files(), "repaired");
}

#[test]
fn a_file_without_a_receipt_is_taken_if_it_is_the_rows_and_else_stays() {
    let server = Server::good(Shelf::of(6));
    let target = Target::new();
    fs::create_dir_all(target.file("lab-1")).unwrap();
    let good = target.tarball("lab-1/ep-3");
    fs::write(&good, &server.files()["lab-1/ep-3"]).unwrap();
    let other = target.tarball("lab-1/ep-5");
    let same_length = vec![1; server.files()["lab-1/ep-5"].len()];
    fs::write(&other, &same_length).unwrap();
    let was = inode(&good);
    for _ in 0..2 {
        let ran = target.pull(&server.url, &[]);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(
            ran.err.contains("it has no receipt, and its bytes are not"),
            "{ran}"
        );
    }
    assert_eq!(fs::read(&other).unwrap(), same_length);
    assert_eq!(inode(&good), was);
    assert_eq!(target.receipts().len(), 5);
    fs::remove_file(&other).unwrap();
    target.pull_all(&server.url, &server.files());
    assert_eq!(inode(&good), was);
}

#[test]
fn a_torn_end_of_the_receipts_is_cut_away_and_a_torn_middle_is_named() {
    let server = Server::good(Shelf::of(9));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let index = target.file("index.jsonl");
    let text = fs::read_to_string(&index).unwrap();
    for torn in [&text[..text.len() - 20], &format!("{text}\0\0\0"), ""] {
        fs::write(&index, torn).unwrap();
        fs::remove_file(target.file("pull.json")).unwrap();
        target.pull_all(&server.url, &server.files());
    }
    fs::write(&index, format!("no receipt\n{text}")).unwrap();
    server.put("lab-1/new", b"new");
    let ran = target.pull(&server.url, &[]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.err.contains("line 1 of"), "{ran}");
    fs::write(&index, text).unwrap();
    target.pull_all(&server.url, &server.files());
}

/// Also by a pull for which nothing is new, and which would not open them.
#[test]
fn a_folder_or_link_under_the_name_of_a_pulls_own_file_is_named() {
    let server = Server::good(Shelf::of(3));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    for name in ["index.jsonl", "pull.json", "pull-missing.jsonl"] {
        let path = target.file(name);
        let aside = target.dir.path().join("aside");
        let is_there = path.exists();
        if is_there {
            fs::rename(&path, &aside).unwrap();
        }
        for kind in ["a directory", "a symbolic link"] {
            if kind == "a directory" {
                fs::create_dir(&path).unwrap();
            } else {
                symlink("/nowhere", &path).unwrap();
            }
            for more in [&[][..], &["--verify"]] {
                let ran = target.pull(&server.url, more);
                assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{name} {ran}");
                let words = format!("{} is {kind} and not a file", path.display());
                assert!(ran.err.contains(&words), "{name} {ran}");
                assert!(ran.err.contains("move it away, and pull again"), "{ran}");
            }
            if kind == "a directory" {
                fs::remove_dir(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        if is_there {
            fs::rename(&aside, &path).unwrap();
        }
        target.pull_all(&server.url, &server.files());
    }
}

/// A training job reads them: a pull for which nothing is new writes them again too.
#[test]
fn receipts_that_were_removed_are_written_again() {
    let server = Server::good(Shelf::of(3));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let receipts = target.receipts();
    let tarball = target.tarball(&slot_of(&receipts[0]));
    let was = inode(&tarball);
    fs::remove_file(target.file("index.jsonl")).unwrap();
    let ran = target.pull_all(&server.url, &server.files());
    assert!(
        ran.to_string()
            .contains("index.jsonl is not there any more"),
        "{ran}"
    );
    assert_eq!(target.receipts().len(), receipts.len(), "{ran}");
    assert_eq!(inode(&tarball), was, "{ran}");
    let ran = target.pull_all(&server.url, &server.files());
    assert!(!ran.to_string().contains("index.jsonl"), "{ran}");
}

#[test]
fn another_list_is_noticed_and_what_is_here_is_not_fetched_again() {
    let server = Server::good(Shelf::of(12));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let good = server.shelf.lock().unwrap().clone();
    let lines: Vec<&str> = good.index.split_inclusive('\n').collect();
    let mut reversed = lines.clone();
    reversed.reverse();
    let mut changed = lines.clone();
    let spaced = lines[11].replace("\"bytes\"", " \"bytes\"");
    changed[11] = &spaced;
    for (kind, store, index, words) in [
        ("rebuilt", "aa", reversed.concat(), "its index was rebuilt"),
        ("changed", "aa", changed.concat(), "its index was rebuilt"),
        (
            "shorter",
            "aa",
            lines[..5].concat(),
            "its index was rebuilt",
        ),
        (
            "another store",
            "bb",
            good.index.clone(),
            "another store is at this address",
        ),
        (
            "and back",
            "aa",
            good.index.clone(),
            "another store is at this address",
        ),
    ] {
        {
            let mut shelf = server.shelf.lock().unwrap();
            shelf.store = format!("00000000000000{store}");
            shelf.index = index;
        }
        server.forget();
        let ran = target.pull_all(&server.url, &good.files);
        assert!(ran.err.contains(words), "{kind}: {ran}");
        let only_lists = server
            .heard()
            .iter()
            .all(|head| head.target().contains('?'));
        assert!(only_lists, "{kind}: {:?}", server.heard());
        assert_eq!(target.pull(&server.url, &[]).err, "", "{kind}");
    }
}

/// The index is rebuilt between two questions of a first pull: what the first page has brought is looked for when
/// the list begins again, though its folders were not there at the beginning.
#[test]
fn a_list_that_begins_again_finds_what_the_same_pull_has_brought() {
    let is_rebuilt = AtomicBool::new(false);
    let server = Server::new(Shelf::of(20), move |head, shelf| {
        if head.target().contains("cursor=") && !is_rebuilt.swap(true, Ordering::SeqCst) {
            return Say::Bytes(problem("400 Bad Request", "bad-cursor"));
        }
        shelf.answer(head)
    });
    let target = Target::new();
    let ran = target.pull_all(&server.url, &server.files());
    assert!(ran.err.contains("its index was rebuilt"), "{ran}");
    let heard = server.heard();
    let tarballs = heard.iter().filter(|head| head.target().ends_with(".zst"));
    assert_eq!(tarballs.count(), 20, "{heard:?}");
}

#[test]
fn other_bytes_under_a_name_that_is_here_are_never_taken() {
    let server = Server::good(Shelf::of(3));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let files = server.files();
    let mut other = Shelf {
        store: "00000000000000bb".into(),
        ..Shelf::default()
    };
    other.put("lab-1/ep-3", b"another");
    other.put("lab-1/more", b"more");
    *server.shelf.lock().unwrap() = other;
    let ran = target.pull(&server.url, &[]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(
        ran.err.contains("lab-1/ep-3: the receiver has other bytes"),
        "{ran}"
    );
    let mut all = files;
    all.insert("lab-1/more".into(), b"more".to_vec());
    target.check(&all, "both stores");
}

#[test]
fn two_pulls_do_not_share_a_folder_and_a_watch_goes_on() {
    if !has_steps("a watch that looks more often") {
        return;
    }
    let server = Server::good(Shelf::of(3));
    let target = Target::new();
    let mut command = target.command(&server.url, &["--watch"]);
    command.env("CIS490_PULL_WATCH_MS", "20");
    let mut watch = command.stdout(Stdio::null()).spawn().unwrap();
    wait_until(|| target.receipts().len() == 3);
    let second = target.pull(&server.url, &[]);
    assert_eq!(second.code, Some(1), "{second}");
    let holder = format!("process {}", watch.id());
    assert!(second.err.contains(&holder), "{second}");
    server.put("lab-1/later", b"later");
    wait_until(|| target.receipts().len() == 4);
    crate::process::signal(watch.id(), "TERM");
    watch.wait().unwrap();
    target.pull_all(&server.url, &server.files());
}

fn wait_until(done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}
