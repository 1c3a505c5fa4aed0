//! What is not packed, by its name; and whether it may be packed later.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow::Continue;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cis490::episode::{self, PackError, Unfit, inspect};

use super::{Folder, META, noise, pack, write};
use crate::here::mkfifo;

#[test]
fn what_is_neither_file_nor_directory_is_named() {
    let folder = Folder::new();
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 7] = [
        (
            "a link",
            |dir| symlink("a.bin", dir.join("frames/odd")).unwrap(),
            "frames/odd\" is a symbolic link",
        ),
        (
            "a link to nothing",
            |dir| symlink("/nowhere", dir.join("odd")).unwrap(),
            "odd\" is a symbolic link",
        ),
        (
            "a link to a directory",
            |dir| symlink("/etc", dir.join("odd")).unwrap(),
            "odd\" is a symbolic link",
        ),
        (
            "a socket",
            |dir| drop(UnixListener::bind(dir.join("odd")).unwrap()),
            "odd\" is a socket",
        ),
        ("a fifo", |dir| mkfifo(&dir.join("odd")), "odd\" is a fifo"),
        (
            "meta.json a link",
            |dir| {
                fs::rename(dir.join("meta.json"), dir.join("m")).unwrap();
                symlink("m", dir.join("meta.json")).unwrap();
            },
            "meta.json\" is a symbolic link",
        ),
        (
            "meta.json a fifo",
            |dir| {
                fs::remove_file(dir.join("meta.json")).unwrap();
                mkfifo(&dir.join("meta.json"));
            },
            "meta.json\" is a fifo",
        ),
    ];
    for (name, spoil, words) in cases {
        let dir = folder.episode(name);
        spoil(&dir);
        let unfit = inspect(&dir).unwrap_err();
        assert!(
            !unfit.is_passing() && unfit.to_string().contains(words),
            "{name}: {unfit}"
        );
        let error = pack(&dir, &folder.join("t")).unwrap_err();
        assert!(
            !error.is_passing() && error.to_string().contains(words),
            "{name}: {error}"
        );
    }
    let target = folder.episode("target");
    symlink(&target, folder.join("link")).unwrap();
    assert!(!inspect(&folder.join("link")).unwrap_err().is_passing());
}

#[test]
fn meta_json_decides_whether_it_is_finished_and_fit() {
    let folder = Folder::new();
    let dir = folder.join("ep");
    fs::create_dir(&dir).unwrap();
    for missing in [dir.clone(), folder.join("gone")] {
        let unfit = inspect(&missing).unwrap_err();
        assert!(
            matches!(unfit, Unfit::Unfinished(_)) && unfit.is_passing(),
            "{unfit}"
        );
    }
    for (json, words) in [
        (&b"{"[..], "not JSON"),
        (b"{}", "no code_version.commit"),
        (
            br#"{"code_version":{"commit":"main"}}"#,
            "\"main\" is not a commit hash",
        ),
        (&vec![b' '; (1 << 20) + 1], "larger than 1 MiB"),
    ] {
        write(&dir, "meta.json", json);
        let unfit = inspect(&dir).unwrap_err();
        assert!(
            !unfit.is_passing() && unfit.to_string().contains(words),
            "{unfit}"
        );
    }
}

/// As another user, if this one is root and reads everything.
#[test]
fn what_cannot_be_read_may_be_readable_later() {
    const ROLE: &str = "CIS490_TEST_PACK_LOCKED";
    const NAME: &str = "episode::refused::what_cannot_be_read_may_be_readable_later";
    const NOBODY: u32 = 65_534;
    if let Some(dir) = std::env::var_os(ROLE) {
        return check_locked(Path::new(&dir));
    }
    let folder = Folder::new();
    let dir = folder.episode("ep");
    let locked = dir.join("a.bin");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&locked).is_err() {
        return check_locked(&dir);
    }
    let mut as_nobody = Command::new(std::env::current_exe().unwrap());
    as_nobody
        .args(["--exact", NAME])
        .env(ROLE, &dir)
        .uid(NOBODY);
    match as_nobody.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{output:?}");
            assert!(said.contains("1 passed"), "another name: {output:?}");
        }
        Err(error) => skip!("an unreadable file, since nobody may start us: {error}"),
    }
}

fn check_locked(dir: &Path) {
    let mut nowhere = File::options().write(true).open("/dev/null").unwrap();
    let error = episode::pack(dir, "ep", &mut nowhere, &mut |_, _| Continue(())).unwrap_err();
    let words = error.to_string();
    assert!(
        error.is_passing() && words.contains("let the user that runs cis490"),
        "{words}"
    );
    assert!(words.contains("a.bin"), "{words}");
}

/// A file grows, shrinks, is rewritten or vanishes at the moment when its neighbour was read.
#[test]
fn a_file_that_changes_under_our_hands_is_an_error_that_passes() {
    let folder = Folder::new();
    type Change = fn(&Path);
    let cases: [(&str, Change); 5] = [
        ("grows", |path| {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .write_all(b"more")
                .unwrap()
        }),
        ("shrinks", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(300_000)
                .unwrap()
        }),
        ("is emptied", |path| drop(File::create(path).unwrap())),
        ("is rewritten", |path| {
            fs::write(path, noise(400_000)).unwrap()
        }),
        ("becomes a fifo", |path| {
            fs::remove_file(path).unwrap();
            mkfifo(path);
        }),
    ];
    for (name, change) in cases {
        for changed in ["b", "c"] {
            let dir = folder.join(name).join(changed);
            write(&dir, "meta.json", META);
            write(&dir, "b", noise(400_000));
            write(&dir, "c", noise(400_000));
            let mut out = File::create(folder.join("t")).unwrap();
            let mut done = false;
            let packed = episode::pack(&dir, "ep", &mut out, &mut |read, total| {
                assert_eq!(total, 800_000 + META.len() as u64);
                // Within b: it is open, and c is not yet.
                if read > 200_000 && !done {
                    done = true;
                    change(&dir.join(changed));
                }
                Continue(())
            });
            assert!(done);
            match (packed, name, changed) {
                // An open file that loses its name is still the file that it was.
                (Ok(_), "becomes a fifo", "b") => {}
                // c was not yet looked at: what it has become is packed, or is no file.
                (Ok(_), "grows" | "shrinks" | "is emptied" | "is rewritten", "c") => {}
                (Err(error), "becomes a fifo", "c") => assert!(!error.is_passing(), "{error}"),
                (Err(error), _, "b") => assert!(
                    error.is_passing()
                        && error
                            .to_string()
                            .contains("changed while it was being packed"),
                    "{name} {changed}: {error}"
                ),
                (other, ..) => panic!("{name} {changed}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_panic() {
    let folder = Folder::new();
    let dir = folder.episode("ep");
    let Ok(mut full) = File::options().write(true).open("/dev/full") else {
        skip!("a full disk, since there is no /dev/full");
        return;
    };
    match episode::pack(&dir, "ep", &mut full, &mut |_, _| Continue(())) {
        Err(PackError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
}
