//! Black-box tests on the real program, and tests of rooms that need a disk.

mod episode;
mod examples;
mod tidy;
