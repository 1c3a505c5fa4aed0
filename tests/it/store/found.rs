//! What stands under a name before an upload comes, and what is found at start.

use std::fs;
use std::os::unix::fs::symlink;

use super::{check_one_episode, prepared, running, sample, with_one_episode};
use crate::client::sha256;
use crate::order::Steps;
use crate::world::{World, has_steps};

#[test]
fn a_file_without_a_row_gets_one_from_the_same_bytes_only() {
    let world = running();
    let host_dir = world.data_dir().join("episodes/lab-1");
    fs::create_dir(&host_dir).unwrap();
    fs::write(host_dir.join("ep-1.tar.zst"), &sample().body).unwrap();
    let same_length: Vec<u8> = sample().body.iter().map(|b| b ^ 1).collect();
    for (what, put, want) in [
        ("other bytes", sample().body(b"other"), 409),
        (
            "other bytes of that length",
            sample().body(&same_length),
            409,
        ),
        ("the same bytes", sample(), 200),
        ("the same bytes again", sample(), 200),
        ("other bytes now", sample().body(b"other"), 409),
    ] {
        assert_eq!(world.put(&put).status, want, "{what}\n{world}");
    }
    check_one_episode(&world, &sample(), "adopted");
}

/// As above where the gate knows the commit, and so nothing but the body thread asks the store: a
/// file of another size settles it before the body counts, whatever digest is stated.
#[test]
fn a_file_without_a_row_is_seen_by_the_short_way_too() {
    let world = World::new();
    let host_dir = world.data_dir().join("episodes/lab-1");
    fs::create_dir(&host_dir).unwrap();
    let put = world.good();
    fs::write(host_dir.join("ep-1.tar.zst"), &put.body).unwrap();
    let same_length: Vec<u8> = put.body.iter().map(|b| b ^ 1).collect();
    let other = put.clone().body(b"other");
    for (what, put, want) in [
        ("other bytes", other.clone(), 409),
        (
            "and a digest that is not theirs",
            other.clone().sha256(&sha256(b"?")),
            409,
        ),
        (
            "other bytes of that length",
            put.clone().body(&same_length),
            409,
        ),
        ("the same bytes", put.clone(), 200),
        ("other bytes now", other, 409),
    ] {
        assert_eq!(world.put(&put).status, want, "{what}\n{world}");
    }
    check_one_episode(&world, &put, "adopted");
}

#[test]
fn a_row_without_a_file_takes_the_same_bytes_again_without_a_second_row() {
    let world = running();
    let first = world.put(&sample());
    assert_eq!(first.status, 201);
    let file = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    fs::remove_file(&file).unwrap();
    assert_eq!(world.put(&sample().body(b"other")).status, 409);
    assert!(!file.exists());
    let again = world.put(&sample());
    assert_eq!(again.status, 201, "{world}");
    assert_eq!(again.json(), first.json());
    check_one_episode(&world, &sample(), "stored again");
}

#[test]
fn a_damaged_file_gives_way_into_quarantine() {
    let world = running();
    assert_eq!(world.put(&sample()).status, 201);
    let file = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    fs::write(&file, b"torn").unwrap();
    assert_eq!(world.put(&sample().body(b"other")).status, 409, "{world}");
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    check_one_episode(&world, &sample(), "mended");
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"]);
    let kept = fs::read(world.data_dir().join("quarantine/ep-1.tar.zst.1")).unwrap();
    assert_eq!(kept, b"torn");
    assert!(
        world.log().contains("event=damaged_file_replaced"),
        "{world}"
    );
    assert_eq!(world.put(&sample()).status, 200);
}

/// Two stores put together by hand: the index has two rows of one name, and the file is of one of
/// them. Which one, only the file can say. It once was 200 for both, where they had one length: the
/// lab host then deletes the only copy.
#[test]
fn of_two_rows_of_a_name_the_file_decides() {
    let theirs = sample().body(b"bytes of as many letters");
    assert_eq!(theirs.body.len(), sample().body.len());
    let shorter = sample().body(b"fewer");
    let neither = sample().body(b"neither of the two");
    for other in [&theirs, &shorter] {
        let mut world = running();
        // The row of the other bytes is the older one, then the newer one.
        for is_first in [true, false] {
            fs::remove_dir_all(world.data_dir().join("episodes/lab-1")).unwrap_or_default();
            assert_eq!(world.stop(), Some(0));
            let index = world.data_dir().join("index.jsonl");
            fs::write(&index, "").unwrap();
            world.start();
            assert_eq!(world.put(&sample()).status, 201, "{world}");
            assert_eq!(world.stop(), Some(0));
            let ours = fs::read_to_string(&index).unwrap();
            let row = format!(
                "{{\"seq\":1,\"host\":\"lab-1\",\"episode\":\"ep-1\",\"bytes\":{},\"sha256\":\"{}\"}}\n",
                other.body.len(),
                sha256(&other.body)
            );
            let rows = if is_first { row + &ours } else { ours + &row };
            fs::write(&index, rows).unwrap();
            world.start();
            for (what, put, want) in [
                ("the file's", sample(), 200),
                ("the other row's", other.clone(), 409),
                ("of no row", neither.clone(), 409),
                ("the file's again", sample(), 200),
            ] {
                assert_eq!(world.put(&put).status, want, "{what}\n{world}");
            }
            assert_eq!(world.stored("lab-1", "ep-1"), Some(sample().body));
            assert!(world.names("quarantine").is_empty(), "{world}");
            assert_eq!(world.rows().len(), 2, "{world}");
        }
        // Without the file either may come again, and the other is other bytes from then on.
        fs::remove_file(world.data_dir().join("episodes/lab-1/ep-1.tar.zst")).unwrap();
        for (what, put, want) in [
            ("the other row's", other.clone(), 201),
            ("again", other.clone(), 200),
            ("the one of before", sample(), 409),
        ] {
            assert_eq!(world.put(&put).status, want, "{what}\n{world}");
        }
        // Damaged, it is of neither row, and gives way to what a row is of.
        let file = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
        fs::write(&file, "torn").unwrap();
        assert_eq!(world.put(&sample()).status, 201, "{world}");
        assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{world}");
    }
}

