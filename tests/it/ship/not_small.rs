//! Episodes that may be small and turn out not to be: a burst ends before them, and leaves no trace of them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use super::burst::{Gate, RARE_SCANS, assert_shipped, record};
use super::crashes::is_release;
use super::stub::{Reply, Stub};
use super::{A, Lab, noise};
use crate::process;

/// Runs `ship --once`. Returns its log and the most tarballs that lay in outbox/ at once.
fn ship_and_count_tarballs(lab: &Lab) -> (String, usize) {
    let file = lab.dir().join("steps");
    let steps = [("CIS490_STEPS", file.to_str().unwrap())];
    let ended = lab.run(&["ship", "--once"], &steps);
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    let outbox = format!("{}/outbox/", lab.root().display());
    let mut there = BTreeSet::new();
    let mut most = 0;
    for line in fs::read_to_string(file).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["rename", _, to] if to.starts_with(&outbox) => there.insert(to.to_owned()),
            ["unlink", from] => there.remove(from),
            _ => continue,
        };
        most = most.max(there.len());
    }
    (ended.log, most)
}

#[test]
fn a_burst_puts_nothing_into_outbox() {
    if is_release() {
        return;
    }
    let gate = Arc::new(Gate::default());
    // Two senders are free while the other two wait for each other.
    let stub = Stub::new([
        Reply::Store,
        gate.store_when(|inside| inside.came >= 2),
        gate.store_when(|inside| inside.came >= 2),
        Reply::Store,
    ]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let mut ids = record(&lab, 3, A);
    for n in 0..8 {
        let id = format!("medium-{n}");
        lab.episode_with(&id, A, &noise((2 << 20) + n));
        ids.push(id);
    }
    let (log, most) = ship_and_count_tarballs(&lab);
    assert_shipped(&lab, &ids);
    // The one that is sent, and the next one, packed ahead.
    assert!((1..=2).contains(&most), "{most} {log}");
    assert_eq!(
        log.matches("event=packed").count(),
        ids.len(),
        "{log}\n{lab}"
    );
}

#[test]
fn one_that_was_packed_ahead_and_is_not_small_is_sent_as_it_is() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let mut ids = record(&lab, 1, A);
    for n in 0..5 {
        let id = format!("medium-{n}");
        lab.episode_with(&id, A, &noise((2 << 20) + n));
        ids.push(id);
    }
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_shipped(&lab, &ids);
    assert_eq!(ended.count("event=packed"), ids.len(), "{ended}");
    assert_eq!(ended.count("event=deferred"), 0, "{ended}");
}

/// Files that are added change nothing that a scan sees.
#[test]
fn one_that_grew_while_it_waited_is_not_packed_in_memory() {
    for is_noise in [true, false] {
        let grown = 48 << 20;
        let lab = Lab::with("http://127.0.0.1:9", "scan_seconds = 1");
        let ids = record(&lab, 6, A);
        let late = lab.path("episodes/ep-03/late.bin");
        let grow = move || {
            if is_noise {
                return fs::write(&late, noise(grown)).unwrap();
            }
            let file = fs::File::create(&late).unwrap();
            file.set_len(grown as u64).unwrap();
        };
        let stub = Stub::new([Reply::StoreAndAfter(Arc::new(grow)), Reply::Store]);
        lab.point_at(&stub.url);
        let shipper = lab.ship();
        shipper.wait_until("all are shipped", || lab.names("episodes").is_empty());
        shipper.wait_until("outbox is swept", || lab.names("outbox").is_empty());
        let most_kib = process::count(shipper.pid(), "VmHWM:");
        assert!(most_kib < 32 << 10, "{most_kib} {lab}");
        let log = shipper.log();
        let packed = log.lines().filter(|line| line.contains("event=packed"));
        assert_eq!(packed.count(), ids.len(), "{log}");
        assert_eq!(shipper.stop(), 0);
        assert_shipped(&lab, &ids);
    }
}
