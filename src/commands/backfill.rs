//! `cis490 backfill`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::progress::Progress;
use crate::events::logger;
use crate::failure::Failure;
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::store::backfill::{News, Task, backfill};
use crate::terminal::{say, warn_user};

/// add index rows for stored tarballs that lack one, read from the tarballs themselves.
/// The receiver must be stopped; files are not touched
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "backfill",
    example = "systemctl stop cis490-receiver && cis490 backfill --dry-run",
    error_code(1, "the store could not be read, or a file failed")
)]
pub struct Backfill {
    /// the receiver's configuration (default: /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
    /// the store, instead of the data_dir of the configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// only say what would be done
    #[argh(switch)]
    dry_run: bool,
    /// move what the last cis490 scrub found rotten, and still is, to quarantine/: so that it can
    /// be sent again
    #[argh(switch)]
    set_aside_rotten: bool,
}

impl Backfill {
    pub fn run(self) -> Result<ExitCode, Failure> {
        logger::start();
        let task = Task {
            dry_run: self.dry_run,
            set_aside_rotten: self.set_aside_rotten,
        };
        let data_dir = match self.data_dir {
            Some(dir) => dir,
            None => Config::load(&self.config)?.data_dir,
        };
        let mut teller = Teller {
            progress: Progress::new(),
        };
        let summary = backfill(&data_dir, &self.config, task, &mut |news| teller.hear(news));
        teller.progress.wipe();
        let summary = summary?;
        if self.dry_run {
            say!("nothing was changed: this was a dry run");
        } else {
            say!(
                "{} rows added, {} odd things left alone, {} files failed",
                summary.added,
                summary.odd,
                summary.failed
            );
        }
        if summary.set_aside > 0 {
            say!(
                "{} rotten files set aside in quarantine/: send them again from the lab host, or bring them back from a backup",
                summary.set_aside
            );
        }
        match summary.failed {
            0 => Ok(ExitCode::SUCCESS),
            failed => Err(Failure::new(
                format!("{failed} files failed"),
                "the lines above say why; the files were not touched",
            )),
        }
    }
}

/// Prints results to stdout, faults to stderr, and on a terminal how far it is.
struct Teller {
    progress: Progress,
}

impl Teller {
    fn hear(&mut self, news: News) {
        if let News::Read { bytes } = news {
            return self.progress.add(bytes);
        }
        self.progress.wipe();
        match news {
            News::Found {
                with_row,
                without,
                bytes,
            } => {
                self.progress.begin(bytes);
                say!("{with_row} episodes have a row, {without} have none ({bytes} bytes to read)");
            }
            News::Added(row) => say!("added {}/{} {}", row.host, row.episode, row.sha256),
            News::WouldAdd(slot) => say!("would add {slot}"),
            News::SetAside { slot, kept_as } => {
                say!("set aside {slot}, rotten: {}", kept_as.display());
            }
            News::WouldSetAside(slot) => say!("would set aside {slot}, which is rotten"),
            News::Odd { path, why } => complain("odd", path, &why),
            News::Failed { path, why } => complain("failed", path, &why),
            News::Read { .. } => {}
        }
    }
}

/// `{:?}` escapes what a strange name could do to a terminal.
fn complain(what: &str, path: &Path, why: &str) {
    warn_user!("{what}: {path:?}: {why}");
}
