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
    let Told { faults, outcomes } = sweep(|_| true);
    println!("{what}: {faults} faults");
    for (outcome, count) in outcomes {
        println!("{what}: {count:4} times {outcome}");
    }
}
