//! `cis490 backfill` and `cis490 init`, by hand.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::{COMMIT, body, prepared, running, sample, with_one_episode};
use crate::client::sha256;
use crate::world::{World, cis490};

/// An episode packed by the real code, as a shipper would.
fn packed(world: &World, commit: &str) -> Vec<u8> {
    let dir = world.dir().join("made");
    fs::create_dir_all(&dir).unwrap();
    let meta = format!(r#"{{"code_version":{{"commit":"{commit}","dirty":true}}}}"#);
    fs::write(dir.join("meta.json"), meta).unwrap();
    fs::write(dir.join("data"), body(1000)).unwrap();
    let tarball = world.dir().join("made.tar");
    let made = std::process::Command::new("tar")
        .args(["-C", &world.dir().display().to_string(), "-cf"])
        .arg(&tarball)
        .arg("made")
        .status();
    assert!(made.unwrap().success());
    let bytes = fs::read(tarball).unwrap();
    ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn backfill_makes_rows_from_the_files_themselves() {
    let (mut world, stored) = with_one_episode();
    let row = world.rows().remove(0);
    let tarball = packed(&world, COMMIT);
    let episodes = world.data_dir().join("episodes");
    fs::create_dir(episodes.join("lab-2")).unwrap();
    let by_hand = episodes.join("lab-2/by-hand.tar.zst");
    fs::write(&by_hand, &tarball).unwrap();
    fs::write(episodes.join("lab-2/no-archive.tar.zst"), b"just bytes").unwrap();
    fs::write(episodes.join("lab-2/README"), b"odd").unwrap();
    fs::create_dir(episodes.join("Not A Host")).unwrap();
    // As cp -p and rsync bring them: one from the year before, one from the year before that.
    let years =
        |n: u64| std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n * 31_536_000);
    let set_time = |path: &std::path::Path, time| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    set_time(&by_hand, years(1));
    set_time(&episodes.join("lab-2/no-archive.tar.zst"), years(0));
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();

    let config = world.config_path();
    let dry = world.run(&["backfill", "--config", &config, "--dry-run"]);
    assert!(
        dry.contains("would add lab-2/by-hand") && dry.contains("would add lab-1/ep-1"),
        "{dry}"
    );
    assert!(!world.data_dir().join("index.jsonl").exists(), "{world}");

    let told = world.run(&["backfill", "--config", &config]);
    for words in [
        "3 rows added, 2 unrecognised files left alone, 0 files failed",
        "commit unknown: lab-2/no-archive: the tarball cannot be read: it is not zstd",
        "1 row without a commit",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    let rows = world.rows();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["episode"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["no-archive", "by-hand", "ep-1"],
        "in order of their times\n{world}"
    );
    assert_eq!(rows[0]["commit"], serde_json::Value::Null);
    assert_eq!(rows[0]["received_at"], "2023-11-14T22:13:20Z");
    assert_eq!(
        (&rows[1]["commit"], &rows[1]["dirty"]),
        (&COMMIT.into(), &true.into())
    );
    assert_eq!(rows[1]["sha256"], sha256(&tarball));
    assert_eq!(rows[1]["bytes"], tarball.len());
    assert_eq!(rows[1]["path"], "episodes/lab-2/by-hand.tar.zst");
    // What it carries is told, but for the number: none is given twice, though the index is gone.
    let mut carried = row;
    carried["seq"] = 10_003.into();
    assert_eq!(rows[2], carried);
    assert_eq!(fs::read(stored).unwrap(), sample().body);

    let again = world.run(&["backfill", "--config", &config]);
    assert!(
        again.contains("3 episodes with a row, 0 without one"),
        "{again}"
    );
    assert!(again.contains("0 rows added"), "{again}");
    assert_eq!(world.rows(), rows);
    world.start();
    assert_eq!(world.put(&sample()).status, 200);
}

/// Made by GNU tar, Python and zstd in their own ways.
#[test]
fn tarballs_by_other_programs_name_their_commit() {
    const MAKE: &str = r#"
set -e
mkdir ep && printf '{"code_version":{"commit":"%s"}}' "$1" >ep/meta.json && printf x >ep/data
long=$(head -c 100000 /dev/zero | tr '\0' v)
pack() { name=$1; shift; tar -cf - "$@" ep/data ep/meta.json | zstd -q >"$name.tar.zst"; }
pack label -V 'a label'
pack v7 --format=v7
pack oldgnu --format=oldgnu
pack ustar --format=ustar
pack global --format=pax --pax-option=comment="$long"
pack linked --transform='s,^ep/data$,ep/a-very-long-name/of-more-than/one-hundred-letters/so-that-a-header/of-its-own/is-needed-for-it/x,'
tar -cf - ep/data ep/meta.json | zstd -q -1 --long=27 >wide.tar.zst
tar -cf - ep/data ep/meta.json | zstd -q -1 --long=28 >too-wide.tar.zst
tar -cf - ep/data | zstd -q >none.tar.zst
tar -cf - ep/data ep/meta.json | gzip >gzip.tar.zst
python3 -c 'import io, sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
    found = tar.gettarinfo("ep/meta.json")
    found.pax_headers = {"SCHILY.xattr.user.note": "n" * 200000, "mtime": "1.5"}
    tar.addfile(found, open("ep/meta.json", "rb"))' | zstd -q >python.tar.zst
"#;
    let world = World::prepared("");
    let dir = world.data_dir().join("episodes/lab-2");
    fs::create_dir_all(&dir).unwrap();
    let made = std::process::Command::new("bash")
        .args(["-c", MAKE, "bash", COMMIT])
        .current_dir(&dir)
        .output()
        .unwrap();
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).into_owned();
        skip!("tarballs_by_other_programs_name_their_commit: {why}");
        return;
    }
    fs::remove_dir_all(dir.join("ep")).unwrap();
    let told = world.run(&["backfill", "--config", &world.config_path()]);
    for (name, words) in [
        ("too-wide", "it needs a window of 256 MiB"),
        ("none", "the tarball has no meta.json"),
        ("gzip", "it is not zstd"),
    ] {
        let line = format!("commit unknown: lab-2/{name}: ");
        let line = told.lines().find(|said| said.starts_with(&line));
        assert!(
            line.is_some_and(|said| said.contains(words)),
            "{name}\n{told}"
        );
    }
    let rows = world.rows();
    assert_eq!(rows.len(), 11, "{told}");
    for row in rows {
        let is_known = !["too-wide", "none", "gzip"].contains(&row["episode"].as_str().unwrap());
        let wanted = is_known.then_some(COMMIT);
        assert_eq!(row["commit"].as_str(), wanted, "{row}\n{told}");
    }
}

