//! A large upload that breaks off goes on where it stopped: the shipper and the real receiver, with a line
//! between them that breaks after so many bytes; and receivers that say odd things about it.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::stub::{Reply, Stub, problem};
use super::{Lab, noise};
use crate::breaking_line::Line;
use crate::program::is_emulated;
use crate::resume::{self, MIB, least};

fn env() -> (String, String) {
    let bounds = format!("{},{},3600000", least(), resume::least_kept());
    ("CIS490_RESUMABLE".to_owned(), bounds)
}

#[test]
fn over_a_line_that_breaks_an_episode_arrives_and_nearly_nothing_goes_twice() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let world = resume::world("");
    let pieces = 4;
    let bytes = least() + (pieces - 1) * least() / 2;
    let line = Line::to(world.address(), (least() / 2 + MIB) as u64);
    let lab = Lab::with(&line.url, "scan_seconds = 1");
    lab.episode_with("ep-1", world.repo.head(), &noise(bytes));
    let (name, bounds) = env();
    let shipper = lab.ship_with(&[(&name, &bounds)]);
    shipper.wait_until("it has arrived", || lab.names("episodes").is_empty());
    let breaks = line.breaks.load(Ordering::SeqCst);
    assert!(breaks >= 2, "{breaks}\n{lab}");
    assert!(shipper.log().contains("event=resumed"), "{lab}");
    assert_eq!(world.rows().len(), 1);
    let up = line.up_bytes.load(Ordering::SeqCst);
    // A break costs the block that was not whole, what was on its way, and a few heads.
    let twice = up.saturating_sub(bytes as u64);
    assert!(
        twice <= (breaks + 1) * 2 * MIB as u64,
        "{up} bytes went up for {bytes}, with {breaks} breaks\n{lab}"
    );
    assert_eq!(shipper.stop(), 0);
    lab.assert_all_shipped(&["ep-1"]);
}

#[test]
fn a_shipper_that_is_killed_goes_on_where_the_receiver_is() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let world = resume::world("");
    let half = (least() * 3 / 4) as u64;
    let line = Line::to(world.address(), half);
    let lab = Lab::with(&line.url, "scan_seconds = 1");
    lab.episode_with("ep-1", world.repo.head(), &noise(least() + MIB));
    let (name, bounds) = env();
    let shipper = lab.ship_with(&[(&name, &bounds)]);
    shipper.wait_until("the line has broken", || {
        line.breaks.load(Ordering::SeqCst) >= 1
    });
    shipper.kill();
    line.breaks_after.store(u64::MAX, Ordering::SeqCst);
    let before = line.up_bytes.load(Ordering::SeqCst);
    world.wait_until("the receiver keeps it", |world| {
        world.log().contains("event=upload_kept")
    });
    let ended = lab.run(&["ship", "--once"], &[(&name, &bounds)]);
    assert_eq!(ended.code, 0, "{ended}\n{world}");
    assert_eq!(ended.count("event=resumed"), 1, "{ended}");
    let after = line.up_bytes.load(Ordering::SeqCst) - before;
    assert!(after < half, "{after} bytes went up after {half}\n{ended}");
    lab.assert_all_shipped(&["ep-1"]);
}

const PUT: &str = "PUT /v1/episodes/lab-1/ep-1 HTTP/1.1";
const HEAD: &str = "HEAD /v1/uploads/lab-1/ep-1 HTTP/1.1";
const PATCH: &str = "PATCH /v1/uploads/lab-1/ep-1 HTTP/1.1";

/// An answer without a body.
fn bare(status: u16, headers: &str) -> Reply {
    Reply::Say(format!(
        "HTTP/1.1 {status} Said\r\n{headers}Connection: close\r\n\r\n"
    ))
}

/// The answer to HEAD for an upload that is kept up to `offset`.
fn kept(offset: usize, length: u64) -> Reply {
    let headers =
        format!("Upload-Offset: {offset}\r\nUpload-Length: {length}\r\nUpload-Complete: ?0\r\n");
    bare(204, &headers)
}

/// The length of the tarball of the episode of [`lines_of`]: packing is deterministic.
fn packed_bytes() -> u64 {
    let (lines, lab, _) = lines_of(vec![bare(404, "Content-Length: 0\r\n")], vec![Reply::Store]);
    assert_eq!(lines, [HEAD, PUT]);
    lab.json("shipped/ep-1.receipt.json")["bytes"]
        .as_u64()
        .unwrap()
}

/// The requests that one episode of the least length led to, where HEAD and PATCH are answered with
/// `uploads` in this order, and PUT with `puts`.
fn lines_of(uploads: Vec<Reply>, puts: Vec<Reply>) -> (Vec<String>, Lab, i32) {
    let stub = Stub::new(puts);
    stub.gets(uploads);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    same_episode(&lab);
    let (name, bounds) = env();
    let ended = lab.run(&["ship", "--once"], &[(&name, &bounds)]);
    (stub.lines(), lab, ended.code)
}

