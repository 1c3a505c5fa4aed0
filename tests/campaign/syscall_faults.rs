//! Every system call that can fail, failing in every way: some hundreds of runs each.

use crate::syscalls::{Told, can_trace, receiver, shipper};

pub fn of_the_receiver() {
    run("calls of the receiver", receiver::every_failing_call);
}

pub fn of_the_shipper() {
    run("calls of the shipper", shipper::every_failing_call);
}

fn run(what: &str, sweep: impl Fn(fn(usize) -> bool) -> Told) {
    if !can_trace(what) {
        return;
    }
    let told = sweep(|_| true);
    let missed = &told.missed;
    println!(
        "{what}: {} faults, {} met by no call: {missed:?}",
        told.faults,
        missed.len()
    );
    for (outcome, count) in &told.outcomes {
        println!("{what}: {count:4} times {outcome}");
    }
    told.assert_struck();
}
