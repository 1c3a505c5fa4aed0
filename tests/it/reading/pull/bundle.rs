//! The small tarballs of a page that come in one answer, and servers whose bundles are none: whatever comes of
//! a bundle, the folder is right, and what has not come is asked for by its own path.

use std::fs;

use super::receiver::store;
use super::shelf::{Head, Say, Server, Shelf, head, problem, with_body};
use super::{Files, Target};
use crate::reading::{NO_GATE, READER};
use crate::world::World;

const TAR: &str = "/v1/episodes.tar?";

/// What a server says in place of a tar.
type Lie = fn(&[u8], &Shelf) -> Say;

/// A shelf of so many small episodes on pages of so many rows.
fn shelf(count: usize, page_rows: usize) -> Shelf {
    let mut shelf = Shelf {
        page_rows,
        ..Shelf::of(0)
    };
    for n in 1..=count {
        let bytes = crate::dice::noise(n as u64, n * 997 % 9000);
        shelf.put(&format!("lab-{}/ep-{n}", n % 2), &bytes);
    }
    shelf
}

fn is_bundle(head: &Head) -> bool {
    head.target().starts_with(TAR)
}

fn bundles(server: &Server) -> usize {
    server.heard().iter().filter(|head| is_bundle(head)).count()
}

/// The tar whose entries these are: of a name of any bytes, of a kind, with a length that may lie.
fn tar_of<'a>(
    entries: impl IntoIterator<Item = (&'a str, tar::EntryType, u64, &'a [u8])>,
) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, kind, length, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(length);
        header.set_cksum();
        text.extend_from_slice(header.as_bytes());
        text.extend_from_slice(bytes);
        text.resize(text.len().next_multiple_of(512), 0);
    }
    text.extend_from_slice(&[0; 1024]);
    text
}

fn ok(tar: &[u8]) -> Say {
    Say::Bytes(with_body("200 OK", "", tar))
}

#[test]
fn small_tarballs_come_in_one_answer_and_a_large_one_by_its_own_path() {
    let mut shelf = shelf(40, 50);
    shelf.put("lab-1/empty", b"");
    shelf.put("lab-1/large", &crate::dice::noise(7, (1 << 20) + 1));
    let server = Server::with_bundles(shelf);
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let heard: Vec<String> = server
        .heard()
        .iter()
        .map(|head| head.target().to_owned())
        .collect();
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(bundles(&server), 1, "{heard:?}");
    assert!(
        heard.contains(&"/v1/episodes/lab-1/large.tar.zst".to_owned()),
        "{heard:?}"
    );
    // What is here already is not asked for again: of the same page a few are new.
    for n in 0..5 {
        server.put(&format!("lab-1/new-{n}"), b"new");
    }
    server.forget();
    target.pull_all(&server.url, &server.files());
    assert_eq!((bundles(&server), server.heard().len()), (0, 6));
}

#[test]
fn each_page_has_a_bundle_of_its_own() {
    let server = Server::with_bundles(shelf(100, 20));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    assert_eq!(
        (bundles(&server), server.heard().len()),
        (5, 10),
        "{:?}",
        server.heard()
    );
}

#[test]
fn the_question_for_a_bundle_is_that_for_its_page() {
    let server = Server::with_bundles(shelf(60, 30));
    let target = Target::new();
    target.pull(&server.url, &["--host", "lab-1"]);
    let heard = server.heard();
    let queries = |path: &str| {
        let targets = heard
            .iter()
            .filter_map(|head| head.target().strip_prefix(path));
        let mut queries: Vec<&str> = targets.collect();
        queries.sort_unstable();
        queries
    };
    let pages = queries("/v1/episodes?");
    assert_eq!((pages.len(), &pages), (2, &queries(TAR)), "{heard:?}");
    assert!(
        pages.iter().all(|query| query.contains("host=lab-1")),
        "{heard:?}"
    );
}

/// The answer would have all small ones of the page.
#[test]
fn no_bundle_is_asked_for_of_which_most_is_here() {
    let server = Server::with_bundles(shelf(40, 100));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    for n in 0..39 {
        server.put(&format!("lab-1/new-{n}"), b"new");
    }
    fs::remove_file(target.file("pull.json")).unwrap();
    server.forget();
    target.pull_all(&server.url, &server.files());
    assert_eq!((bundles(&server), server.heard().len()), (0, 40));
    // Of half it is.
    for n in 39..120 {
        server.put(&format!("lab-1/new-{n}"), b"new");
    }
    fs::remove_file(target.file("pull.json")).unwrap();
    server.forget();
    target.pull_all(&server.url, &server.files());
    assert_eq!(bundles(&server), 1, "{:?}", server.heard());
}

