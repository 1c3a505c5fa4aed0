//! How many are kept, for how long, and what they cost.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Episode, MIB, end, kind, least, metric, start_with, world};
use crate::condition::reload::{edit, reload};
use crate::here::can_mount;
use crate::lab::noise;
use crate::world::World;

/// As large as it may be, of zeros: all have the same digest.
fn breaks(world: &World, episode: &Episode, name: &str) -> Episode {
    let mut episode = episode.clone();
    episode.name = name.to_owned();
    end(episode.begin(world, 2 * MIB.max(super::least_kept() / 2)));
    episode
}

#[test]
fn sixty_four_are_kept_in_flat_memory_and_the_next_ends_the_oldest() {
    let world = world("");
    let template = Episode::of(&world, "", &vec![0; least()]);
    let first = breaks(&world, &template, "ep-0");
    let files = world.open_files();
    let before = world.memory_kib("VmRSS:");
    for n in 1..64 {
        breaks(&world, &template, &format!("ep-{n}"));
    }
    let grown = world.memory_kib("VmRSS:").saturating_sub(before);
    assert!(grown < 2048, "{grown} KiB for 63 kept uploads");
    // The last connections may still be closing.
    world.wait_until("kept uploads have no descriptors", |world| {
        world.open_files() <= files + 2
    });
    assert_eq!(metric(&world, "cis490_uploads_kept"), 64);
    assert!(first.offset(&world).is_some(), "{world}");
    let next = breaks(&world, &template, "ep-64");
    assert_eq!(first.offset(&world), None, "{world}");
    assert!(next.offset(&world).is_some(), "{world}");
    assert!(world.log().contains("reason=no-place"), "{world}");
    world.wait_until("64 files are left", |world| {
        world.names("incoming").len() == 64
    });
    assert!(
        world.get("/").body.contains("64 broken kept to be resumed"),
        "{world}"
    );
}

#[test]
fn figures_count_what_was_kept_resumed_and_given_up() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    assert_eq!(metric(&world, "cis490_uploads_kept"), 1);
    let bytes = metric(&world, "cis490_uploads_kept_bytes");
    assert_eq!(bytes, 3 * MIB as u64);
    assert_eq!(episode.go_on_to(&world, 3 * MIB, 5 * MIB), Some(5 * MIB));
    assert_eq!(episode.patch(&world, 5 * MIB).status, 201, "{world}");
    let other = Episode::new(&world, "ep-2");
    assert_eq!(other.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    assert_eq!(other.put(&world).status, 201, "{world}");
    assert_eq!(metric(&world, "cis490_uploads_kept"), 0);
    assert_eq!(metric(&world, "cis490_uploads_resumed_total"), 2);
    let saved = metric(&world, "cis490_upload_bytes_saved_total");
    assert_eq!(saved, 8 * MIB as u64);
    let given_up = "cis490_uploads_given_up_total{reason=\"another-put\"}";
    assert_eq!(metric(&world, given_up), 1);
}

/// Another upload of the name began before this one broke, and is stored after it.
#[test]
fn what_is_kept_of_a_name_that_is_stored_by_now_goes_with_the_answer() {
    let world = world("");
    for (name, body, status) in [
        ("ep-1", noise(2 * MIB), 409),
        ("ep-2", noise(least() + 12_345), 200),
    ] {
        let episode = Episode::new(&world, name);
        let other = Episode::of(&world, name, &body);
        let bytes = other.body.len() - 1;
        let mut begun = other.begin(&world, bytes);
        world.wait_until("its first bytes are on the disk", |world| {
            world.names("incoming").iter().any(|file| {
                let file = File::open(world.data_dir().join("incoming").join(file)).unwrap();
                let mut first = [0; 4096];
                file.read_at(&mut first, 0).unwrap();
                body.starts_with(&first)
            })
        });
        let broken = episode.break_at(&world, 3 * MIB);
        assert_eq!(broken, Some(3 * MIB), "{world}");
        begun.send(&other.body[bytes..]).unwrap();
        assert_eq!(begun.answer().unwrap().status, 201, "{world}");
        let answer = super::ask(&world, "PATCH", &episode.patch_head(3 * MIB));
        assert_eq!(answer.status, status, "{answer:?}\n{world}");
        world.wait_until("nothing is kept", |world| {
            world.names("incoming").is_empty()
        });
        assert_eq!(episode.offset(&world), None, "{world}");
    }
    assert!(world.log().contains("reason=another-put"), "{world}");
    assert_eq!(metric(&world, "cis490_uploads_kept"), 0);
}

