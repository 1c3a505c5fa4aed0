//! The gate under change, for two minutes of each kind of source.

use crate::change::{Sources, run};
use crate::dice;

pub fn all_sources() {
    for (n, sources) in [Sources::Forgejo, Sources::ForgejoAndGit, Sources::Git]
        .into_iter()
        .enumerate()
    {
        println!("{}", run(sources, dice::seed().wrapping_add(n as u64), 9));
    }
}
