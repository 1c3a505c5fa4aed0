//! cis490: a store-and-forward shipper for lab hosts, a durable receiver for the Pi, and the
//! version gate between them. No public API is promised: this is the program's own inside.

mod child;
pub mod clock;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod durable;
pub mod episode;
pub mod events;
pub mod failure;
pub mod file_identity;
mod folder_lock;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod git;
pub mod histogram;
pub mod human;
pub mod mounts;
pub mod names;
pub mod owner;
pub mod receiver;
mod refusal;
#[cfg(test)]
mod seeded;
pub mod service;
pub mod shipper;
pub mod sync;
pub mod sys;
pub mod terminal;
pub mod tls;
pub mod version;
pub mod wire;
