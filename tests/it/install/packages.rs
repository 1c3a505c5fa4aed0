//! `cis490 install` where a package has put the program at /usr/bin, and what goes to /usr/local without one:
//! the program, its manual pages and its completions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Image, SHIPPER, mode};
use crate::world::cis490;

const OURS: &str = "usr/local/bin/cis490";
const UNITS: &str = "usr/lib/systemd/system";

impl Image {
    /// What the package brings: the program that is tested, and the units that run it there.
    fn with_package(with_units: bool) -> Image {
        let image = Image::new();
        image.put_package(with_units);
        image
    }

    fn put_package(&self, with_units: bool) {
        fs::create_dir_all(self.at("usr/bin")).unwrap();
        // Where a runner runs the program, it is the runner's argument.
        let command = cis490();
        let program = command.get_args().last();
        let program = program.unwrap_or(command.get_program());
        fs::copy(program, self.at("usr/bin/cis490")).unwrap();
        if !with_units {
            return;
        }
        fs::create_dir_all(self.at(UNITS)).unwrap();
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        for unit in fs::read_dir(units).unwrap() {
            let unit = unit.unwrap();
            let text = fs::read_to_string(unit.path()).unwrap();
            let text = text.replace("/usr/local/bin/cis490", "/usr/bin/cis490");
            fs::write(self.at(UNITS).join(unit.file_name()), text).unwrap();
        }
    }

    fn link(&self, path: &str) -> String {
        let target = fs::read_link(self.at(path));
        target.map_or(String::new(), |target| target.display().to_string())
    }
}

const TEXTS: [&str; 6] = [
    "usr/local/share/man/man1/cis490.1",
    "usr/local/share/man/man1/cis490-status.1",
    "usr/local/share/man/man5/cis490-receiver.toml.5",
    "usr/local/share/man/man7/cis490-events.7",
    "usr/local/share/bash-completion/completions/cis490",
    "usr/local/share/zsh/site-functions/_cis490",
];

#[test]
fn manual_pages_and_completions_come_with_the_program_and_go_with_it() {
    let image = Image::new();
    let planned = image.good("install receiver --dry-run");
    for words in ["manual pages", "for bash", "for zsh", "for fish"] {
        let mut lines = planned.lines();
        let is_named = lines.any(|line| line.contains("would make") && line.contains(words));
        assert!(is_named, "{words}\n{planned}");
    }
    image.good("install receiver");
    for path in TEXTS {
        assert_eq!(mode(&image.at(path)), 0o644, "{path}");
    }
    let fish = image.read("etc/fish/completions/cis490.fish");
    assert!(fish.contains("complete -c cis490"), "{fish}");
    let bash = cis490().args(["completions", "bash"]).output().unwrap();
    assert_eq!(image.read(TEXTS[4]).as_bytes(), bash.stdout);
    let page = cis490().args(["man", "status"]).output().unwrap();
    assert_eq!(image.read(TEXTS[1]).as_bytes(), page.stdout);
    // An older one is replaced, and reported.
    fs::write(image.at(TEXTS[1]), "old").unwrap();
    let again = image.good("install receiver");
    assert!(
        again.contains("made        ") && again.contains("manual pages"),
        "{again}"
    );
    assert_eq!(image.read(TEXTS[1]).as_bytes(), page.stdout);

    image.good("install puller --url http://10.8.0.1:8490");
    image.good("uninstall receiver");
    assert!(image.at(TEXTS[0]).exists(), "the puller's machine has them");
    let planned = image.good("uninstall puller --dry-run");
    assert!(
        planned.contains("would remove") && planned.contains("manual pages"),
        "{planned}"
    );
    image.good("uninstall puller");
    for path in TEXTS {
        assert!(!image.at(path).exists(), "{path}");
    }
    assert!(!image.at("etc/fish/completions/cis490.fish").exists());
}

#[test]
fn the_packages_program_units_and_pages_are_used_and_not_doubled() {
    let image = Image::with_package(true);
    let out = image.good("install receiver");
    let receiver = "cis490-receiver.service";
    let program = image.at("usr/bin/cis490");
    assert!(
        out.contains(&format!("{}, of the package", program.display())),
        "{out}"
    );
    for path in TEXTS
        .iter()
        .chain(&[OURS, &*format!("etc/systemd/system/{receiver}")])
    {
        assert!(!image.at(path).exists(), "{path}\n{out}");
    }
    let wants = format!("etc/systemd/system/multi-user.target.wants/{receiver}");
    assert_eq!(image.link(&wants), format!("/{UNITS}/{receiver}"));
    assert!(!out.contains("usr/local"), "{out}");
    let before = image.tree();
    let again = image.good("install receiver");
    assert!(
        !again.contains("made ") && !again.contains("it is not the program"),
        "{again}"
    );
    assert_eq!(image.tree(), before);

    let out = image.good("install puller --url http://10.8.0.1:8490");
    let timer = "cis490-pull.timer";
    let wants_timer = format!("etc/systemd/system/timers.target.wants/{timer}");
    assert_eq!(image.link(&wants_timer), format!("/{UNITS}/{timer}"));
    assert!(
        !image.at("etc/systemd/system/cis490-pull.service").exists(),
        "{out}"
    );

    let out = image.good("uninstall receiver");
    assert_eq!(image.link(&wants), "");
    assert!(
        program.exists() && image.at(UNITS).join(receiver).exists(),
        "{out}"
    );
    assert!(out.contains("which its package brought"), "{out}");
    image.good("uninstall puller");
    assert_eq!(image.link(&wants_timer), "");
    assert!(
        image
            .good("uninstall receiver")
            .contains("there was nothing to do")
    );
}

/// Such a package is one of another kind than ours: a unit of ours runs its program.
#[test]
fn a_unit_names_the_program_where_it_is() {
    let image = Image::with_package(false);
    image.good(SHIPPER);
    let unit = image.read("etc/systemd/system/cis490-shipper.service");
    assert!(unit.contains("\nExecStart=/usr/bin/cis490 ship "), "{unit}");
    assert!(!unit.contains("/usr/local"), "{unit}");
    assert!(!image.at(OURS).exists());
    image.good("install puller --url http://10.8.0.1:8490");
    let unit = image.read("etc/systemd/system/cis490-pull.service");
    assert!(unit.contains("\nExecStart=/usr/bin/cis490 pull "), "{unit}");
}

/// A machine that was set up with a copied file, and then got the package.
#[test]
fn what_an_earlier_install_has_put_gives_way_to_the_package() {
    let image = Image::new();
    image.good("install receiver");
    image.good("install puller --url http://10.8.0.1:8490");
    image.put_package(true);
    image.good("install receiver");
    // The puller's unit still runs the copy.
    assert!(image.at(OURS).exists());
    assert!(
        !image
            .at("etc/systemd/system/cis490-receiver.service")
            .exists()
    );
    let out = image.good("install puller");
    assert!(!image.at(OURS).exists(), "{out}");
    for path in TEXTS {
        assert!(!image.at(path).exists(), "{path}");
    }
    // Settings of this machine stay.
    assert!(
        image
            .at("etc/systemd/system/cis490-pull.service.d/10-cis490-pull.conf")
            .exists()
    );
}

#[test]
fn a_package_of_another_version_is_named() {
    let image = Image::with_package(true);
    fs::write(image.at("usr/bin/cis490"), "another one").unwrap();
    fs::set_permissions(
        image.at("usr/bin/cis490"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let out = image.good("install receiver");
    assert!(out.contains("the services run the package's"), "{out}");
    assert_eq!(image.read("usr/bin/cis490"), "another one");
    assert!(!image.at(OURS).exists());
}