#[test]
fn backfill_asks_a_running_receiver_to_stop_first() {
    let world = running();
    let config = world.config_path();
    let refused = cis490()
        .args(["backfill", "--config", &config])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("another cis490 is at work"), "{words}");
    let named = format!("process {}, ", world.pid());
    assert!(words.contains(&named), "{words}");
    assert!(words.contains("end it first"), "{words}");
}

/// It reads only. What the receiver is just storing is no file without a row.
#[test]
fn a_dry_run_of_backfill_works_beside_a_running_receiver() {
    let world = running();
    assert_eq!(world.put(&sample()).status, 201);
    let by_hand = world.data_dir().join("episodes/lab-1/by-hand.tar.zst");
    fs::write(&by_hand, body(100)).unwrap();
    let told = || world.run(&["backfill", "--dry-run", "--config", &world.config_path()]);
    let new = told();
    assert!(!new.contains("would add"), "{new}");
    let file = fs::File::options().write(true).open(&by_hand).unwrap();
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(hour_ago).unwrap();
    let old = told();
    assert!(old.contains("would add lab-1/by-hand"), "{old}");
    assert!(old.contains("1 episode with a row, 1 without one"), "{old}");
    assert!(old.contains("nothing was changed"), "{old}");
    assert_eq!(world.rows().len(), 1);
    let other = sample().episode("ep-2");
    assert_eq!(world.put(&other).status, 201, "{world}");
}

#[test]
fn a_receipt_that_the_file_carries_is_believed_only_of_these_bytes() {
    let (world, tarball) = with_one_episode();
    let mut file = fs::File::options().append(true).open(tarball).unwrap();
    file.write_all(b"!").unwrap();
    drop(file);
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    world.run(&["backfill", "--config", &world.config_path()]);
    let row = world.rows().remove(0);
    let bytes = [&sample().body[..], b"!"].concat();
    assert_eq!(row["sha256"], sha256(&bytes));
    assert_eq!(row["commit"], serde_json::Value::Null);
}

#[test]
fn init_makes_a_lab_hosts_root() {
    let world = prepared();
    let root = world.dir().join("queue");
    let config = world.dir().join("shipper.toml");
    let text = format!("receiver_url = \"http://pi:8490\"\nhost_id = \"lab-1\"\nroot = {root:?}\n");
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    for _ in 0..2 {
        world.run(&["init", "--config", &config]);
        for folder in ["episodes", "outbox", "shipped", "refused"] {
            assert!(root.join(folder).is_dir(), "{folder}");
        }
    }
    let neither = world.dir().join("neither.toml");
    fs::write(&neither, "scan_seconds = 5\n").unwrap();
    let refused = cis490()
        .args(["init", "--config"])
        .arg(&neither)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        words.contains("is neither a receiver's configuration nor a lab host's"),
        "{words}"
    );
}
