//! A store that answers before it has the body, as Garage's 403 and a SlowDown come: its answer is heard,
//! and is acted on as any other.

use std::time::Duration;

use super::store::{Mishap, ScriptedStore};
use super::{key, wait_proven, world};
use crate::world::World;

/// Longer than any test: a store that neither reads on nor hangs up.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_refusal_in_the_middle_of_a_body_names_the_stores_code() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    refuses_early(&store, &world, 16 << 20);
}

#[cfg(feature = "tls")]
#[test]
fn a_refusal_in_the_middle_of_a_body_is_heard_by_https() {
    use crate::tls::authority::{Authority, Shows};
    use crate::tls::front;

    let store = ScriptedStore::start();
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), store.address);
    let mut world = world(&store, "");
    let ca = authority.write(world.dir());
    world.replace_in_config(
        &format!("endpoint = \"http://{}\"", store.address),
        &format!("endpoint = \"https://127.0.0.1:{port}\"\nca_file = {ca:?}"),
    );
    super::hurry(&mut world);
    world.start();
    refuses_early(&store, &world, 16 << 20);
}

/// `bytes` are more than the socket buffers of both sides hold.
fn refuses_early(store: &ScriptedStore, world: &World, bytes: usize) {
    let body = vec![7; bytes];
    for (n, (after_bytes, stays)) in [
        (0, None),
        (0, Some(LONG)),
        (1 << 20, None),
        (1 << 20, Some(LONG)),
    ]
    .into_iter()
    .enumerate()
    {
        let episode = format!("ep-{n}");
        let mishap = Mishap::RefusesInTheBody(403, "AccessDenied", after_bytes, stays);
        store.always("PUT", &episode, mishap);
        assert_eq!(
            world
                .put(&world.good().episode(&episode).body(&body))
                .status,
            201
        );
        // Three tries, as of any 403, and then it is loud.
        for event in ["archive_failing", "archive_stopped"] {
            world.wait_until(event, |world| {
                let log = world.log();
                let mut lines = log.lines().filter(|line| line.contains(event));
                lines.by_ref().count() == n + 1
            });
            let log = world.log();
            let line = log.lines().rfind(|line| line.contains(event)).unwrap();
            assert!(
                line.contains("kind=denied") && line.contains("403 AccessDenied"),
                "after {after_bytes} bytes, {stays:?}: {line}"
            );
        }
        assert!(
            world
                .get("/metrics")
                .body
                .contains("cis490_archive_requests_total{op=\"put\",outcome=\"away\"} 0\n")
        );
        store.calm();
        wait_proven(world, &episode);
        store.with(&key(&episode, &body), |object| {
            assert!(object.bytes == body)
        });
    }
}

/// A store that is busy says so early too, and for how long.
#[test]
fn a_slow_down_in_the_middle_of_a_body_is_no_broken_connection() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    let mishap = Mishap::RefusesInTheBody(503, "SlowDown", 1 << 20, None);
    store.once("PUT", "", mishap);
    let body = vec![7; 16 << 20];
    assert_eq!(world.put(&world.good().body(&body)).status, 201);
    world.wait_until("it is reported", |world| {
        world.log().contains("event=archive_failing kind=busy")
    });
    assert!(world.log().contains("503 SlowDown"), "{world}");
    world.wait_until("it is copied", |_| !store.keys().is_empty());
    store.with(&store.keys()[0], |object| assert!(object.bytes == body));
}
