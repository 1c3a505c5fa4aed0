//! Mixed load for half an hour; `CIS490_SOAK_SECONDS` makes it another time.

use std::time::Duration;

use crate::soak::{Plan, run};

pub fn soak() {
    let seconds = std::env::var("CIS490_SOAK_SECONDS").map_or(1800, |text| text.parse().unwrap());
    let told = run(&Plan {
        time: Duration::from_secs(seconds),
        shippers: 6,
        direct: 4,
        restarts: 4,
        rests: 20,
    });
    println!("{told}");
    // Body threads end when nothing has come for a while: some are there at one rest and not at
    // another.
    told.assert_flat(1024, 8);
}
