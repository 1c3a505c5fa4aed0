//! How many requests to the store have ended in which way. Atomic additions, no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::{Fault, FaultKind};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Head,
    Put,
    Get,
    List,
    /// Of an object in parts: one part.
    Part,
    /// The beginning and the end of an object in parts.
    Multipart,
}

impl Op {
    const ALL: [Op; 6] = [
        Op::Head,
        Op::Put,
        Op::Get,
        Op::List,
        Op::Part,
        Op::Multipart,
    ];

    fn name(self) -> &'static str {
        match self {
            Op::Head => "head",
            Op::Put => "put",
            Op::Get => "get",
            Op::List => "list",
            Op::Part => "part",
            Op::Multipart => "multipart",
        }
    }
}

/// Done, and then the faults.
const OUTCOMES: usize = 1 + FaultKind::ALL.len();

#[derive(Default)]
pub(crate) struct Requests {
    /// In the order of [`Op::ALL`] and of the outcomes, which is that of the variants.
    counts: [[AtomicU64; OUTCOMES]; Op::ALL.len()],
}

impl Requests {
    pub(super) fn count<T>(&self, op: Op, result: &Result<T, Fault>) {
        let outcome = match result {
            Ok(_) => 0,
            Err(fault) => 1 + fault.kind as usize,
        };
        self.counts[op as usize][outcome].fetch_add(1, Ordering::Relaxed);
    }

    /// Each op with each outcome by their names, and how many there were.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let faults = FaultKind::ALL.into_iter().map(FaultKind::name);
        let outcomes: Vec<_> = std::iter::once("ok").chain(faults).collect();
        Op::ALL.into_iter().flat_map(move |op| {
            let counts = self.counts[op as usize].iter();
            let counts: Vec<_> = counts.map(|count| count.load(Ordering::Relaxed)).collect();
            let named = outcomes.clone().into_iter().zip(counts);
            named.map(move |(outcome, count)| (op.name(), outcome, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_count() {
        let requests = Requests::default();
        requests.count(Op::Put, &Ok(()));
        for (place, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(place, kind as usize);
            let result: Result<(), Fault> = Err(Fault::new(kind, ""));
            requests.count(Op::Get, &result);
        }
        let counted: Vec<_> = requests.all().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted.len(), 1 + FaultKind::ALL.len());
        assert!(counted.contains(&("put", "ok", 1)));
        assert!(counted.contains(&("get", "other-bytes", 1)));
    }
}