/// A power cut on a filesystem that keeps less order: the name is there, no row, and the bytes are not
/// those of the receipt that the file carries. The sender comes again with the whole ones.
#[test]
fn a_torn_file_without_a_row_gives_way_to_the_bytes_of_its_own_receipt() {
    let as_long = sample().body.iter().map(|b| b ^ 1).collect::<Vec<u8>>();
    for (what, torn) in [("cut", &b"torn"[..]), ("empty", b""), ("as long", &as_long)] {
        let (mut world, tarball) = with_one_episode();
        if xattr_is_missing(&world) {
            return skip!("a torn file without a row: no attributes here");
        }
        fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
        fs::write(&tarball, torn).unwrap();
        world.start();
        let other = sample().body(b"other");
        assert_eq!(world.put(&other).status, 409, "{what}\n{world}");
        assert_eq!(world.put(&sample()).status, 201, "{what}\n{world}");
        check_one_episode(&world, &sample(), what);
        assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{what}");
        let kept = fs::read(world.data_dir().join("quarantine/ep-1.tar.zst.1")).unwrap();
        assert_eq!(kept, torn, "{what}");
        assert_eq!(world.put(&sample()).status, 200, "{what}\n{world}");
    }
}

fn xattr_is_missing(world: &World) -> bool {
    world.log().contains("event=no_attributes")
}

#[test]
fn a_name_that_leads_nowhere_is_our_fault_and_harms_nothing() {
    let world = running();
    let host_dir = world.data_dir().join("episodes/lab-1");
    fs::create_dir(&host_dir).unwrap();
    symlink("/nowhere/at/all", host_dir.join("ep-1.tar.zst")).unwrap();
    assert_eq!(world.put(&sample()).status, 500, "{world}");
    assert!(world.log().contains("event=store_fault"), "{world}");
    assert_eq!(world.put(&sample().episode("ep-2")).status, 201);
    assert!(world.rows().len() == 1, "{world}");
}

#[test]
fn recovery_tells_the_published_from_the_rest() {
    let (mut world, tarball) = with_one_episode();
    let mut row = world.rows().remove(0);
    let incoming = world.data_dir().join("incoming");
    // Killed between the link and the row.
    fs::hard_link(&tarball, incoming.join("lab-1~ep-1~7.partial")).unwrap();
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    // An upload that never ended, with a second name as backups make it.
    let cut_off = incoming.join("lab-1~ep-2~1.partial");
    fs::write(&cut_off, b"half").unwrap();
    fs::hard_link(&cut_off, world.dir().join("backup")).unwrap();
    // Other bytes for a name that is stored.
    fs::write(incoming.join("lab-1~ep-1~8.partial"), b"late").unwrap();
    // Not ours.
    fs::write(incoming.join("notes.txt"), b"mine").unwrap();
    fs::create_dir(incoming.join("lab-1~ep-3~1.partial")).unwrap();
    symlink(&tarball, incoming.join("lab-1~ep-1~9.partial")).unwrap();
    world.start();
    check_one_episode(&world, &sample(), "recovered");
    // After a kill nobody knows how far the numbers went.
    row["seq"] = 10_001.into();
    assert_eq!(
        world.rows()[0],
        row,
        "the file carries its receipt\n{world}"
    );
    let kept = world.names("quarantine");
    assert_eq!(
        kept,
        [
            "lab-1~ep-1~9.partial.1",
            "lab-1~ep-3~1.partial.1",
            "notes.txt.1"
        ],
        "{world}"
    );
    assert!(world.log().contains("recovered=1 swept=2"), "{world}");
    assert_eq!(world.put(&sample()).status, 200);
    assert_eq!(world.put(&sample().episode("ep-2")).json()["seq"], 10_002);
}

