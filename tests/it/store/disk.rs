//! A store whose disk takes no writes any more, goes away or has no room for names, for real: the
//! receiver says so within a second or two, says what to do, and goes on once it is over.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use super::{GATE_OFF, prepared, sample};
use crate::client::Answer;
use crate::here::can_mount;
use crate::order::Steps;
use crate::world::{World, cis490, has_steps, is_emulated};

/// A receiver with its store on an ext4 of its own, in a mount namespace of its own. Below the mount
/// point lies an empty folder. `None`, in words, where that cannot be had.
fn on_ext4(test: &str, config: &str) -> Option<World> {
    let mut world = World::prepared(config);
    let data = world.data_dir();
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let image = world.dir().join("image");
    let setup = format!(
        "truncate -s 16M {image:?}; mkfs.ext4 -q -F {image:?}; mount -o loop,errors=remount-ro {image:?} {data:?}"
    );
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-ec", &setup])
        .output();
    let tried = tried.map_or_else(|error| error.to_string(), |tried| words(&tried));
    if !tried.is_empty() || is_emulated() {
        skip!("{test}: no ext4 can be mounted here: {tried}");
        return None;
    }
    let config = world.config_path();
    let run = format!(
        "mount -o loop,errors=remount-ro {image:?} {data:?}; \"$0\" init --config {config:?} >/dev/null; exec \"$0\" \"$@\""
    );
    world.run_under(
        ["unshare", "-m", "sh", "-ec", &run]
            .map(str::to_owned)
            .into(),
    );
    world.start();
    Some(world)
}

/// What a shell script does where the receiver sees its disk.
fn inside(world: &World, script: &str) -> Output {
    Command::new("nsenter")
        .args(["-t", &world.pid().to_string(), "-m", "sh", "-ec", script])
        .output()
        .unwrap()
}

