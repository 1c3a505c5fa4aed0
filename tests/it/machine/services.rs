//! Both sides on one machine, from a copied file to the end: installed, used, killed, uninstalled.

use std::fs;
use std::process::Command;

use super::{Machine, bring_program, hurry, machine};
use crate::world::Repo;

const NAME: &str = "a_copied_file_becomes_two_services_that_ship_heal_and_leave";

#[test]
fn a_copied_file_becomes_two_services_that_ship_heal_and_leave() {
    let mut head = String::new();
    let machine = machine(NAME, |root| {
        bring_program(root);
        // The fallback's repository is another user's, as a lab's checkout is.
        let repo = Repo::new(&root.join("opt/cis490"), 3);
        head = repo.head().to_owned();
        let given = Command::new("chown")
            .args(["-R", "1000:1000"])
            .arg(&repo.dir)
            .status();
        assert!(given.unwrap().success());
        hurry(root, "cis490-receiver");
        hurry(root, "cis490-shipper");
    });
    let Some(machine) = machine else { return };
    let receiver = "cis490-receiver";

    // One command, and it answers; git works in the sandbox.
    let planned = machine.good(&["/opt/copied", "install", "receiver", "--dry-run"]);
    assert!(
        planned.contains("would make  systemctl start cis490-receiver"),
        "{planned}"
    );
    let has_program = |machine: &Machine| machine.run(&["test", "-x", "/usr/local/bin/cis490"]).0;
    assert!(!has_program(&machine));
    let out = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(
        out.contains("The receiver answers on 127.0.0.1:8490 and accepts uploads."),
        "{out}"
    );
    let gate = machine.curl("/v1/gate");
    assert!(
        gate.contains(r#""source":"git""#) && gate.contains(&head),
        "{gate}"
    );
    // The status that it sent first may be older than its window.
    machine.wait_until("its status says that it takes uploads", |machine| {
        let told = machine.show(receiver, "StatusText");
        told.contains("accepts uploads on 0.0.0.0:8490")
    });
    assert_eq!(machine.show(receiver, "UnitFileState"), "enabled");

    // Twice is as once, and the service runs on.
    let pid = machine.show(receiver, "MainPID");
    let again = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(!again.contains("made "), "{again}");
    assert_eq!(machine.show(receiver, "MainPID"), pid);

    // What root has left in its folder is handed over while it is stopped, and it runs again.
    let left = "/var/lib/cis490/quarantine/left";
    machine.good(&["touch", left]);
    let again = machine.good(&["/opt/copied", "install", "receiver"]);
    assert!(again.contains("systemctl stop cis490-receiver"), "{again}");
    assert!(again.contains("systemctl start cis490-receiver"), "{again}");
    assert_eq!(machine.good(&["stat", "-c", "%U", left]), "cis490\n");
    assert_ne!(machine.show(receiver, "MainPID"), pid);

    // The lab host's side, here too, with a folder of its own and a token.
    let made = machine.good(&["/opt/copied", "token", "lab-7"]);
    let mut lines = made.lines();
    let token = lines.nth(1).unwrap().to_owned();
    let rule = made.split_once("[[host]]").unwrap().1;
    let config = fs::read_to_string(machine.at("etc/cis490/receiver.toml")).unwrap();
    fs::write(
        machine.at("etc/cis490/receiver.toml"),
        format!("{config}\n[[host]]{rule}"),
    )
    .unwrap();
    fs::write(machine.at("opt/token"), &token).unwrap();
    machine.good(&["systemctl", "restart", receiver]);
    let shipper_toml = "receiver_url = \"http://127.0.0.1:8490\"\nhost_id = \"lab-7\"\nroot = \"/mnt/queue\"\ntoken_file = \"cis490-token\"\nscan_seconds = 1\n";
    fs::write(machine.at("etc/cis490/shipper.toml"), shipper_toml).unwrap();
    let (good, said) = machine.run(&["/opt/copied", "install", "shipper"]);
    assert!(!good && said.contains("is its disk mounted?"), "{said}");
    machine.good(&[
        "/opt/copied",
        "init",
        "--config",
        "/etc/cis490/shipper.toml",
    ]);
    let out = machine.good(&[
        "/opt/copied",
        "install",
        "shipper",
        "--token-file",
        "/opt/token",
    ]);
    assert!(
        out.contains("the receiver at http://127.0.0.1:8490 answers"),
        "{out}"
    );
    assert!(!out.contains(&token), "{out}");

    // An episode travels, out of one sandbox into the other.
    let episode = machine.at("mnt/queue/episodes/ep-1");
    fs::create_dir(&episode).unwrap();
    fs::write(episode.join("data.bin"), "recorded").unwrap();
    let meta = format!(r#"{{"code_version":{{"commit":"{head}","dirty":false}}}}"#);
    fs::write(episode.join("meta.json"), meta).unwrap();
    let given = machine.good(&["chown", "-R", "cis490:cis490", "/mnt/queue/episodes/ep-1"]);
    assert_eq!(given, "");
    machine.wait_until("it is shipped", |machine| {
        machine.at("mnt/queue/shipped/ep-1.receipt.json").exists()
    });
    assert!(
        machine
            .at("var/lib/cis490/episodes/lab-7/ep-1.tar.zst")
            .exists()
    );

    // What took its body gives way to what answers, in the sandbox too.
    let pid = machine.show(receiver, "MainPID");
    let tasks = machine.good(&["sh", "-c", &format!("cat /proc/{pid}/task/*/stat")]);
    let nice = |line: &str| {
        let fields = line.rsplit_once(") ")?.1;
        fields.split(' ').nth(16).map(str::to_owned)
    };
    let is_body = |line: &&str| line.contains("(body)");
    let bodies: Vec<_> = tasks.lines().filter(is_body).map(nice).collect();
    assert!(!bodies.is_empty(), "{tasks}");
    assert!(
        bodies.iter().all(|nice| nice.as_deref() == Some("5")),
        "{tasks}"
    );

    a_puller_brings_it(&machine);

    // Killed, it comes back; stuck, it is killed by the watchdog, and comes back.
    let pid = machine.show(receiver, "MainPID");
    machine.good(&["kill", "-9", &pid]);
    let is_new = |machine: &Machine, old: &str| {
        let pid = machine.show(receiver, "MainPID");
        pid != "0" && pid != old && machine.show(receiver, "ActiveState") == "active"
    };
    machine.wait_until("it is back", |machine| is_new(machine, &pid));
    let pid = machine.show(receiver, "MainPID");
    machine.good(&["kill", "-STOP", &pid]);
    machine.wait_until("the watchdog has ended it", |machine| is_new(machine, &pid));
    assert!(
        machine.log().contains("Watchdog timeout"),
        "{}",
        machine.log()
    );

    // What is left when both are gone.
    machine.good(&["/opt/copied", "uninstall", "shipper"]);
    assert!(has_program(&machine), "the other side needs it");
    let out = machine.good(&["/opt/copied", "uninstall", "receiver"]);
    assert!(out.contains("/var/lib/cis490"), "{out}");
    assert!(!has_program(&machine));
    assert!(!machine.run(&["systemctl", "cat", receiver]).0);
    assert!(
        machine
            .at("var/lib/cis490/episodes/lab-7/ep-1.tar.zst")
            .exists()
    );
}

/// A timer brings what is stored to another folder, in the sandbox of its unit.
fn a_puller_brings_it(machine: &Machine) {
    let path = machine.at("etc/cis490/receiver.toml");
    let config = fs::read_to_string(&path).unwrap();
    let install = [
        "/opt/copied",
        "install",
        "puller",
        "--url",
        "http://127.0.0.1:8490",
        "--to",
        "/srv/pulled",
    ];
    // Nobody may read yet. systemd may see the end of such a pull before it has noticed its start; as a
    // `oneshot` the start fails each time.
    let early = machine.at("etc/systemd/system/cis490-pull.service.d/99-early.conf");
    fs::create_dir_all(early.parent().unwrap()).unwrap();
    fs::write(&early, "[Service]\nType=oneshot\n").unwrap();
    let out = machine.good(&install);
    assert!(out.contains("nothing comes yet"), "{out}");
    assert!(out.contains("no [[reader]]"), "{out}");
    fs::remove_file(&early).unwrap();
    machine.good(&["systemctl", "daemon-reload"]);
    let (good, said) = machine.run(&["/usr/local/bin/cis490", "doctor", "--puller"]);
    assert!(!good && said.contains("[[reader]]"), "{said}");
    let reader = "[[reader]]\nid = \"nas\"\naddress = \"127.0.0.1\"\n";
    fs::write(&path, format!("{config}\n{reader}")).unwrap();
    machine.good(&["systemctl", "reload", "cis490-receiver"]);
    machine.wait_until("the puller may read", |machine| {
        let (good, _) = machine.run(&[
            "/usr/local/bin/cis490",
            "list",
            "--url",
            "http://127.0.0.1:8490",
        ]);
        good
    });
    let out = machine.good(&install);
    assert!(out.contains("lets this machine read"), "{out}");
    machine.wait_until("it has come", |machine| {
        machine.at("srv/pulled/pull.json").exists()
    });
    let there = machine.at("var/lib/cis490/episodes/lab-7/ep-1.tar.zst");
    let here = machine.at("srv/pulled/lab-7/ep-1.tar.zst");
    assert_eq!(fs::read(there).unwrap(), fs::read(here).unwrap());
    assert_eq!(machine.show("cis490-pull.timer", "ActiveState"), "active");
    machine.wait_until("it has ended well", |machine| {
        machine.show("cis490-pull", "ActiveState") == "inactive"
    });
    let said = machine.good(&["/usr/local/bin/cis490", "doctor", "--puller"]);
    assert!(
        said.contains("1 episode here") && !said.contains("fail"),
        "{said}"
    );
    let out = machine.good(&["/usr/local/bin/cis490", "uninstall", "puller"]);
    assert!(out.contains("the episodes: /srv/pulled"), "{out}");
    assert!(machine.at("srv/pulled/lab-7/ep-1.tar.zst").exists());
    assert!(machine.run(&["test", "-x", "/usr/local/bin/cis490"]).0);
}