/// The tar begins with the row that the last pull has seen, which is not asked for.
#[test]
fn what_follows_a_long_row_that_is_here_comes_in_one_answer() {
    let mut shelf = shelf(0, 100);
    shelf.put("lab-1/here", &crate::dice::noise(7, 1 << 20));
    let server = Server::with_bundles(shelf);
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    for n in 0..20 {
        server.put(&format!("lab-1/new-{n}"), b"new");
    }
    server.forget();
    target.pull_all(&server.url, &server.files());
    assert_eq!((bundles(&server), server.heard().len()), (1, 2));
}

/// They would come, and not be known.
#[test]
fn no_bundle_is_asked_for_of_names_that_no_header_has_room_for() {
    let mut shelf = shelf(0, 100);
    for n in 10..30 {
        shelf.put(&format!("lab-1/{}-{n}", "n".repeat(90)), b"long");
    }
    let server = Server::with_bundles(shelf);
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    assert_eq!((bundles(&server), server.heard().len()), (0, 21));
}

/// From a real receiver, in chunks. A name that is too long for a header is asked for by its own path.
#[test]
fn a_receiver_sends_bundles_and_the_pull_takes_them() {
    let world = World::with(&format!("{READER}{NO_GATE}"));
    let mut files = Files::new();
    for n in 0..40 {
        let bytes = crate::dice::noise(n, n as usize * 1500 + 1);
        store(&world, &mut files, "lab-1", &format!("ep-{n}"), &bytes);
    }
    store(
        &world,
        &mut files,
        "lab-1",
        &"n".repeat(120),
        b"a long name",
    );
    let target = Target::new();
    target.pull_all(&format!("http://{}", world.address()), &files);
    let lines = ["event=bundle_ended ", "event=download_ended "];
    world.wait_until("both ends are logged", |world| {
        let log = world.log();
        lines.iter().all(|line| log.contains(line))
    });
    let log = world.log();
    assert!(
        lines.map(|line| log.matches(line).count()) == [1, 1],
        "{log}"
    );
}

/// A pull that ends does not wait for a bundle that does not.
#[test]
fn a_pull_that_ends_leaves_a_bundle_under_way() {
    let mut shelf = shelf(40, 50);
    shelf.put("lab-1/large", &crate::dice::noise(7, (1 << 20) + 1));
    let server = Server::new(shelf, |request, shelf| {
        if is_bundle(request) {
            let length = u64::MAX >> 1;
            let mut other = tar_of([("lab-1/other", tar::EntryType::Regular, length, &b""[..])]);
            other.truncate(512);
            let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            return Say::Drips([head, other].concat());
        }
        if request.target().ends_with("/large.tar.zst") {
            return Say::Bytes(problem("403 Forbidden", "not-a-reader"));
        }
        shelf.answer(request)
    });
    let target = Target::new();
    let ran = target.pull(&server.url, &[]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("403"), "{ran}");
}

/// An older receiver has no such path: it is asked for one bundle or a few, and then no more.
#[test]
fn a_receiver_without_bundles_is_asked_for_each_tarball() {
    let server = Server::good(shelf(200, 20));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    assert!((1..=3).contains(&bundles(&server)), "{}", bundles(&server));
}

