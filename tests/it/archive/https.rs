//! A store behind https, with a CA of the lab's own.

use std::fs;
use std::path::Path;

use super::store::ScriptedStore;
use super::{archived, hurry, put, wait_proven, world};
use crate::tls::authority::{Authority, Shows};
use crate::tls::front;

#[test]
fn episodes_go_by_https_to_a_store_whose_ca_is_known_and_to_no_other() {
    let store = ScriptedStore::start();
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), store.address);
    let mut world = world(&store, "");
    let folder = |name: &str| {
        let folder = world.dir().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let known = authority.write(&folder("known"));
    let strange = Authority::new("another CA").write(&folder("strange"));
    let plain = format!("endpoint = \"http://{}\"", store.address);
    let secure = |ca: &Path| format!("endpoint = \"https://127.0.0.1:{port}\"\nca_file = {ca:?}");
    // Of another CA the certificate proves nothing, and no byte leaves.
    world.replace_in_config(&plain, &secure(&strange));
    world.start();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    world.wait_until("the certificate is refused", |world| {
        world.log().contains("event=archive_failing kind=away")
    });
    assert!(store.requests().is_empty());
    world.stop();
    world.replace_in_config(&secure(&strange), &secure(&known));
    hurry(&mut world);
    world.start();
    wait_proven(&world, "ep-1");
    archived(&world, "ep-2");
}
