//! Peers that mean harm, and peers that are merely odd: what each raw request gets, what a
//! connection full of them gets, what many of them can take from others, and what a tarball of
//! theirs can do to the program that reads it.

mod conformance;
mod crowd;
mod drains;
mod ends;
mod heads;
mod pipelines;
mod segments;
mod tarballs;
