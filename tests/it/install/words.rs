//! What `install` says is true, also of what the service could not use or see.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Image, SHIPPER};
use crate::world::cis490;

/// `install` reports truly which files are there already, and which an image lacks.
#[test]
fn what_install_says_is_true() {
    let image = Image::new();
    // A dry run says each folder once, and at its end what it was.
    let planned = image.good("install receiver --dry-run");
    let last = planned.lines().last().unwrap();
    assert_eq!(last, "This was a dry run: nothing was changed.");
    for folder in ["etc/systemd/", "etc/systemd/system/"] {
        let line = format!("would make  {}", image.at(folder).display());
        let count = planned
            .lines()
            .filter(|said| said.trim() == line.trim())
            .count();
        assert_eq!(count, 1, "{folder}\n{planned}");
    }
    image.good("install receiver");
    let again = image.good("install receiver");
    assert!(
        again.contains("receiver.toml; it says what the example says"),
        "{again}"
    );
    assert!(!again.contains("differs"), "{again}");
    // There is no user in an image without etc/passwd.
    let out = image.good("uninstall receiver");
    assert!(!out.contains("the user cis490"), "{out}");
    let passwd = "cis490:x:991:991::/var/lib/cis490:/usr/sbin/nologin\n";
    fs::write(image.at("etc/passwd"), passwd).unwrap();
    let out = image.good("uninstall receiver");
    assert!(
        out.contains("the user cis490, which another program may use too"),
        "{out}"
    );

    let nameless = Image::new();
    fs::write(nameless.at("etc/hostname"), "\n").unwrap();
    let (code, _, err) = nameless.run(SHIPPER);
    assert_eq!(code, 1);
    let named = format!("{} is empty", nameless.at("etc/hostname").display());
    assert!(
        err.contains(&named) && err.contains("--host-id lab-1"),
        "{err}"
    );
    fs::remove_file(nameless.at("etc/hostname")).unwrap();
    let (code, _, err) = nameless.run(SHIPPER);
    assert_eq!(code, 1);
    let named = format!("cannot read {}", nameless.at("etc/hostname").display());
    assert!(
        err.contains(&named) && err.contains("--host-id lab-1"),
        "{err}"
    );
}

/// A relative folder is as good as an absolute one, for useradd too.
#[test]
fn an_image_may_be_named_from_where_one_stands() {
    let image = Image::new();
    fs::write(image.at("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    for file in ["etc/group", "etc/shadow", "etc/gshadow"] {
        fs::write(image.at(file), "").unwrap();
    }
    let folder = image.dir.path();
    let output = cis490()
        .current_dir(folder.parent().unwrap())
        .args(["install", "receiver", "--root"])
        .arg(folder.file_name().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(!said.contains("absolute"), "{said}");
    assert!(image.at("var/lib/cis490/cis490-store").exists());
}

/// Without systemd, and as anybody, a dry run of this machine says what would be done.
#[test]
fn a_dry_run_of_this_machine_needs_no_systemd() {
    let output = cis490()
        .args(["install", "shipper", "--dry-run", "--host-id", "lab-1"])
        .args(["--receiver-url", "http://10.8.0.1:8490"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if Path::new("/etc/cis490").exists() {
        return skip!("a_dry_run_of_this_machine_needs_no_systemd: cis490 is installed here");
    }
    assert!(output.status.success(), "{output:?}");
    assert!(
        said.contains("would make  /etc/cis490/shipper.toml"),
        "{said}"
    );
    assert!(
        said.ends_with("This was a dry run: nothing was changed.\n"),
        "{said}"
    );
}

/// What would break out of a unit's line is no folder of ours.
#[test]
fn a_folder_that_a_unit_cannot_name_is_a_bad_value() {
    let image = Image::new();
    image.good("install receiver");
    let config = image.at("etc/cis490/receiver.toml");
    let text = fs::read_to_string(&config).unwrap();
    for folder in [
        "/srv/a\\\"b",
        "/srv/a'b",
        "/srv/a\\\\b",
        "/srv/50%",
        "/srv/a\\nExecStart=/x",
        "relative",
    ] {
        fs::write(&config, text.replace("/var/lib/cis490", folder)).unwrap();
        let before = image.tree();
        let (code, _, err) = image.run("install receiver");
        assert_eq!(code, 1, "{folder}: {err}");
        assert!(
            err.contains("data_dir accepts an absolute path without quotes"),
            "{folder}: {err}"
        );
        assert_eq!(image.tree(), before, "{folder}");
    }
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, _, err) = image.run("install receiver");
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("may be written by everybody on this machine"),
        "{err}"
    );
}

/// A person can see the folder and the service cannot: `install` and `doctor` say so.
#[test]
fn what_the_service_cannot_see_is_named() {
    let image = Image::new();
    image.good("install receiver");
    let config = image.at("etc/cis490/receiver.toml");
    let text = fs::read_to_string(&config).unwrap();
    for (path, words) in [
        ("/home/lab/cis490", "below /home (ProtectHome=true"),
        ("~/cis490", "~ has no meaning here"),
    ] {
        let line = format!("local_repo_path = {path:?}");
        fs::write(
            &config,
            text.replace("#local_repo_path = \"/opt/cis490\"", &line),
        )
        .unwrap();
        let said = image.good("install receiver");
        assert!(
            said.contains("version_gate.local_repo_path") && said.contains(words),
            "{said}"
        );
        let asked = cis490()
            .args(["doctor", "--json", "--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(
            said.contains("local_repo_path") && said.contains(words),
            "{said}"
        );
    }
}

/// Nothing would get in: it is said before the first lab host hears a 503.
#[test]
fn a_receiver_whose_gate_has_no_repository_is_warned_of() {
    let forgejo = "install receiver --forgejo-url http://127.0.0.1:3000 --repo lab/cis490";
    let words = "names no repository, so nothing can be uploaded yet";
    let image = Image::new();
    let planned = image.good("install receiver --dry-run");
    assert!(
        planned.contains(words) && planned.contains("--forgejo-url"),
        "{planned}"
    );
    assert!(image.good("install receiver").contains(words));
    assert!(
        image.good("install receiver").contains(words),
        "also the second time"
    );
    // The checkout that is found without a word in the configuration.
    fs::create_dir_all(image.at("opt/cis490/.git")).unwrap();
    assert!(!image.good("install receiver").contains(words));
    let other = Image::new();
    assert!(!other.good(forgejo).contains(words));
    let config = other.at("etc/cis490/receiver.toml");
    let text = fs::read_to_string(&config).unwrap();
    let open = text.replace("\nenabled = true\n", "\nenabled = false\n");
    let open = open.replace("\nforgejo_url = ", "\n#forgejo_url = ");
    fs::write(&config, open).unwrap();
    assert!(!other.good("install receiver").contains(words));
}
