//! `cis490 install` into a folder, as anybody: what is put where, and what is left alone.

mod packages;
mod puller;
mod words;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::here::user;
use crate::world::{TempDir, cis490};

/// A folder that stands for a machine.
struct Image {
    dir: TempDir,
}

impl Image {
    fn new() -> Image {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/hostname"), "Lab-7.example\n").unwrap();
        Image { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Exit status, stdout, stderr.
    fn run(&self, words: &str) -> (i32, String, String) {
        let output = cis490()
            .args(words.split(' '))
            .arg("--root")
            .arg(self.dir.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        (code, text(&output.stdout), text(&output.stderr))
    }

    fn good(&self, words: &str) -> String {
        let (code, out, err) = self.run(words);
        assert_eq!(code, 0, "{words}\n{out}\n{err}");
        out
    }

    /// Every path below, with its inode and mode.
    fn tree(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let found = path.symlink_metadata().unwrap();
                lines.push(format!("{path:?} {} {:o}", found.ino(), found.mode()));
                if found.is_dir() {
                    dirs.push(path);
                }
            }
        }
        lines.sort();
        lines
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

const SHIPPER: &str = "install shipper --receiver-url http://10.8.0.1:8490";

#[test]
fn a_folder_becomes_a_receiver_and_twice_is_as_once() {
    let image = Image::new();
    let planned = image.good("install receiver --dry-run");
    assert!(planned.contains("would make"), "{planned}");
    assert_eq!(image.tree().len(), 2, "a dry run makes nothing");

    let out = image.good("install receiver");
    assert_eq!(mode(&image.at("usr/local/bin/cis490")), 0o755);
    assert_eq!(mode(&image.at("etc/cis490")), 0o750);
    assert_eq!(mode(&image.at("etc/cis490/receiver.toml")), 0o640);
    let example = include_str!("../../../etc/receiver.toml.example");
    assert_eq!(image.read("etc/cis490/receiver.toml"), example);
    let unit = include_str!("../../../systemd/cis490-receiver.service");
    let unit_path = "etc/systemd/system/cis490-receiver.service";
    assert_eq!(image.read(unit_path), unit);
    let wants = image.at("etc/systemd/system/multi-user.target.wants/cis490-receiver.service");
    assert_eq!(
        fs::read_link(wants).unwrap(),
        Path::new("/").join(unit_path)
    );
    assert!(image.at("var/lib/cis490/cis490-store").exists());
    assert!(out.contains("nothing was started"), "{out}");

    let before = image.tree();
    let again = image.good("install receiver");
    assert!(!again.contains("made "), "{again}");
    assert_eq!(image.tree(), before);
}

/// What starts it follows its folder to another disk.
#[test]
fn the_receiver_is_started_by_the_disks_of_its_folder_and_by_no_other() {
    let image = Image::new();
    let units = "etc/systemd/system";
    let wanted_by = || {
        let mut found: Vec<String> = fs::read_dir(image.at(units))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|folder| folder.join("cis490-receiver.service").is_symlink())
            .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        found.sort();
        found
    };
    image.good("install receiver");
    let config = image.read("etc/cis490/receiver.toml");
    let usual = wanted_by();
    assert!(
        usual.contains(&"multi-user.target.wants".to_owned()),
        "{usual:?}"
    );
    let at = |folder: &str| {
        let text = config.replace("\"/var/lib/cis490\"", &format!("\"{folder}\""));
        assert_ne!(text, config);
        fs::write(image.at("etc/cis490/receiver.toml"), text).unwrap();
        image.good("install receiver");
        wanted_by()
    };
    let with = |disks: &[&str]| {
        let mut all = usual.clone();
        all.extend(disks.iter().map(|disk| format!("{disk}.mount.wants")));
        all.sort();
        all
    };
    assert_eq!(at("/mnt/old disk"), with(&["mnt", "mnt-old\\x20disk"]));
    assert_eq!(at("/srv/new"), with(&["srv", "srv-new"]));
    image.good("uninstall receiver");
    assert_eq!(wanted_by(), [""; 0]);
}

#[test]
fn a_shipper_needs_its_receivers_url_and_takes_its_hostname() {
    let image = Image::new();
    let (code, out, err) = image.run("install shipper");
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("--receiver-url http://HOST:8490"), "{err}");
    let (code, _, err) = image.run("install shipper --receiver-url pi:8490");
    assert_eq!(code, 1);
    assert!(err.contains("receiver_url"), "{err}");
    assert_eq!(image.tree().len(), 2, "refused before anything was made");

    let token = image.at("token");
    fs::write(&token, "sesame\n").unwrap();
    let out = image.good(&format!("{SHIPPER} --token-file {}", token.display()));
    assert!(!out.contains("sesame"), "{out}");
    let config = image.read("etc/cis490/shipper.toml");
    for line in [
        "receiver_url = \"http://10.8.0.1:8490\"",
        "host_id = \"lab-7\"",
        "token_file = \"cis490-token\"",
    ] {
        assert!(config.lines().any(|ours| ours == line), "{line}\n{config}");
    }
    let credential = image.at("etc/credstore/cis490-token");
    assert_eq!(fs::read_to_string(&credential).unwrap(), "sesame\n");
    assert_eq!(mode(&credential), 0o600);
    assert_eq!(mode(&image.at("etc/credstore")), 0o700);
    assert!(image.at("var/lib/cis490/outbox").is_dir());

    // Twice, with the same words or without them.
    let before = image.tree();
    image.good(SHIPPER);
    image.good("install shipper");
    assert_eq!(image.tree(), before);
    let out = image.good("install shipper --receiver-url http://10.8.0.9:8490");
    assert!(out.contains("does not have http://10.8.0.9:8490"), "{out}");
    assert_eq!(image.read("etc/cis490/shipper.toml"), config);
}

#[test]
fn an_existing_configuration_is_left_alone_and_its_differences_are_printed() {
    let image = Image::new();
    fs::create_dir(image.at("etc/cis490")).unwrap();
    let config = "data_dir = \"/mnt/disk/store\"\nmax_uploads = 8\n[version_gate]\nauth_token = \"sesame\"\n";
    fs::write(image.at("etc/cis490/receiver.toml"), config).unwrap();
    let out = image.good("install receiver");
    assert_eq!(image.read("etc/cis490/receiver.toml"), config);
    for words in [
        "max_uploads = 8, and 64 in the example",
        "version_gate.auth_token = (not shown)",
        "max_connections is left out, so it is 256",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    assert!(!out.contains("sesame"), "{out}");
    assert!(image.at("mnt/disk/store/cis490-store").exists());
    let drop_in = "etc/systemd/system/cis490-receiver.service.d/10-cis490-data.conf";
    let text = image.read(drop_in);
    assert!(
        text.contains("ReadWritePaths=\"-/mnt/disk/store\""),
        "{text}"
    );
    // Moved back to the usual folder, the drop-in has nothing to say.
    let moved = config.replace("/mnt/disk/store", "/var/lib/cis490");
    fs::write(image.at("etc/cis490/receiver.toml"), moved).unwrap();
    image.good("install receiver");
    assert!(!image.at(drop_in).exists());

    fs::write(image.at("etc/cis490/receiver.toml"), "data_dri = 1\n").unwrap();
    let before = image.tree();
    let (code, _, err) = image.run("install receiver");
    assert_eq!(code, 1);
    assert!(err.contains("data_dri"), "{err}");
    assert_eq!(image.tree(), before, "refused before anything was made");
}

#[test]
fn a_newer_program_takes_the_place_of_the_older_while_that_runs() {
    let image = Image::new();
    image.good("install receiver");
    let path = image.at("usr/local/bin/cis490");
    fs::write(&path, "an older one").unwrap();
    let running = fs::File::open(&path).unwrap();
    let out = image.good("install receiver");
    assert!(out.contains("made        "), "{out}");
    assert!(fs::metadata(&path).unwrap().len() > 1000);
    assert_eq!(mode(&path), 0o755);
    assert_eq!(running.metadata().unwrap().len(), 12, "not written into");
    assert!(!image.at("usr/local/bin/cis490.tmp").exists());
}

#[test]
fn two_sides_never_share_a_folder() {
    let image = Image::new();
    image.good("install receiver");
    let before = image.tree();
    let (code, _, err) = image.run(SHIPPER);
    assert_eq!(code, 1);
    assert!(err.contains("is the receiver's folder already"), "{err}");
    assert_eq!(image.tree(), before);
}

#[test]
fn uninstall_keeps_what_must_not_be_lost_and_says_where_it_is() {
    let image = Image::new();
    image.good("install receiver");
    let planned = image.good("uninstall receiver --dry-run");
    assert!(planned.contains("would remove"), "{planned}");
    assert!(image.at("usr/local/bin/cis490").exists());
    let out = image.good("uninstall receiver");
    for gone in [
        "usr/local/bin/cis490",
        "etc/systemd/system/cis490-receiver.service",
        "etc/systemd/system/multi-user.target.wants/cis490-receiver.service",
    ] {
        assert!(image.at(gone).symlink_metadata().is_err(), "{gone}");
    }
    for stays in ["var/lib/cis490", "etc/cis490/receiver.toml"] {
        assert!(image.at(stays).exists(), "{stays}");
        assert!(
            out.contains(&image.at(stays).display().to_string()),
            "{out}"
        );
    }
    assert!(image.at("var/lib/cis490/cis490-store").exists());
    let again = image.good("uninstall receiver");
    assert!(again.contains("there was nothing to do"), "{again}");
}

#[test]
fn root_makes_the_user_and_sets_the_owners() {
    let test = "root_makes_the_user_and_sets_the_owners";
    let image = Image::new();
    fs::write(image.at("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    for file in ["etc/group", "etc/shadow", "etc/gshadow"] {
        fs::write(image.at(file), "").unwrap();
    }
    if user() != 0 {
        let out = image.good("install receiver");
        assert!(out.contains("only root can make it"), "{out}");
        return skip!("the rest of {test}: needs root");
    }
    let out = image.good("install receiver");
    let passwd = image.read("etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("cis490:"));
    let line = line.unwrap_or_else(|| panic!("{passwd}\n{out}"));
    assert!(
        line.ends_with(":/var/lib/cis490:/usr/sbin/nologin"),
        "{line}"
    );
    let uid: u32 = line.split(':').nth(2).unwrap().parse().unwrap();
    let owner = |path: &str| {
        let found = image.at(path).metadata().unwrap();
        (found.uid() == uid, found.gid() != 0)
    };
    for (path, is) in [
        ("var/lib/cis490", (true, true)),
        ("var/lib/cis490/cis490-store", (true, true)),
        ("var/lib/cis490/incoming", (true, true)),
        ("etc/cis490/receiver.toml", (false, true)),
        ("etc/cis490", (false, true)),
        ("usr/local/bin/cis490", (false, false)),
    ] {
        assert_eq!(owner(path), is, "{path}");
    }
    let before = image.tree();
    image.good("install receiver");
    assert_eq!(image.tree(), before);
}
