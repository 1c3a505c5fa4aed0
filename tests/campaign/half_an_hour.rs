//! Mixed load for half an hour, or for the time that `CIS490_SOAK_SECONDS` says.

use std::time::Duration;

use crate::soak::{Plan, run};

pub fn soak() {
    let seconds = std::env::var("CIS490_SOAK_SECONDS").map_or(1800, |text| text.parse().unwrap());
    let report = run(&Plan {
        time: Duration::from_secs(seconds),
        shippers: 6,
        direct: 4,
        restarts: 4,
        rests: 20,
    });
    println!("{report}");
    // Idle body threads end after a while: they may be there at one measurement and not at the next.
    report.assert_flat(1024, 8);
}