/// An episode of the least length, whose tarball is the same in each run.
fn same_episode(lab: &Lab) {
    lab.episode_with("ep-1", &"a".repeat(40), &noise(least()));
    // The tarball has the times of the files.
    for file in ["ep-1/data.bin", "ep-1/meta.json", "ep-1"] {
        let file = File::open(lab.path("episodes").join(file)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
}

#[test]
fn what_a_receiver_does_not_keep_or_know_is_sent_whole() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let bytes = packed_bytes();
    let none = "Content-Length: 0\r\n";
    for (what, reply) in [
        ("an older receiver", bare(404, none)),
        ("an older proxy", bare(405, none)),
        ("a proxy that knows no such method", bare(501, none)),
        ("nothing said", bare(204, "")),
        ("another length", kept(MIB, bytes + 1)),
        ("all of it", kept(bytes as usize, bytes)),
        (
            "more than all",
            bare(
                204,
                &format!("Upload-Offset: 99999999999\r\nUpload-Length: {bytes}\r\n"),
            ),
        ),
        (
            "no number",
            bare(
                204,
                &format!("Upload-Offset: +5\r\nUpload-Length: {bytes}\r\n"),
            ),
        ),
    ] {
        let (lines, lab, code) = lines_of(vec![reply], vec![Reply::Store]);
        assert_eq!(
            (lines, code),
            (vec![HEAD.to_owned(), PUT.to_owned()], 0),
            "{what}\n{lab}"
        );
        lab.assert_all_shipped(&["ep-1"]);
    }
}

#[test]
fn an_answer_about_the_rest_never_sets_an_episode_aside() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let bytes = packed_bytes();
    for (status, name, headers, then) in [
        // It is asked again, and after a second mismatch the whole goes.
        (
            409,
            "offset-mismatch",
            "Upload-Offset: 5\r\n",
            vec![HEAD, PATCH, HEAD, PATCH, PUT],
        ),
        (404, "nothing-kept", "", vec![HEAD, PATCH, PUT]),
        (415, "not-a-partial-upload", "", vec![HEAD, PATCH, PUT]),
        (422, "digest-mismatch", "", vec![HEAD, PATCH, PUT]),
        (400, "bad-head", "", vec![HEAD, PATCH, PUT]),
    ] {
        let refused = Reply::Say(problem(status, name, headers));
        let pair = [kept(MIB, bytes), refused];
        let uploads = [pair.clone(), pair].concat();
        let (lines, lab, code) = lines_of(uploads, vec![Reply::Store]);
        assert_eq!(lines, then, "{status} {name}\n{lab}");
        assert_eq!(code, 0, "{status} {name}\n{lab}");
        lab.assert_all_shipped(&["ep-1"]);
    }
    // The gate's no holds it, as for a whole upload, and nothing is lost.
    let refused = Reply::Say(problem(412, "not-in-window", ""));
    let (lines, lab, _) = lines_of(vec![kept(MIB, bytes), refused], vec![Reply::Store]);
    assert_eq!(lines[..2], [HEAD, PATCH], "{lab}");
    assert!(!lines.contains(&PUT.to_owned()), "{lines:?}");
    assert_eq!(lab.names("episodes"), ["ep-1"]);
    assert_eq!(lab.json("state.json")["holds"].as_array().unwrap().len(), 1);
}

/// A whole upload would end what the receiver keeps: as long as it may keep something, none is begun.
#[test]
fn a_receiver_that_cannot_say_is_asked_again_before_anything_is_sent() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    for status in [401, 403, 500, 502, 503] {
        let reply = bare(status, "Retry-After: 60\r\nContent-Length: 0\r\n");
        let (lines, lab, code) = lines_of(vec![reply], vec![Reply::Store]);
        assert_ne!(code, 0, "{status}");
        assert!(lines.iter().all(|line| line == HEAD), "{status} {lines:?}");
        assert_eq!(lab.names("episodes"), ["ep-1"], "{status}");
    }
}

/// A proxy that lets no HEAD by, or breaks it off, and lets uploads by: the third try sends the whole.
#[test]
fn an_episode_does_not_wait_for_ever_for_the_right_to_ask() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    for reply in [bare(403, "Content-Length: 0\r\n"), Reply::Die] {
        let stub = Stub::new([Reply::Store]);
        stub.gets([reply]);
        let lab = Lab::with(&stub.url, "scan_seconds = 1");
        lab.episode_with("ep-1", &"a".repeat(40), &noise(least()));
        let (name, bounds) = env();
        let shipper = lab.ship_with(&[(&name, &bounds)]);
        for asked in 1..=2 {
            shipper.wait_until("it has asked", || heads(&stub) >= asked);
            shipper.signal("HUP");
        }
        shipper.wait_until("it has arrived", || lab.names("episodes").is_empty());
        assert_eq!(heads(&stub), 3, "{lab}");
    }
}