#[test]
fn a_reload_with_fewer_uploads_keeps_fewer() {
    let world = world("max_uploads = 3\n");
    let episodes: Vec<Episode> = ["ep-1", "ep-2", "ep-3"]
        .map(|name| Episode::new(&world, name))
        .into();
    for episode in &episodes {
        assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    }
    edit(&world, "max_uploads = 3", "max_uploads = 1");
    reload(&world, "reloaded");
    world.wait_until("one is kept", |world| world.names("incoming").len() == 1);
    let offsets: Vec<_> = episodes.iter().map(|it| it.offset(&world)).collect();
    assert_eq!(offsets, [None, None, Some(3 * MIB)], "{world}");
    assert_eq!(world.log().matches("reason=no-place").count(), 2, "{world}");
    assert_eq!(episodes[0].break_at(&world, 3 * MIB), Some(3 * MIB));
    assert_eq!(episodes[2].offset(&world), None, "{world}");
}

#[test]
fn what_nobody_goes_on_with_is_removed_after_its_time() {
    if crate::world::is_release_build() {
        return;
    }
    let mut world = World::prepared("");
    start_with(&mut world, 1500);
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    world.wait_until("it is given up", |world| {
        world.log().contains("reason=too-old") && world.names("incoming").is_empty()
    });
    assert_eq!(episode.offset(&world), None, "{world}");
}

/// On a disk of its own: what is kept counts once, and goes when another upload needs its room.
#[test]
fn room_is_counted_once_and_given_to_those_who_need_it() {
    if !can_mount("room_is_counted_once_and_given_to_those_who_need_it") {
        return;
    }
    let mut world = World::prepared("");
    let disk = 3 * least() / MIB;
    let options = format!("size={disk}m");
    world.mount_at_start(options.leak());
    super::start(&mut world);
    let first = Episode::new(&world, "ep-1");
    let second = Episode::of(&world, "ep-2", &[&first.body[..], b"other"].concat());
    let nearly = least() - MIB;
    // Were the rest of each still reserved, or what is here counted twice, these would not fit.
    assert_eq!(first.break_at(&world, nearly), Some(nearly), "{world}");
    assert_eq!(second.break_at(&world, nearly), Some(nearly), "{world}");
    assert_eq!(first.patch(&world, nearly).status, 201, "{world}");
    // Needs the room of what is kept.
    let third = Episode::of(&world, "ep-3", &vec![3; 2 * least() - 3 * MIB]);
    let answer = third.put(&world);
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
    assert!(world.log().contains("reason=no-room"), "{world}");
    assert_eq!(second.offset(&world), None, "{world}");
}

/// Space that was taken meanwhile: the rest is refused, and the beginning stays.
#[test]
fn a_full_disk_refuses_the_rest_and_keeps_the_beginning() {
    if !can_mount("a_full_disk_refuses_the_rest_and_keeps_the_beginning") {
        return;
    }
    let mut world = World::prepared("");
    let disk = 2 * least() / MIB;
    let options = format!("size={disk}m");
    world.mount_at_start(options.leak());
    super::start(&mut world);
    let episode = Episode::new(&world, "ep-1");
    let early = super::least_kept();
    assert_eq!(episode.break_at(&world, early), Some(early), "{world}");
    let filler = world.data_dir().join("filler");
    std::fs::write(&filler, vec![1; 2 * least() - early - 2 * MIB]).unwrap();
    let answer = super::ask(&world, "PATCH", &episode.patch_head(early));
    assert_eq!(
        (answer.status, kind(&answer)),
        (507, "disk-full".to_owned())
    );
    assert_eq!(episode.offset(&world), Some(early), "{world}");
    std::fs::remove_file(&filler).unwrap();
    // Once it was not free at once: a program that another test starts may hold the file open until its exec.
    let mut status = 507;
    world.wait_until("the file's room is free", |world| {
        status = episode.patch(world, early).status;
        status != 507
    });
    assert_eq!(status, 201, "{world}");
    episode.check_stored(&world);
}

/// Somebody has removed or changed the file: the upload begins anew, and nothing wrong is stored.
#[test]
fn a_file_that_is_not_as_it_was_left_is_given_up() {
    let world = world("");
    for (n, harm) in ["removed", "short", "one bit"].into_iter().enumerate() {
        let episode = Episode::new(&world, &format!("ep-{n}"));
        assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
        let name = world.names("incoming").remove(0);
        let file = world.data_dir().join("incoming").join(name);
        match harm {
            "removed" => std::fs::remove_file(&file).unwrap(),
            "short" => std::fs::write(&file, b"short").unwrap(),
            _ => {
                let changed = File::options().write(true).open(&file).unwrap();
                let other = episode.body[MIB] ^ 1;
                changed.write_all_at(&[other], MIB as u64).unwrap();
            }
        }
        let mut client = world.client();
        let head = episode.patch_head(3 * MIB);
        client.send(head.as_bytes()).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 500, "{harm} {answer:?}\n{world}");
        assert_eq!(episode.offset(&world), None, "{world}");
        assert_eq!(episode.put(&world).status, 201, "{world}");
        episode.check_stored(&world);
    }
    assert!(world.log().contains("reason=failed"), "{world}");
}
