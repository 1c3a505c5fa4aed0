//! The black-box tests, one binary: the real program, real sockets, real files, real git. Paths
//! and headers are spelled out here in literal bytes, so the wire cannot change by accident.
//!
//! `CIS490_BIN` names another binary to test (an aarch64 one, say) and `CIS490_RUNNER` a program
//! that runs it (`qemu-aarch64-static`).

#[macro_use]
mod skip;

mod archive;
mod breaking_line;
mod change;
mod client;
mod commands;
mod condition;
mod configuration;
mod demo;
mod dice;
mod episode;
mod examples;
mod filesystems;
mod five_minutes;
mod forgejo;
mod gate;
mod git;
mod group_commit;
mod guard;
mod here;
mod holds;
mod hostile;
mod install;
mod kills;
mod lab;
mod layers;
mod limits;
mod log;
mod machine;
mod network;
mod operator;
mod order;
mod output;
mod page;
mod panics;
mod pipes;
mod power;
mod probe;
mod process;
mod program;
#[cfg(feature = "tls")]
mod proxies;
mod reading;
mod repository;
mod resume;
mod root;
mod ship;
mod soak;
mod store;
mod streams;
mod syscalls;
mod terminal;
mod tidy;
#[cfg(feature = "tls")]
mod tls;
mod units;
mod uploads;
mod watchdog;
mod world;
