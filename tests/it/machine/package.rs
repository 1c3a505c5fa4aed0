//! A machine whose package has brought program and units: `install` uses them, and a copied file has no say.

use std::fs;
use std::path::Path;

use super::{Machine, bring_program, hurry, machine};
use crate::world::Repo;

const NAME: &str = "install_runs_the_packages_program_by_the_packages_unit";
const RECEIVER: &str = "cis490-receiver";

/// Lays a folder of the package over one of the machine's, whose /usr is this machine's own. False where the
/// kernel allows no such mount.
fn lay(machine: &Machine, brought: &str, over: &str) -> bool {
    let options = format!("lowerdir={over},upperdir=/opt/{brought},workdir=/opt/work-{brought}");
    let words = ["mount", "-t", "overlay", "overlay", "-o", &options, over];
    machine.run(&words).0
}

#[test]
fn install_runs_the_packages_program_by_the_packages_unit() {
    let machine = machine(NAME, |root| {
        bring_program(root);
        Repo::new(&root.join("opt/cis490"), 3);
        hurry(root, RECEIVER);
        for dir in ["bin", "work-bin", "units", "work-units"] {
            fs::create_dir(root.join("opt").join(dir)).unwrap();
        }
        fs::copy(root.join("opt/copied"), root.join("opt/bin/cis490")).unwrap();
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        for unit in fs::read_dir(units).unwrap() {
            let unit = unit.unwrap();
            let text = fs::read_to_string(unit.path()).unwrap();
            let text = text.replace("/usr/local/bin/cis490", "/usr/bin/cis490");
            fs::write(root.join("opt/units").join(unit.file_name()), text).unwrap();
        }
    });
    let Some(machine) = machine else { return };
    let has_package =
        lay(&machine, "bin", "/usr/bin") && lay(&machine, "units", "/usr/lib/systemd/system");
    if !has_package {
        return skip!("{NAME}: no overlay can be mounted in there");
    }
    machine.good(&["systemctl", "daemon-reload"]);
    assert_eq!(machine.show(RECEIVER, "UnitFileState"), "disabled");

    // A copy of another version has no say, before anything is changed.
    machine.good(&[
        "sh",
        "-c",
        "cp /opt/copied /opt/newer && printf x >> /opt/newer",
    ]);
    let (good, said) = machine.run(&["/opt/newer", "install", "receiver"]);
    assert!(
        !good && said.contains("a package has put another cis490 at /usr/bin"),
        "{said}"
    );
    assert!(!machine.at("etc/cis490").exists(), "{said}");

    let out = machine.good(&["cis490", "install", "receiver"]);
    assert!(
        out.contains("The receiver answers on 127.0.0.1:8490"),
        "{out}"
    );
    assert!(
        !machine.run(&["test", "-e", "/usr/local/bin/cis490"]).0,
        "{out}"
    );
    assert_eq!(machine.show(RECEIVER, "UnitFileState"), "enabled");
    // systemd may name the folder by /lib, which is a link.
    let unit = machine.good(&["realpath", &machine.show(RECEIVER, "FragmentPath")]);
    assert_eq!(
        unit,
        format!("/usr/lib/systemd/system/{RECEIVER}.service\n")
    );
    let pid = machine.show(RECEIVER, "MainPID");
    let runs = machine.good(&["readlink", &format!("/proc/{pid}/exe")]);
    assert_eq!(runs, "/usr/bin/cis490\n");

    let again = machine.good(&["cis490", "install", "receiver"]);
    assert!(!again.contains("made "), "{again}");
    assert_eq!(machine.show(RECEIVER, "MainPID"), pid);

    let out = machine.good(&["cis490", "uninstall", "receiver"]);
    assert!(
        out.contains("which its package brought: /usr/bin/cis490"),
        "{out}"
    );
    assert_eq!(machine.show(RECEIVER, "UnitFileState"), "disabled");
    assert_eq!(machine.show(RECEIVER, "ActiveState"), "inactive");
    let nothing = machine.good(&["cis490", "uninstall", "receiver"]);
    assert!(nothing.contains("there was nothing to do"), "{nothing}");
}
