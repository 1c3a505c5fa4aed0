//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped (`{text:?}`), so that no peer can forge a line.
//! `ERROR`: act now. `WARN`: act soon. `INFO`: no action.
//!
//! The meaning of each line and what to do about it stand in `events/manual.rs` and nowhere else;
//! `cis490 help events` prints them. A new event takes two steps, and the compiler asks for both:
//!
//! 1. an entry in the manual: `warn my_event "the meaning" "what to do";`
//! 2. a function in the file of its subject: `line!(my_event, "host={host} why={why:?}")`, or
//!    `line!(my_event)` if there is nothing to add. Name and level come from the manual.
//!
//! A line that a peer can cause is a `paced_line!(peer, my_event, ...)`: see `events/pace.rs`.
//!
//! How a line reaches its reader is the business of `events/logger.rs`.

/// Writes the line of an event of the manual, followed by the values of this instance.
macro_rules! line {
    ($event:ident) => {
        log::log!(
            $crate::events::manual::event::$event.level,
            "event={}",
            $crate::events::manual::event::$event.name
        )
    };
    ($event:ident, $($rest:tt)+) => {
        log::log!(
            $crate::events::manual::event::$event.level,
            "event={} {}",
            $crate::events::manual::event::$event.name,
            format_args!($($rest)+)
        )
    };
}

/// The same for what a peer can cause as often as it likes: written no faster than `pace` allows.
macro_rules! paced_line {
    ($peer:expr, $event:ident, $($rest:tt)+) => {
        if $crate::events::pace::admits($crate::events::manual::event::$event.name, $peer) {
            let text = format!($($rest)+);
            $crate::events::pace::charge(text.len());
            line!($event, "{text}");
        }
    };
}

// Below the macros, which they use.
mod archive;
mod gate;
pub(crate) mod logger;
pub(crate) mod manual;
pub(crate) mod pace;
mod receiver;
mod shipper;
mod store;
mod uploads;

pub(crate) use self::archive::*;
pub(crate) use self::gate::*;
pub(crate) use self::receiver::*;
pub(crate) use self::shipper::*;
pub(crate) use self::store::*;
pub(crate) use self::uploads::*;

use std::path::Path;

/// The last words of a program that systemd runs. A person at a terminal gets them as two lines.
pub(crate) fn failed(error: &str, hint: &str) {
    line!(failed, "why={error:?} do={hint:?}");
}

/// Root started this on a folder of somebody else.
pub(crate) fn became_user(folder: &Path, uid: u32, gid: u32) {
    line!(became_user, "folder={folder:?} uid={uid} gid={gid}");
}

/// A secret that is not read again.
pub(crate) fn secret_of_root(file: &Path) {
    line!(secret_of_root, "file={file:?}");
}

/// A thread panicked, at this place of the source.
pub(crate) fn panicked(thread: &str, place: &str, why: &str) {
    line!(panic, "thread={thread:?} at={place:?} why={why:?}");
}
