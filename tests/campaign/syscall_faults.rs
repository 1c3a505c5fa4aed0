//! Every system call that can fail, made to fail in every way: some hundreds of runs for each side.

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
    let report = sweep(|_| true);
    let missed = &report.missed;
    println!(
        "{what}: {} faults, {} met by no call: {missed:?}",
        report.faults,
        missed.len()
    );
    for (outcome, count) in &report.outcomes {
        println!("{what}: {count:4} times {outcome}");
    }
    report.assert_struck();
}