#[test]
fn whatever_comes_in_place_of_a_bundle_the_folder_is_right() {
    const FILE: tar::EntryType = tar::EntryType::Regular;
    let lies: [(&str, Lie); 14] = [
        ("503", |_, _| {
            Say::Bytes(problem("503 Service Unavailable", "too-many-downloads"))
        }),
        ("500", |_, _| {
            Say::Bytes(problem("500 Internal Server Error", "broken"))
        }),
        ("403", |_, _| {
            Say::Bytes(problem("403 Forbidden", "not-a-reader"))
        }),
        ("a redirect", |_, _| {
            Say::Bytes(with_body(
                "307 Temporary Redirect",
                "Location: http://127.0.0.1:1/\r\n",
                b"",
            ))
        }),
        ("nothing", |_, _| Say::Bytes(Vec::new())),
        ("no tar", |_, _| ok(&crate::dice::noise(1, 100_000))),
        ("an empty tar", |_, _| ok(&[0; 1024])),
        ("a half", |tar, _| {
            let half = head("200 OK", "", tar.len()).into_bytes();
            Say::Bytes([&half, &tar[..tar.len() / 2]].concat())
        }),
        ("a half that ends well", |tar, _| ok(&tar[..tar.len() / 2])),
        ("other bytes", |tar, _| {
            let mut tar = tar.to_vec();
            tar.iter_mut()
                .skip(700)
                .step_by(5000)
                .for_each(|byte| *byte ^= 1);
            ok(&tar)
        }),
        ("names of elsewhere", |tar, shelf| {
            let good = &shelf.files["lab-1/ep-1"];
            let names = ["../evil", "lab-1/../../evil", "lab-1/ep-1.tar.zst/x", ""];
            let entry = |name| (name, FILE, good.len() as u64, &good[..]);
            ok(&[&tar_of(names.map(entry))[..], tar].concat())
        }),
        ("other kinds", |_, shelf| {
            use tar::EntryType as Kind;
            let good = &shelf.files["lab-1/ep-1"];
            let kinds = [
                Kind::Symlink,
                Kind::Link,
                Kind::Directory,
                Kind::GNULongName,
                Kind::GNUSparse,
            ];
            let entry = |kind| ("lab-1/ep-1.tar.zst", kind, good.len() as u64, &good[..]);
            ok(&tar_of(kinds.map(entry)))
        }),
        ("lengths that lie", |_, shelf| {
            let good = &shelf.files["lab-1/ep-1"];
            let lengths = [0, 1, u64::MAX >> 1, u64::MAX];
            ok(&tar_of(lengths.map(|length| {
                ("lab-1/ep-1.tar.zst", FILE, length, &good[..])
            })))
        }),
        ("without end", |_, _| {
            let first = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            let mut other = tar_of([("lab-1/other", FILE, 512, &[1; 512][..])]);
            other.truncate(1024);
            Say::Endless(first, other.repeat(64))
        }),
    ];
    for (kind, lie) in lies {
        let server = Server::new(shelf(40, 50), move |head, shelf| {
            if is_bundle(head) {
                lie(&shelf.bundle(head), shelf)
            } else {
                shelf.answer(head)
            }
        });
        let target = Target::new();
        let ran = target.pull(&server.url, &[]);
        assert_eq!(ran.code, Some(0), "{kind}: {ran}");
        target.check(&server.files(), kind);
        assert_eq!(bundles(&server), 1, "{kind}");
        let beside: Vec<_> = fs::read_dir(target.dir.path()).unwrap().collect();
        assert_eq!(beside.len(), 1, "{kind}: {beside:?}");
    }
}

/// What has come of a bundle that broke is not asked for again, and of the one in whose middle it broke only the
/// rest.
#[test]
fn a_bundle_that_breaks_leaves_what_has_come() {
    let mut shelf = Shelf {
        page_rows: 50,
        ..Shelf::of(0)
    };
    for n in 0..40 {
        shelf.put(&format!("lab-1/ep-{n:02}"), &crate::dice::noise(n, 3000));
    }
    // A header, 3000 bytes and 72 more each: it breaks in the bytes of the 21st.
    let server = Server::new(shelf, |request, shelf| {
        if !is_bundle(request) {
            return shelf.answer(request);
        }
        let tar = shelf.bundle(request);
        let head = head("200 OK", "", tar.len()).into_bytes();
        Say::Bytes([&head, &tar[..20 * 3584 + 512 + 1000]].concat())
    });
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let heard = server.heard();
    let mut single: Vec<&Head> = heard
        .iter()
        .filter(|head| head.target().ends_with(".zst"))
        .collect();
    single.sort_by_key(|head| head.target().to_owned());
    assert_eq!(single.len(), 20, "{heard:?}");
    assert_eq!(single[0].target(), "/v1/episodes/lab-1/ep-20.tar.zst");
    assert_eq!(single[0].header("Range"), Some("bytes=1000-"));
    assert!(
        single[1..]
            .iter()
            .all(|head| head.header("Range").is_none()),
        "{single:?}"
    );
}

/// What an earlier pull has begun goes on where it was, by its own path.
#[test]
fn what_is_here_of_a_tarball_is_not_fetched_in_a_bundle() {
    let server = Server::with_bundles(shelf(40, 50));
    let files: Files = server.files();
    let body = &files["lab-1/ep-9"];
    let target = Target::new();
    fs::create_dir_all(target.file("lab-1")).unwrap();
    fs::write(target.file("lab-1/ep-9.tar.zst.partial"), &body[..700]).unwrap();
    target.pull_all(&server.url, &files);
    let heard = server.heard();
    let single: Vec<&Head> = heard
        .iter()
        .filter(|head| head.target().ends_with(".zst"))
        .collect();
    assert_eq!(single.len(), 1, "{heard:?}");
    assert_eq!(single[0].header("Range"), Some("bytes=700-"));
    // A page of small ones that are all here, without receipts, is read and not fetched.
    fs::remove_file(target.file("index.jsonl")).unwrap();
    server.forget();
    target.pull_all(&server.url, &files);
    assert_eq!(bundles(&server), 0);
}
