//! `cis490 ship`: a lab host's side. Packs finished episodes and sends them until the receiver has
//! answered for each: small ones several at once (`burst`), a larger one alone. While that one is sent, the
//! next is packed.
//!
//! `queue` defines what the folders mean, `outbox` and `ending_batch` change them. `client` asks the
//! receiver, by `ureq_transport` and `socket`; `verdict` decides what each answer means, `answers`
//! carries that out, and `departures`, `endings` and `changes` are how a step ends. `looks` finds the episodes,
//! `packing` and `prefetch` have the next one ready, and `cycle` is the loop around them. `burst` sends small
//! ones, each a `parcel`, by its `senders`; `wakeup` and
//! `stop` are how signals reach it. `backlog` (of `entry`), `holds`, `pace` and `backoff` are what this
//! process remembers; all of it can be forgotten without loss. `report` and `state` are
//! what the shipper says about itself, to `cis490 status` and at its end; `offered` is what a shell completes;
//! `state_sender` sends the receiver a report too, which `lab_state` makes, and `live` is what the loop lets
//! that thread know.

pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod queue;
pub(crate) mod state;

mod answers;
mod backlog;
mod boot;
mod burst;
mod changes;
mod checkout;
mod client;
mod cycle;
mod departures;
mod ending_batch;
mod endings;
mod entry;
mod holds;
mod interim;
mod lab_state;
mod live;
mod looks;
mod next_try;
mod notes;
pub(crate) mod offered;
mod outbox;
mod pace;
mod packing;
mod parcel;
mod prefetch;
pub(crate) mod probe;
mod progress;
mod rate;
mod receiver_url;
mod report;
mod resume;
mod retention;
mod returns;
mod root;
mod send_hours;
mod senders;
mod set_aside;
mod settings;
mod socket;
mod state_sender;
mod stop;
mod survey;
mod upload_body;
mod ureq_transport;
mod verdict;
mod wakeup;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use checkout::local_commit;
pub(crate) use client::{Answer, ReceiverClient};
pub(crate) use returns::{CommitPrefix, NoReturn, Refused, refused, requeue, resend};
pub(crate) use set_aside::set_aside;
pub(crate) use stop::Stop;
pub(crate) use survey::{HeldTotals, RefusedEpisode, Survey, Totals, survey, waiting_commits};

use crate::events;
use crate::failure::Failure;
use crate::terminal::say;
use config::Config;
use cycle::Shipper;
use queue::Root;
use wakeup::Wakeup;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Until SIGTERM.
    Forever,
    /// Until nothing is left that can move now.
    Once,
}

/// The file that a configuration was read from, and its content at the start.
pub(crate) struct ConfigFile {
    pub path: PathBuf,
    pub at_start: Config,
}

/// What `--once` leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub shipped: usize,
    /// In this run.
    pub refused: usize,
    pub held: usize,
    pub waiting: usize,
    /// The receiver did not answer, or the folders could not be read.
    pub failed: bool,
}

/// The exit status of `ship --once` while anything waits, or nobody could be asked.
const EXIT_WAITING: u8 = 1;
/// All that is left is held, or something was refused.
const EXIT_HELD: u8 = 3;

impl Outcome {
    /// 0: the queue is empty. 1: something waits. 3: held or refused; 1 wins over it.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.failed || self.waiting > 0 {
            EXIT_WAITING
        } else if self.held > 0 || self.refused > 0 {
            EXIT_HELD
        } else {
            0
        }
    }
}

/// Ships until told to stop, or with [`Mode::Once`] until nothing can move. `file` is the configuration's, and
/// what stands in it now, without the flags that `config` has.
pub(crate) fn run(config: Config, file: ConfigFile, mode: Mode) -> Result<ExitCode, Failure> {
    let root = Root::open(&config.root)?;
    let wakeup = Wakeup::default();
    let receiver = ReceiverClient::new(&config, wakeup.stop.clone())?;
    // Held to the end: one shipper a root.
    let _lock = root.lock()?;
    let cut_short = match mode {
        Mode::Forever => 0,
        Mode::Once => EXIT_WAITING,
    };
    wakeup.listen(cut_short.into())?;
    events::shipper_started(&config.host_id, &config.receiver_url, root.dir());
    let outcome = Shipper::new(config, file, root, receiver, wakeup, mode).run();
    if mode == Mode::Forever {
        events::shipper_stopped();
        return Ok(ExitCode::SUCCESS);
    }
    let Outcome {
        shipped,
        refused,
        held,
        waiting,
        ..
    } = outcome;
    say!("{shipped} shipped, {refused} refused, {held} held, {waiting} waiting");
    Ok(ExitCode::from(outcome.exit_code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_wins_over_held() {
        let left = |refused, held, waiting, failed| {
            Outcome {
                shipped: 9,
                refused,
                held,
                waiting,
                failed,
            }
            .exit_code()
        };
        assert_eq!(left(0, 0, 0, false), 0);
        assert_eq!(left(0, 1, 0, false), 3);
        assert_eq!(left(1, 0, 0, false), 3);
        assert_eq!(left(1, 1, 1, false), 1);
        assert_eq!(left(0, 0, 0, true), 1);
        assert_eq!(left(0, 1, 0, true), 1);
    }
}