fn does(world: &World, script: &str) -> String {
    let done = inside(world, script);
    assert!(done.status.success(), "{script}: {}\n{world}", words(&done));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A command of the program where the receiver sees its disk: its status, and what it printed.
fn command(world: &World, args: &str) -> (Option<i32>, String) {
    let program = cis490();
    let program = program.get_program().to_string_lossy();
    // The port that was really taken is asked.
    let text = fs::read_to_string(world.config_path()).unwrap();
    let config = world.dir().join("asked.toml");
    let text = text.replace("127.0.0.1:0", &world.address().to_string());
    fs::write(&config, text).unwrap();
    let done = inside(world, &format!("{program} {args} --config {config:?}"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &words(&done);
    (done.status.code(), said)
}

fn words(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).trim().to_owned()
}

/// Waits until health says no, and that it names the cause in these words.
fn wait_until_unwell(world: &World, cause: &str) {
    world.wait_until(&format!("health says {cause}"), |world| {
        let health = world.get("/v1/health");
        health.status == 503 && health.json()["detail"].as_str().unwrap().contains(cause)
    });
    let health = world.get("/v1/health");
    assert_eq!(health.json()["type"], "urn:cis490:problem:store-unwritable");
    assert_refused(world, &world.put(&sample().episode("refused")), cause);
    // The log follows health, and both pages are kept for a second.
    world.wait_until(&format!("the log says {cause}"), |world| {
        let log = world.log();
        let mut lines = log.lines();
        lines
            .find(|line| line.contains("event=store_unwritable"))
            .is_some_and(|line| line.contains(cause))
    });
    wait_until_it_says(world, "/", "The store cannot be written");
    wait_until_it_says(world, "/metrics", "\ncis490_store_writable 0\n");
}

fn wait_until_it_says(world: &World, path: &str, words: &str) {
    world.wait_until(&format!("{path} says {words}"), |world| {
        world.get(path).body.contains(words)
    });
}

fn assert_refused(world: &World, answer: &Answer, cause: &str) {
    assert_eq!(answer.status, 503, "{world}");
    assert_eq!(answer.header("retry-after"), Some("60"), "{world}");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:cis490:problem:store-unwritable");
    assert!(
        problem["detail"].as_str().unwrap().contains(cause),
        "{problem}"
    );
}

fn wait_until_well(world: &World) {
    world.wait_until("health is well", |world| {
        world.get("/v1/health").status == 200
    });
    assert_eq!(world.put(&sample().episode("well")).status, 201, "{world}");
    world.wait_until("the log says that it is well", |world| {
        world.log().contains("event=store_writable ")
    });
    wait_until_it_says(world, "/metrics", "\ncis490_store_writable 1\n");
}

/// What a dying SD card does: ext4 meets an error of its own and takes no more writes. It once was
/// 200 on health, "takes uploads" in status, and a 500 for every upload; doctor and the next start
/// said "chown".
#[test]
fn a_disk_that_went_read_only_is_named_and_what_to_do() {
    let Some(world) = on_ext4("a_disk_that_went_read_only_is_named", GATE_OFF) else {
        return;
    };
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    let data = world.data_dir();
    does(
        &world,
        &format!(
            "echo x > /sys/fs/ext4/$(basename $(findmnt -no SOURCE {data:?}))/trigger_fs_error"
        ),
    );
    // The very first that meets it is told so, before the look of the second.
    assert_refused(&world, &world.put(&sample().episode("ep-2")), "read-only");
    wait_until_unwell(&world, "read-only");
    assert_eq!(world.put(&sample()).status, 200, "it is stored\n{world}");
    for (args, status) in [
        ("status", Some(0)),
        ("doctor", Some(3)),
        ("receive", Some(1)),
    ] {
        let (ended, said) = command(&world, args);
        assert_eq!(ended, status, "{args}: {said}\n{world}");
        assert!(
            said.contains("read-only") || said.contains("Read-only"),
            "{args}: {said}"
        );
        assert!(
            said.contains("dmesg") && said.contains("fsck"),
            "{args}: {said}"
        );
        assert!(!said.contains("chown"), "{args}: {said}");
    }
}

/// Mounted read-only by somebody, and back: no restart is needed.
#[test]
fn a_disk_that_was_remounted_is_used_again() {
    let Some(world) = on_ext4("a_disk_that_was_remounted_is_used_again", GATE_OFF) else {
        return;
    };
    let data = world.data_dir();
    // A mount that has files open for writing cannot be made read-only; one above it can.
    does(&world, &format!("mount -o bind,ro {data:?} {data:?}"));
    wait_until_unwell(&world, "read-only (mount option ro)");
    does(&world, &format!("umount {data:?}"));
    wait_until_well(&world);
}

/// The disk below the mount point gets nothing: no refusals, no window, no numbers of rows.
#[test]
fn a_disk_that_was_unmounted_leaves_the_one_below_alone() {
    let Some(mut world) = on_ext4("a_disk_that_was_unmounted", "") else {
        return;
    };
    assert_eq!(world.put(&world.good()).status, 201, "{world}");
    let data = world.data_dir();
    let device = does(&world, &format!("findmnt -no SOURCE {data:?}"));
    does(&world, &format!("umount -l {data:?}"));
    let put = world.good().episode("ep-2");
    assert_refused(&world, &world.put(&put), "unmounted");
    world.wait_until("health says so", |world| {
        world.get("/v1/health").status == 503
    });
    world.repo.commit();
    let head = world.repo.head().to_owned();
    world.wait_until("the gate has the new window", |world| {
        world.get("/v1/gate").json()["head_commit"] == head.as_str()
            && world.log().contains("event=gate_file_unwritable")
    });
    assert_eq!(world.put(&put.clone().commit(world.too_old())).status, 412);
    world.wait_until("the refusal could not be written", |world| {
        world.log().contains("event=refusals_unwritable")
    });
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "{world}");
    // Mounted again, all goes on.
    does(&world, &format!("mount {device} {data:?}"));
    world.wait_until("health is well", |world| {
        world.get("/v1/health").status == 200
    });
    assert_eq!(world.put(&put).status, 201, "{world}");
    // Away once more, for good: the end has nowhere to note the length of the index.
    does(&world, &format!("umount -l {data:?}"));
    assert_eq!(world.stop(), Some(0));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "{world}");
}

/// Another store is mounted on the same folder: its files are not ours to write.
#[test]
fn another_store_in_the_same_place_is_told_apart() {
    let world = World::with(GATE_OFF);
    let marker = world.data_dir().join("cis490-store");
    let text = fs::read(&marker).unwrap();
    fs::write(world.dir().join("another"), text).unwrap();
    fs::rename(world.dir().join("another"), &marker).unwrap();
    wait_until_unwell(&world, "another store");
}

/// What somebody does to the folder of the store, and undoes.
type Act = fn(&Path);