#[test]
fn a_torn_index_is_cut_and_its_row_comes_back_by_backfill() {
    let (mut world, _) = with_one_episode();
    world.start();
    assert_eq!(world.put(&sample().episode("ep-2")).status, 201);
    // An upload whose end was not tidied up would get its row back by recovery.
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    let index = world.data_dir().join("index.jsonl");
    let whole = fs::read(&index).unwrap();
    let before = world.rows();
    let mut last = before[1]["seq"].as_u64().unwrap();
    let second = 1 + whole.iter().position(|&b| b == b'\n').unwrap();
    for torn in [
        whole[..whole.len() - 1].to_vec(),
        whole[..second + 10].to_vec(),
        [&whole[..second], &[0; 4096]].concat(),
    ] {
        fs::write(&index, &torn).unwrap();
        let told = world.run(&["backfill", "--config", &world.config_path()]);
        assert!(told.contains("added lab-1/ep-2"), "{told}");
        // It is the row of before but for its number, which is not given twice.
        let mut rows = world.rows();
        let number = std::mem::replace(&mut rows[1]["seq"], before[1]["seq"].clone());
        assert_eq!(rows, before, "{world}");
        assert!(last < number.as_u64().unwrap(), "{world}");
        last = number.as_u64().unwrap();
    }
    assert_eq!(world.names("quarantine").len(), 3, "{world}");
}

/// Each start in vain once left an empty copy of the torn end in quarantine/.
#[test]
fn a_torn_index_on_a_full_disk_waits_for_room_in_words() {
    if !has_steps("a torn index on a full disk") {
        return;
    }
    let (mut world, _) = with_one_episode();
    let index = world.data_dir().join("index.jsonl");
    let whole = fs::read(&index).unwrap();
    fs::write(&index, [&whole, b"{\"half".as_slice()].concat()).unwrap();
    let steps = Steps::of(&mut world);
    world.start();
    world.kill();
    let write = steps.names().iter().position(|step| step == "write");
    fs::remove_file(world.data_dir().join("quarantine/index.jsonl.tail.1")).unwrap();
    fs::write(&index, [&whole, b"{\"half".as_slice()].concat()).unwrap();
    for _ in 0..3 {
        world.env("CIS490_FAIL_AT", write.unwrap() + 1);
        world.env("CIS490_FAIL_ERRNO", 28);
        assert!(!world.try_start(), "{world}");
        assert!(world.log().contains("make room on that disk"), "{world}");
        assert!(world.names("quarantine").is_empty(), "{world}");
    }
    world.start();
    check_one_episode(&world, &sample(), "there is room again");
    assert_eq!(world.names("quarantine"), ["index.jsonl.tail.1"], "{world}");
}

/// A full disk can refuse even that a name goes. The probe's once went to quarantine/ then.
#[test]
fn a_probe_that_cannot_be_removed_is_nothing_odd() {
    if !has_steps("a probe that cannot be removed") {
        return;
    }
    let mut world = prepared();
    // Two sweeps of an older probe, its link, and then this one's end.
    world.env("CIS490_FAIL_AT", 4);
    world.env("CIS490_FAIL_ERRNO", 28);
    world.start();
    assert!(world.names("quarantine").is_empty(), "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
    assert_eq!(world.put(&sample()).status, 201, "{world}");
}

#[test]
fn an_index_with_old_and_odd_rows_is_served_and_kept() {
    let (mut world, _) = with_one_episode();
    let index = world.data_dir().join("index.jsonl");
    let digest = sha256(b"old");
    let before = format!(
        "{}what is this\n{{\"host\":\"lab-9\",\"episode\":\"old\",\"sha256\":\"{digest}\",\"commit\":\"unknown\"}}\n",
        fs::read_to_string(&index).unwrap()
    );
    fs::write(&index, &before).unwrap();
    let host_dir = world.data_dir().join("episodes/lab-9");
    fs::create_dir(&host_dir).unwrap();
    fs::write(host_dir.join("old.tar.zst"), "old").unwrap();
    world.start();
    assert!(world.log().contains("event=unreadable_row "), "{world}");
    let old = world.get("/v1/episodes/lab-9/old");
    assert_eq!((old.status, &old.json()["sha256"]), (200, &digest.into()));
    assert_eq!(world.put(&sample().episode("ep-2")).json()["seq"], 10_001);
    let after = fs::read_to_string(&index).unwrap();
    assert!(after.starts_with(&before), "{after}");
}

#[test]
fn a_folder_that_is_no_store_is_refused_with_the_command() {
    let mut world = prepared();
    fs::remove_file(world.data_dir().join("cis490-store")).unwrap();
    assert!(!world.try_start());
    let command = format!("cis490 init --config {}", world.config_path());
    assert!(world.log().contains(&command), "{world}");
    fs::remove_dir_all(world.data_dir()).unwrap();
    assert!(!world.try_start());
    assert!(world.log().contains("does not exist"), "{world}");
    assert!(!world.data_dir().exists(), "nothing was begun");
    let told = world.run(&["init", "--config", &world.config_path()]);
    assert!(told.contains("is a new, empty store"), "{told}");
    world.start();
    assert_eq!(world.put(&sample()).status, 201);
    let told = world.run(&["init", "--config", &world.config_path()]);
    assert!(told.contains("was a store already"), "{told}");
    assert_eq!(world.put(&sample()).status, 200);
}
