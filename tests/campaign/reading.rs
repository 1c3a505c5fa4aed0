//! What the campaign runs for longer of the tests of reading.

#[path = "../it/reading/bytes/mod.rs"]
pub mod bytes;
#[path = "../it/reading/keys.rs"]
mod keys;
#[path = "../it/reading/pull/mod.rs"]
pub mod pull;

pub use keys::{NO_GATE, READER};
