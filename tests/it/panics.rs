//! A panic in one request is that request's 500 and no more: it unwinds, on a coroutine's stack too,
//! and is caught, in a build for another machine as well.
//!
//! The program has a place to panic in a debug build, and in a release build with the feature
//! `faults`: CI makes one for aarch64 in just the way of the one that is shipped (same std, same
//! unwinder, same profile), and says so by `CIS490_BIN_HAS_FAULTS`.

use std::env::var_os;

use crate::world::{World, is_release_build};

#[test]
fn a_panic_in_one_request_leaves_the_process_serving() {
    if is_release_build() && var_os("CIS490_BIN_HAS_FAULTS").is_none() {
        return skip!("a panic in a request: a release build has no place to panic");
    }
    let mut world = World::prepared("");
    let path = format!("/v1/gate/{}", world.repo.head());
    world.env("CIS490_PANIC_AT", &path);
    world.start();
    for round in 0..20 {
        let answer = world.get(&path);
        assert_eq!(answer.status, 500, "{round}: {answer:?}\n{world}");
        assert!(answer.body.contains("urn:cis490:problem:"), "{answer:?}");
        assert_eq!(world.get("/v1/health").status, 200, "{world}");
    }
    let panics = world.log().matches("asked for by CIS490_PANIC_AT").count();
    assert_eq!(panics, 20, "{world}");
    assert_eq!(world.stop(), Some(0), "{world}");
}
