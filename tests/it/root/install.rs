//! `install` by root over a folder in which the service's user is at work.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Ended, USER, Victims, give, is_root, open_dir, run, set_mode};
use crate::world::TempDir;

/// A folder that stands for a machine which has the user already.
struct Image {
    dir: TempDir,
}

impl Image {
    fn new() -> Image {
        let image = Image { dir: open_dir() };
        fs::create_dir(image.at("etc")).unwrap();
        let line = format!("cis490:x:{USER}:{USER}::/var/lib/cis490:/usr/sbin/nologin\n");
        fs::write(image.at("etc/passwd"), line).unwrap();
        fs::write(image.at("etc/group"), format!("cis490:x:{USER}:\n")).unwrap();
        fs::write(image.at("etc/hostname"), "lab-1\n").unwrap();
        image
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn install(&self) -> Ended {
        run(&[
            "install",
            "receiver",
            "--root",
            self.dir.path().to_str().unwrap(),
        ])
    }

    fn good(&self) -> String {
        let ended = self.install();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.said
    }

    fn owner(&self, path: &str) -> u32 {
        self.at(path).symlink_metadata().unwrap().uid()
    }
}

/// Exchanges two names, as the service's user could again and again.
#[allow(unsafe_code)]
fn exchange(one: &Path, other: &Path) {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (one, other) = (path(one), path(other));
    // SAFETY: two NUL-terminated paths that live over the call, and plain integers.
    unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        );
    }
}

#[test]
fn a_folder_exchanged_for_a_link_while_install_walks_gives_nothing_away() {
    if !is_root("a_folder_exchanged_for_a_link_while_install_walks_gives_nothing_away") {
        return;
    }
    let image = Image::new();
    image.good();
    let victims = Victims::new(image.dir.path());
    let host = image.at("var/lib/cis490/episodes/lab-1");
    fs::create_dir(&host).unwrap();
    for n in 0..50 {
        fs::write(host.join(format!("ep-{n}.tar.zst")), "").unwrap();
    }
    give(&image.at("var/lib/cis490"));
    let link = image.at("var/lib/cis490/episodes/link");
    symlink(victims.folder(), &link).unwrap();
    let ends = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                exchange(&host, &link);
                thread::sleep(Duration::from_micros(20));
            }
        });
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            // Something to hand over, so that it walks.
            let left = image.at("var/lib/cis490/refusals.jsonl");
            fs::write(&left, "").unwrap();
            chown(&left, Some(0), Some(0)).unwrap();
            let ended = image.install();
            if ended.code != 0 || image.owner("var/lib/cis490/refusals.jsonl") != USER {
                ends.store(true, Ordering::Relaxed);
                panic!("{ended:?}");
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    victims.assert_untouched("install");
}

/// What root's own commands have left is the service's again; what else may be a trap is named.
#[test]
fn what_root_left_is_handed_over_and_a_trap_is_named() {
    if !is_root("what_root_left_is_handed_over_and_a_trap_is_named") {
        return;
    }
    let image = Image::new();
    image.good();
    for path in ["", "/incoming", "/episodes", "/quarantine", "/cis490-store"] {
        assert_eq!(
            image.owner(&format!("var/lib/cis490{path}")),
            USER,
            "{path}"
        );
    }
    let victims = Victims::new(image.dir.path());
    let data = |path: &str| image.at("var/lib/cis490").join(path);
    fs::write(data("lock"), "").unwrap();
    fs::write(data("index.jsonl"), "").unwrap();
    set_mode(&data("index.jsonl"), 0o600);
    fs::hard_link(victims.readable(), data("trap")).unwrap();
    symlink(victims.secret(), data("link")).unwrap();
    let said = image.good();
    assert_eq!(image.owner("var/lib/cis490/lock"), USER);
    assert_eq!(image.owner("var/lib/cis490/index.jsonl"), 0);
    for named in [
        "index.jsonl is root's and stays so",
        "trap is root's",
        "link is root's",
    ] {
        assert!(said.contains(named), "{named}\n{said}");
    }
    victims.assert_untouched(&said);
}

/// Root does what the configuration says: nobody else may have written it.
#[test]
fn a_configuration_that_others_may_write_is_refused() {
    if !is_root("a_configuration_that_others_may_write_is_refused") {
        return;
    }
    let image = Image::new();
    image.good();
    let config = image.at("etc/cis490/receiver.toml");
    let own = config.metadata().unwrap();
    for (uid, gid, mode, words) in [
        (0, 0, 0o666, "everybody on this machine"),
        (0, USER, 0o660, "the group 64990"),
        (USER, USER, 0o640, "the user 64990"),
    ] {
        chown(&config, Some(uid), Some(gid)).unwrap();
        set_mode(&config, mode);
        let ended = image.install();
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended.said.contains(&format!("may be written by {words}")),
            "{ended:?}"
        );
        assert!(ended.said.contains("sudo chmod go-w"), "{ended:?}");
    }
    chown(&config, Some(own.uid()), Some(own.gid())).unwrap();
    set_mode(&config, 0o640);
    image.good();
}

/// A user who could put another folder there would have root hand that one over.
#[test]
fn a_folder_below_one_of_the_user_is_refused() {
    if !is_root("a_folder_below_one_of_the_user_is_refused") {
        return;
    }
    let image = Image::new();
    image.good();
    let above = image.at("var/lib");
    chown(&above, Some(USER), None).unwrap();
    let ended = image.install();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.said.contains("could put another folder there"),
        "{ended:?}"
    );
}
