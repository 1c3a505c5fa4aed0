//! A receiver whose disk or address comes late, or goes and comes again.

use std::fs;

use super::{Machine, bring_program, hurry, machine};

const LATE: &str = "a_disk_that_comes_late_or_again_has_its_service_with_it";

#[test]
fn a_disk_that_comes_late_or_again_has_its_service_with_it() {
    let machine = machine(LATE, |root| {
        bring_program(root);
        fs::create_dir_all(root.join("opt/disk")).unwrap();
        fs::create_dir_all(root.join("mnt/a disk-1")).unwrap();
        // As from fstab, which systemd does not read for a container's disks.
        let units = root.join("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        let unit = "[Mount]\nWhat=/opt/absent.img\nWhere=/mnt/a disk-1\nOptions=loop\n";
        fs::write(units.join("mnt-a\\x20disk\\x2d1.mount"), unit).unwrap();
        fs::create_dir(root.join("etc/cis490")).unwrap();
        let config = "data_dir = \"/mnt/a disk-1/store\"\n[version_gate]\nenabled = false\n";
        fs::write(root.join("etc/cis490/receiver.toml"), config).unwrap();
        hurry(root, "cis490-receiver");
    });
    let Some(machine) = machine else { return };
    let receiver = "cis490-receiver";
    let mount = ["mount", "--bind", "/opt/disk", "/mnt/a disk-1"];
    let state = |machine: &Machine| machine.show(receiver, "ActiveState");

    machine.good(&mount);
    let config = "/etc/cis490/receiver.toml";
    machine.good(&["/opt/copied", "init", "--config", config]);
    machine.good(&["/opt/copied", "install", "receiver"]);
    assert_eq!(state(&machine), "active");

    // Without its disk it is not started, and nothing tries in a circle.
    machine.good(&["systemctl", "stop", receiver]);
    machine.good(&["umount", "/mnt/a disk-1"]);
    let disk = "mnt-a\\x20disk\\x2d1.mount";
    let disk_is = |wanted| move |machine: &Machine| machine.show(disk, "ActiveState") == wanted;
    machine.wait_until("systemd misses the disk", disk_is("inactive"));
    let (good, said) = machine.run(&["systemctl", "start", receiver]);
    assert!(!good && said.contains("dependency"), "{said}");
    assert_eq!(state(&machine), "inactive");

    // The disk is mounted by somebody's command, and not by systemd.
    machine.good(&mount);
    machine.wait_until("its disk has it started", |machine| {
        state(machine) == "active"
    });

    // Switched off it is not started by the disk.
    machine.good(&["systemctl", "disable", "--now", receiver]);
    machine.good(&["umount", "/mnt/a disk-1"]);
    machine.wait_until("systemd misses the disk", disk_is("inactive"));
    machine.good(&mount);
    machine.wait_until("systemd has seen the disk", disk_is("active"));
    machine.wait_until("systemd has nothing to do", |machine| {
        machine
            .good(&["systemctl", "list-jobs"])
            .contains("No jobs")
    });
    assert_eq!(state(&machine), "inactive");
}

const ADDRESS: &str = "an_address_that_comes_late_is_waited_for";

#[test]
fn an_address_that_comes_late_is_waited_for() {
    let machine = machine(ADDRESS, |root| {
        bring_program(root);
        fs::create_dir(root.join("etc/cis490")).unwrap();
        let config = "listen = \"10.8.0.1:8490\"\ndata_dir = \"/var/lib/cis490\"\n[version_gate]\nenabled = false\n";
        fs::write(root.join("etc/cis490/receiver.toml"), config).unwrap();
        hurry(root, "cis490-receiver");
    });
    let Some(machine) = machine else { return };
    if !machine.run(&["ip", "-V"]).0 {
        skip!("{ADDRESS}: needs ip (iproute2)");
        return;
    }
    let receiver = "cis490-receiver";
    let config = "/etc/cis490/receiver.toml";
    machine.good(&["/opt/copied", "init", "--config", config]);
    let (good, said) = machine.run(&["/opt/copied", "install", "receiver"]);
    let why = "this machine has no such address, or not yet (is WireGuard up?)";
    assert!(!good && said.contains(why), "{said}");
    // Tried again and again, with a rest between.
    machine.wait_until("it was tried again", |machine| {
        machine.show(receiver, "NRestarts").parse::<u32>().unwrap() >= 2
    });
    machine.good(&["ip", "address", "add", "10.8.0.1/32", "dev", "lo"]);
    machine.wait_until("it listens", |machine| {
        let told = machine.show(receiver, "StatusText");
        machine.show(receiver, "ActiveState") == "active"
            && told.contains("accepts uploads on 10.8.0.1:8490")
    });
    let again = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(
        again.contains("The receiver answers on 10.8.0.1:8490"),
        "{again}"
    );
}
