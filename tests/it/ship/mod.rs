//! The shipper, black-box: the built program, real folders, and a receiver that does what a test
//! tells it (`stub`), or the real one (`end_to_end`).

mod ahead;
mod answers;
mod batches;
mod burst;
mod changes;
mod commands;
pub mod crashes;
mod end_to_end;
mod heard;
mod life;
mod limits;
mod not_small;
mod queue;
mod resumes;
mod returns;
pub mod stub;
mod under_way;
mod walks;

pub use crate::lab::{Lab, noise, wait_until};

pub const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
