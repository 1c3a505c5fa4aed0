//! `cis490 install puller` into a folder: its units, and the drop-in with its settings.

use std::fs;
use std::path::Path;

use super::{Image, mode};

const DROP_IN: &str = "etc/systemd/system/cis490-pull.service.d/10-cis490-pull.conf";
const INSTALL: &str = "install puller --url http://10.8.0.1:8490";

#[test]
fn a_folder_becomes_a_puller_and_twice_is_as_once() {
    let image = Image::new();
    let planned = image.good(&format!("{INSTALL} --dry-run"));
    assert!(planned.contains("would make"), "{planned}");
    assert_eq!(image.tree().len(), 2, "a dry run makes nothing");

    image.good(INSTALL);
    assert_eq!(mode(&image.at("usr/local/bin/cis490")), 0o755);
    for unit in ["cis490-pull.service", "cis490-pull.timer"] {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("systemd")
            .join(unit);
        let put = image.read(&format!("etc/systemd/system/{unit}"));
        assert_eq!(put, fs::read_to_string(ours).unwrap());
    }
    let wants = image.at("etc/systemd/system/timers.target.wants/cis490-pull.timer");
    let timer = Path::new("/etc/systemd/system/cis490-pull.timer");
    assert_eq!(fs::read_link(wants).unwrap(), timer);
    assert_eq!(mode(&image.at("var/lib/cis490-pull")), 0o750);
    let drop_in = image.read(DROP_IN);
    assert!(
        drop_in.contains("CIS490_URL=http://10.8.0.1:8490\""),
        "{drop_in}"
    );

    let before = image.tree();
    for words in [INSTALL, "install puller"] {
        let again = image.good(words);
        assert!(!again.contains("made "), "{again}");
        assert_eq!(image.tree(), before, "{words}");
    }
}

#[test]
fn a_pullers_options_stand_in_its_drop_in_and_stay_without_new_ones() {
    let image = Image::new();
    fs::write(image.at("token"), "sesame\n").unwrap();
    let token = image.at("token").display().to_string();
    image.good(&format!(
        "{INSTALL} --to /data/cis490 --host lab-1 --token-file {token}"
    ));
    let credential = image.at("etc/credstore/cis490-reader-token");
    assert_eq!(mode(&credential), 0o600);
    assert_eq!(fs::read_to_string(credential).unwrap(), "sesame\n");
    let drop_in = image.read(DROP_IN);
    for line in [
        "RequiresMountsFor=\"/data/cis490\"",
        "ReadWritePaths=\"-/data/cis490\"",
        "Environment=\"CIS490_TO=/data/cis490\"",
        "Environment=\"CIS490_OPTIONS=--token-file=cis490-reader-token --host=lab-1\"",
        "LoadCredential=cis490-reader-token",
    ] {
        assert!(drop_in.lines().any(|one| one == line), "{line}\n{drop_in}");
    }
    assert!(!drop_in.contains("sesame"));

    image.good("install puller");
    assert_eq!(image.read(DROP_IN), drop_in);
    // Another address: the token stays in use, the other options are those of this run.
    image.good("install puller --url http://10.8.0.2:8490 --to /data/other");
    let other = image.read(DROP_IN);
    assert!(
        other.contains("10.8.0.2") && other.contains("/data/other"),
        "{other}"
    );
    assert!(
        other.contains("LoadCredential") && !other.contains("lab-1"),
        "{other}"
    );
}

#[test]
fn a_puller_needs_an_address_and_paths_that_its_service_can_see() {
    let image = Image::new();
    for (words, said) in [
        ("install puller", "needs --url"),
        ("install puller --to /data", "needs --url"),
        (
            "install puller --url ftp://x",
            "is not a receiver's address",
        ),
        (
            "install puller --url http://x --to relative",
            "cannot stand in a unit",
        ),
        (
            "install puller --url http://x --to /a%b",
            "cannot stand in a unit",
        ),
        (
            "install puller --url http://x --to /home/me/data",
            "cannot see anything below /home",
        ),
        (
            "install puller --url http://x --to /",
            "no folder for episodes",
        ),
        (
            "install puller --url http://x --to /./",
            "no folder for episodes",
        ),
        (
            "install puller --url http://x --to /etc/",
            "no folder for episodes",
        ),
        (
            "install puller --url http://x --to /a/..",
            "no folder for episodes",
        ),
        (
            "install puller --url http://x --to / --dry-run",
            "no folder for",
        ),
        // Neither a quote nor a backslash ends the words of the drop-in.
        (
            "install puller --url http://x/a\"b",
            "is not a receiver's address",
        ),
        (
            "install puller --url http://x/a'b",
            "is not a receiver's address",
        ),
        (
            "install puller --url http://x/a\\b",
            "is not a receiver's address",
        ),
        (
            "install puller --url http://x/a\nExecStart=/x",
            "is not a receiver's",
        ),
        ("install puller --url http://x --host A", "host"),
        ("install pullers --url http://x", "puller"),
    ] {
        let (code, out, err) = image.run(words);
        assert_ne!(code, 0, "{words}\n{out}");
        assert!(err.contains(said), "{words}\n{err}");
        assert_eq!(image.tree().len(), 2, "{words} has made something");
    }
}

#[test]
fn what_a_puller_leaves_is_named_and_the_program_stays_for_others() {
    let image = Image::new();
    let nothing = image.good("uninstall puller");
    assert!(nothing.contains("nothing to do"), "{nothing}");
    image.good(INSTALL);
    image.good("install receiver");
    let out = image.good("uninstall puller");
    assert!(
        out.contains("the episodes: ") && out.contains("cis490-pull"),
        "{out}"
    );
    assert!(image.at("usr/local/bin/cis490").exists());
    for gone in [
        DROP_IN,
        "etc/systemd/system/cis490-pull.timer",
        "etc/systemd/system/cis490-pull.service",
    ] {
        assert!(!image.at(gone).exists(), "{gone}");
    }
    assert!(image.at("var/lib/cis490-pull").is_dir());
    image.good("install puller --url http://10.8.0.1:8490");
    image.good("uninstall receiver");
    assert!(image.at("usr/local/bin/cis490").exists());
    image.good("uninstall puller");
    assert!(!image.at("usr/local/bin/cis490").exists());
}
