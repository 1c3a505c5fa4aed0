//! The bounds as a user has them: 64 MiB of body, 16 MiB of it here.

use super::{Episode, MIB};
use crate::world::World;

/// Zeros, which cost little to make and to send.
fn zeros(world: &World, bytes: usize) -> Episode {
    Episode::of(world, "ep-1", &vec![0; bytes])
}

#[test]
fn a_body_of_64_mib_goes_on_where_it_broke() {
    let world = World::new();
    let episode = zeros(&world, 64 * MIB);
    assert_eq!(episode.break_at(&world, 0), None, "{world}");
    assert_eq!(episode.break_at(&world, 15 * MIB), None, "{world}");
    let broken = [
        (16 * MIB, 16 * MIB),
        (17 * MIB, 17 * MIB),
        (17 * MIB + 600_000, 17 * MIB),
    ];
    for (bytes, offset) in broken {
        assert_eq!(episode.break_at(&world, bytes), Some(offset), "{world}");
    }
    let last = 64 * MIB - 1;
    assert_eq!(
        episode.go_on_to(&world, 17 * MIB, last),
        Some(63 * MIB),
        "{world}"
    );
    let answer = episode.patch(&world, 63 * MIB);
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
    assert_eq!(answer.json()["bytes"], 64 * MIB, "{answer:?}");
    episode.check_stored(&world);
}

#[test]
fn a_byte_less_than_64_mib_is_sent_anew() {
    let world = World::new();
    let episode = zeros(&world, 64 * MIB - 1);
    assert_eq!(episode.break_at(&world, 20 * MIB), None, "{world}");
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
}
