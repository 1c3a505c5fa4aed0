//! Filesystems that lack what ext4 has: real ones, mounted for the test, which needs root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::Put;
use crate::power::{Disk, Loss, kind};
use crate::world::{TempDir, World, cis490};

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn sample(bytes: usize) -> Put {
    let body: Vec<u8> = (0..bytes).map(|i| (i >> 8) as u8 ^ i as u8).collect();
    Put::sample(COMMIT).body(&body)
}

/// A mount that ends with its owner.
struct Mount(TempDir);

impl Mount {
    /// Runs a shell script in a new folder, which mounts something on its `m`. Errors say why not.
    fn new(script: &str) -> Result<Mount, String> {
        let mount = Mount(TempDir::new());
        fs::create_dir(mount.path()).unwrap();
        let output = Command::new("sh")
            .args(["-ec", script])
            .current_dir(mount.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        output.status.success().then_some(mount).ok_or(words)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("m")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn mounted(test: &str, script: &str) -> Option<Mount> {
    Mount::new(script)
        .inspect_err(|why| skip!("{test}: {why}"))
        .ok()
}

fn stores_small_and_large(world: &World) {
    for put in [sample(5000), sample((9 << 20) + 5).episode("ep-2")] {
        assert_eq!(world.put(&put).status, 201, "{world}");
        let slot = put.path.rsplit('/').next().unwrap();
        assert!(
            world.stored("lab-1", slot) == Some(put.body.clone()),
            "{world}"
        );
        assert_eq!(world.put(&put).status, 200, "{world}");
    }
}

/// exFAT, as it comes on a stick: it is refused at start, with what to do.
#[test]
fn a_filesystem_without_hard_links_is_refused_in_words() {
    let script = "truncate -s 64M image; mkfs.exfat image >/dev/null; \
        device=$(losetup --find --show image); mount.exfat-fuse $device m >/dev/null; losetup -d $device";
    let Some(mount) = mounted("a filesystem without hard links", script) else {
        return;
    };
    // To root it is a folder of everybody's, which is refused first: with the same remedy.
    let store = mount.path().join("store");
    let made = cis490()
        .args(["init", "--config", "x", "--data-dir"])
        .arg(&store)
        .output()
        .unwrap();
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(
            said.contains("everybody on this machine may write"),
            "{said}"
        );
        assert!(
            said.contains("exFAT") && said.contains("ext4, xfs, btrfs"),
            "{said}"
        );
        return;
    }
    let mut world = World::prepared_on(Some(&store), GATE_OFF);
    assert!(!world.try_start(), "{world}");
    let log = world.log();
    assert!(
        log.contains("without hard links") && log.contains("ext4, xfs, btrfs"),
        "{log}"
    );
    assert_eq!(world.names("incoming"), [""; 0], "{world}");
}

/// It is said once, and all goes on; a lost index is rebuilt from the bytes.
#[test]
fn a_filesystem_without_attributes_is_named_and_used() {
    let Some(mount) = mounted(
        "a filesystem without attributes",
        "mkdir below; bindfs --xattr-none below m",
    ) else {
        return;
    };
    let mut world = World::prepared_on(Some(&mount.path().join("store")), GATE_OFF);
    world.start();
    assert_eq!(
        world.log().matches("event=no_attributes").count(),
        1,
        "{world}"
    );
    stores_small_and_large(&world);
    world.kill();
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
    let told = world.run(&["backfill", "--config", &world.config_path()]);
    assert!(told.contains("ep-1") && told.contains("ep-2"), "{told}");
    world.start();
    assert_eq!(world.put(&sample(5000)).status, 200, "{world}");
}

/// ext3 has no extents and so no `fallocate`: what is promised and not written is counted instead.
#[test]
fn a_filesystem_without_fallocate_keeps_its_floor() {
    let disk = match Disk::new(kind("ext3", Loss::Shutdown)) {
        Ok(disk) => disk,
        Err(why) => return skip!("a filesystem without fallocate: {why}"),
    };
    let mut world = World::prepared_on(Some(&disk.root().join("store")), GATE_OFF);
    world.start();
    stores_small_and_large(&world);
    let free = free_bytes(&disk.root());
    // Two at once, of which each alone would fit: one is promised the room, the other is refused.
    let too_much = free / 10 * 6;
    let head = |name: &str| {
        let put = sample(0).episode(name).length(&too_much.to_string());
        put.extra("Expect: 100-continue\r\n").head()
    };
    let (mut first, mut second) = (world.client(), world.client());
    first.send(&head("ep-3")).unwrap();
    assert_eq!(first.answer().unwrap().status, 100, "{world}");
    second.send(&head("ep-4")).unwrap();
    assert_eq!(second.answer().unwrap().status, 507, "{world}");
    drop(first);
    world.wait_until("the promise is given back", |world| {
        let mut third = world.client();
        third.send(&head("ep-5")).unwrap();
        third.answer().unwrap().status == 100
    });
}

fn free_bytes(path: &Path) -> u64 {
    let told = Command::new("df")
        .args(["-B1", "--output=avail"])
        .arg(path)
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().nth(1).unwrap().trim().parse().unwrap()
}
