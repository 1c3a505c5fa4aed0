//! The gate while its repository changes, for two minutes with each kind of source.

use crate::change::{Sources, run};
use crate::dice;

pub fn all_sources() {
    let kinds = [Sources::Forgejo, Sources::ForgejoAndGit, Sources::Git];
    for (n, sources) in kinds.into_iter().enumerate() {
        println!("{}", run(sources, dice::seed().wrapping_add(n as u64), 9));
    }
}