fn heads(stub: &Stub) -> usize {
    stub.lines().iter().filter(|line| *line == HEAD).count()
}

/// A proxy that lets HEAD and PUT by, and no PATCH: after three that came to nothing the whole goes. The
/// receiver's own words are no such wall, however often it says them.
#[test]
fn an_episode_does_not_wait_for_ever_behind_a_wall_for_patch() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let bytes = packed_bytes();
    let busy = problem(503, "too-many-uploads", "Retry-After: 1\r\n");
    for (answer, is_wall) in [
        (bare(403, "Content-Length: 0\r\n"), true),
        (Reply::Die, true),
        (Reply::Say(busy), false),
    ] {
        let stub = Stub::new([Reply::Store]);
        let tries = (0..4).flat_map(|_| [kept(MIB, bytes), answer.clone()]);
        stub.gets(tries.collect::<Vec<_>>());
        let lab = Lab::with(&stub.url, "scan_seconds = 1");
        same_episode(&lab);
        let (name, bounds) = env();
        let shipper = lab.ship_with(&[(&name, &bounds)]);
        for asked in 1..=4 {
            shipper.wait_until("a try is over", || {
                lab.names("episodes").is_empty()
                    || shipper.log().matches("attempt=").count() >= asked
            });
            shipper.signal("HUP");
        }
        let lines = stub.lines();
        if is_wall {
            let then = [HEAD, PATCH, HEAD, PATCH, HEAD, PATCH, HEAD, PUT];
            assert_eq!(lines, then, "{lab}");
        } else {
            assert_eq!(lines[6..8], [HEAD, PATCH], "{lab}");
            assert!(!lines.contains(&PUT.to_owned()), "{lines:?}\n{lab}");
        }
    }
}

/// A receipt of other bytes is no receipt, for the rest as for the whole: the episode stays.
#[test]
fn a_wrong_receipt_for_the_rest_is_none() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let bytes = packed_bytes();
    let receipt = format!(
        r#"{{"host":"lab-1","episode":"ep-1","sha256":"{}","bytes":{bytes}}}"#,
        "0".repeat(64)
    );
    let wrong = Reply::SayAfterBody(super::stub::answer(201, "", &receipt));
    let (lines, lab, code) = lines_of(vec![kept(MIB, bytes), wrong], vec![Reply::Store]);
    assert_eq!(lines[..2], [HEAD, PATCH], "{lab}");
    assert_ne!(code, 0, "{lab}");
    assert_eq!(lab.names("episodes"), ["ep-1"], "{lab}");
    assert_eq!(lab.names("shipped"), [""; 0], "{lab}");
}

/// Somebody changes the episode after its upload broke: it is packed anew, and what is kept is not gone on with.
#[test]
fn an_episode_that_changed_since_the_break_is_sent_whole() {
    if is_emulated() {
        return skip!("the emulator packs 64 MiB too slowly");
    }
    let world = resume::world("");
    let line = Line::to(world.address(), (least() * 3 / 4) as u64);
    let lab = Lab::with(&line.url, "scan_seconds = 1");
    lab.episode_with("ep-1", world.repo.head(), &noise(least() + MIB));
    let (name, bounds) = env();
    let shipper = lab.ship_with(&[(&name, &bounds)]);
    shipper.wait_until("the line has broken", || {
        line.breaks.load(Ordering::SeqCst) >= 1
    });
    shipper.kill();
    line.breaks_after.store(u64::MAX, Ordering::SeqCst);
    world.wait_until("the receiver keeps it", |world| {
        world.log().contains("event=upload_kept")
    });
    std::fs::write(lab.path("episodes/ep-1/added.txt"), "of after the break").unwrap();
    let ended = lab.run(&["ship", "--once"], &[(&name, &bounds)]);
    assert_eq!(ended.code, 0, "{ended}\n{world}");
    assert_eq!(ended.count("event=resumed"), 0, "{ended}");
    lab.assert_all_shipped(&["ep-1"]);
    assert!(world.log().contains("reason=another-put"), "{world}");
    let stored = world.stored("lab-1", "ep-1").unwrap();
    let mut tar = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(&stored[..]).unwrap();
    decoder.read_to_end(&mut tar).unwrap();
    assert!(tar.windows(18).any(|bytes| bytes == b"of after the break"));
}