fn mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

/// Of a receiver that is not root, as the service is not.
#[test]
fn a_folder_that_is_gone_or_shut_is_named() {
    let cases: [(&str, Act, Act); 4] = [
        (
            "incoming/ is gone",
            |data| fs::rename(data.join("incoming"), data.join("away")).unwrap(),
            |data| fs::rename(data.join("away"), data.join("incoming")).unwrap(),
        ),
        (
            "episodes/ is gone",
            |data| fs::rename(data.join("episodes"), data.join("away")).unwrap(),
            |data| fs::rename(data.join("away"), data.join("episodes")).unwrap(),
        ),
        (
            "incoming is not writable for the user nobody",
            |data| mode(&data.join("incoming"), 0o000),
            |data| mode(&data.join("incoming"), 0o700),
        ),
        (
            "episodes is not writable for the user nobody",
            |data| mode(&data.join("episodes"), 0o000),
            |data| mode(&data.join("episodes"), 0o700),
        ),
    ];
    thread::scope(|scope| {
        for (cause, act, undo) in cases {
            scope.spawn(move || {
                let Some(world) = as_nobody("a_folder_that_is_gone_or_shut_is_named") else {
                    return;
                };
                assert_eq!(world.put(&sample()).status, 201, "{world}");
                act(&world.data_dir());
                wait_until_unwell(&world, cause);
                undo(&world.data_dir());
                wait_until_well(&world);
            });
        }
    });
}

/// A receiver that runs as nobody, on a store of nobody's.
fn as_nobody(test: &str) -> Option<World> {
    const NOBODY: u32 = 65534;
    let mut world = prepared();
    let entries = fs::read_dir(world.data_dir()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let all: Vec<_> = paths.chain([world.data_dir()]).collect();
    let given = all
        .iter()
        .all(|path| chown(path, Some(NOBODY), Some(NOBODY)).is_ok());
    let program = cis490();
    let under = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let can = given
        && Command::new(under[0])
            .args(&under[1..])
            .args([program.get_program(), "--version".as_ref()])
            .output()
            .is_ok_and(|done| done.status.success());
    if !can {
        skip!("{test}: the program cannot be run as nobody here");
        return None;
    }
    world.run_under(under.map(str::to_owned).into());
    world.start();
    Some(world)
}

/// There is room for bytes, and none for names.
#[test]
fn a_disk_without_inodes_is_named() {
    if !can_mount("a_disk_without_inodes_is_named") {
        return;
    }
    let mut world = prepared();
    world.mount_at_start("size=8m,nr_inodes=40");
    world.start();
    let fill = |n: usize| world.data_dir().join(format!("fill-{n}"));
    let made = (0..100)
        .take_while(|n| fs::write(fill(*n), "").is_ok())
        .count();
    wait_until_unwell(&world, "inodes left");
    for n in 0..made {
        fs::remove_file(fill(n)).unwrap();
    }
    wait_until_well(&world);
}

/// A fault that nothing above explains: health says no until an upload went through, and uploads are
/// tried meanwhile. A fault of one host's folder is that host's alone.
#[test]
fn after_a_failed_write_health_says_no_until_an_upload_went_through() {
    if !has_steps("after a failed write health says no until an upload went through") {
        return;
    }
    let mut world = prepared();
    let steps = Steps::of(&mut world);
    world.start();
    let at_start = steps.names().len();
    world.kill();
    world.env("CIS490_FAIL_AT", at_start + 2); // create, write
    world.start();
    let of_one_host = world.data_dir().join("episodes/lab-9");
    fs::create_dir(&of_one_host).unwrap();
    symlink("/nowhere/at/all", of_one_host.join("ep-1.tar.zst")).unwrap();
    assert_eq!(world.put(&sample()).status, 500, "{world}");
    for _ in 0..2 {
        let health = world.get("/v1/health");
        assert_eq!(health.status, 503, "{world}");
        let problem = health.json();
        assert_eq!(problem["type"], "urn:cis490:problem:store-unwritable");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("write the body: Input/output error"),
            "{detail}"
        );
    }
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    assert_eq!(world.get("/v1/health").status, 200, "{world}");
    let of_another = sample().path("/v1/episodes/lab-9/ep-1");
    assert_eq!(world.put(&of_another).status, 500, "{world}");
    assert_eq!(world.get("/v1/health").status, 200, "{world}");
}
