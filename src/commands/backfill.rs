//! `cis490 backfill`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use argh::{ArgsInfo, FromArgs};

use crate::events::logger;
use crate::failure::Failure;
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::store::backfill::{News, backfill};

/// How often a line on a terminal is drawn again.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// add index rows for stored tarballs that lack one, read from the tarballs themselves.
/// The receiver must be stopped; files are never touched. Exit status 1 if any file failed
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "backfill",
    example = "systemctl stop cis490-receiver && cis490 backfill --dry-run"
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
}

impl Backfill {
    pub fn run(self) -> Result<ExitCode, Failure> {
        logger::start();
        let data_dir = match self.data_dir {
            Some(dir) => dir,
            None => Config::load(&self.config)?.data_dir,
        };
        let mut teller = Teller::new();
        let summary = backfill(&data_dir, &self.config, self.dry_run, &mut |news| {
            teller.hear(news)
        });
        teller.wipe();
        let summary = summary?;
        if self.dry_run {
            println!("nothing was changed: this was a dry run");
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "{} rows added, {} odd things left alone, {} files failed",
            summary.added, summary.odd, summary.failed
        );
        match summary.failed {
            0 => Ok(ExitCode::SUCCESS),
            failed => Err(Failure::new(
                format!("{failed} files could not be given a row"),
                "the lines above say why; the files were not touched",
            )),
        }
    }
}

/// Prints results to stdout, faults to stderr, and on a terminal how far it is.
struct Teller {
    on_terminal: bool,
    drawn: Option<Instant>,
    read_bytes: u64,
    all_bytes: u64,
}

impl Teller {
    fn new() -> Teller {
        Teller {
            on_terminal: io::stderr().is_terminal(),
            drawn: None,
            read_bytes: 0,
            all_bytes: 0,
        }
    }

    fn hear(&mut self, news: News) {
        if let News::Read { bytes } = news {
            self.read_bytes += bytes;
            return self.draw();
        }
        self.wipe();
        match news {
            News::Found {
                with_row,
                without,
                bytes,
            } => {
                self.all_bytes = bytes;
                println!(
                    "{with_row} episodes have a row, {without} have none ({bytes} bytes to read)"
                );
            }
            News::Added(row) => println!("added {}/{} {}", row.host, row.episode, row.sha256),
            News::WouldAdd(slot) => println!("would add {slot}"),
            News::Odd { path, why } => complain("odd", path, &why),
            News::Failed { path, why } => complain("failed", path, &why),
            News::Read { .. } => {}
        }
    }

    fn draw(&mut self) {
        let is_due = self.drawn.is_none_or(|when| when.elapsed() >= DRAW_EVERY);
        if !self.on_terminal || !is_due {
            return;
        }
        self.drawn = Some(Instant::now());
        let mib = |bytes: u64| bytes >> 20;
        // What cannot be drawn is not missed.
        let _ = write!(
            io::stderr(),
            "\rread {} of {} MiB\x1b[K",
            mib(self.read_bytes),
            mib(self.all_bytes)
        );
    }

    /// Takes the line away, so that others can be printed.
    fn wipe(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `{:?}` escapes what a strange name could do to a terminal.
fn complain(what: &str, path: &Path, why: &str) {
    eprintln!("{what}: {path:?}: {why}");
}
