//! Small files that the last run linked and did not sync: torn by a power cut, without evidence, or
//! unreadable. None is kept as good, keeps the receiver from starting, or blocks its sender.

use std::fs;
use std::path::PathBuf;

use super::{body, check_one_episode, running, sample, with_one_episode};
use crate::client::Put;
use crate::world::{World, has_steps};

/// A power cut may leave a small file's names and not its bytes. Such a file is never kept as good, and
/// its name blocks no sender.
#[test]
fn a_small_file_that_a_power_cut_has_torn_is_removed_and_comes_again() {
    let put = sample().body(&body(5000));
    let half = [&put.body[..2500], &[0; 2500][..]].concat();
    let tears: [(&str, &[u8]); 4] = [
        ("empty", b""),
        ("short", &put.body[..4096]),
        ("full of NULs", &[0; 5000]),
        ("half", &half),
    ];
    for (what, torn) in tears {
        for has_row in [false, true] {
            let what = format!("{what}, row {has_row}");
            let (mut world, tarball) = with_torn(&put, torn, has_row);
            if world.log().contains("event=no_attributes") {
                return skip!("a torn small file: no attributes here");
            }
            world.start();
            assert!(world.log().contains("event=torn_upload"), "{what}\n{world}");
            assert!(
                world.log().contains("recovered=0 swept=1"),
                "{what}\n{world}"
            );
            assert!(!tarball.exists(), "{what}\n{world}");
            assert!(world.names("incoming").is_empty(), "{what}\n{world}");
            assert!(world.names("quarantine").is_empty(), "{what}\n{world}");
            assert_eq!(world.rows().len(), usize::from(has_row), "{what}\n{world}");
            let receipt = world.get("/v1/episodes/lab-1/ep-1");
            assert_eq!(receipt.status, 404, "{what}\n{world}");
            assert_eq!(world.put(&put).status, 201, "{what}\n{world}");
            check_one_episode(&world, &put, &what);
        }
    }
}

/// A store with one upload whose X was not removed and whose file holds `torn`; it is stopped.
fn with_torn(put: &Put, torn: &[u8], has_row: bool) -> (World, PathBuf) {
    let mut world = running();
    assert_eq!(world.put(put).status, 201);
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    let tarball = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    let partial = world.data_dir().join("incoming/lab-1~ep-1~1.partial");
    fs::hard_link(&tarball, partial).unwrap();
    // Into the same file, which carries its receipt.
    fs::write(&tarball, torn).unwrap();
    if !has_row {
        fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    }
    (world, tarball)
}

/// Nothing says which bytes a small file should have: it is kept out of the way.
#[test]
fn a_small_file_without_any_evidence_goes_to_quarantine() {
    let Some((mut world, _)) = without_evidence() else {
        return skip!("a small file without evidence: no attributes here");
    };
    world.start();
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    check_one_episode(&world, &sample(), "the name was free");
}

/// Bytes that the disk does not give back keep nobody from starting, and block no sender.
#[test]
fn a_small_file_that_cannot_be_read_goes_to_quarantine() {
    if !has_steps("a small file that cannot be read") {
        return;
    }
    let (mut world, tarball) = with_one_episode();
    let partial = world.data_dir().join("incoming/lab-1~ep-1~1.partial");
    fs::hard_link(&tarball, partial).unwrap();
    world.env("CIS490_FAIL_ON", "1:read back");
    world.start();
    assert!(world.log().contains("cannot be read"), "{world}");
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
    let receipt = world.get("/v1/episodes/lab-1/ep-1");
    assert_eq!(receipt.status, 404, "{world}");
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    check_one_episode(&world, &sample(), "its row has stayed");
}

/// It cannot be moved away: then its name in incoming/ stays, and the next start tries it again.
#[test]
fn a_small_file_that_cannot_be_set_aside_is_not_forgotten() {
    if !has_steps("a small file that cannot be set aside") {
        return;
    }
    let Some((mut world, tarball)) = without_evidence() else {
        return skip!("a small file that cannot be set aside: no attributes here");
    };
    world.env("CIS490_FAIL_ON", format!("1:rename {}", tarball.display()));
    world.start();
    assert!(world.log().contains("event=store_untidy"), "{world}");
    assert_eq!(world.names("incoming").len(), 1, "{world}");
    assert!(tarball.exists(), "{world}");
    world.kill();
    world.start();
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
}

/// A stopped store with a small file that was being stored, without receipt and row; its path. `None`
/// where files carry no receipts.
fn without_evidence() -> Option<(World, PathBuf)> {
    let (world, tarball) = with_one_episode();
    if world.log().contains("event=no_attributes") {
        return None;
    }
    fs::remove_file(&tarball).unwrap();
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    fs::write(&tarball, "which bytes?").unwrap();
    let partial = world.data_dir().join("incoming/lab-1~ep-1~1.partial");
    fs::hard_link(&tarball, partial).unwrap();
    Some((world, tarball))
}
