//! `cis490 backfill`: gives stored files without a row their rows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::cli::folder;
use super::cli::progress::Progress;
use crate::events::logger::{self, Format};
use crate::failure::Failure;
use crate::human::{self, counted};
use crate::receiver::archive::restore;
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::refusal_log;
use crate::receiver::store::backfill::{News, Summary, Task, backfill};
use crate::receiver::store::{marker, restored_rows};
use crate::terminal::{say, warn_user};

/// add index rows for stored tarballs that have none. They are read from the tarballs themselves.
/// Stop the receiver first; stored files are not changed
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "backfill",
    example = "systemctl stop cis490-receiver && cis490 backfill --dry-run",
    example = "cis490 init --store-id 0123456789abcdef && cis490 backfill --from-archive",
    error_code(1, "the store or the archive could not be read, or a file failed")
)]
pub(super) struct Backfill {
    /// the receiver's configuration (default: /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
    /// the store, instead of the data_dir of the configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// only show what would be done
    #[argh(switch)]
    dry_run: bool,
    /// move files that the last cis490 scrub found rotten, and that still are, to quarantine/, so
    /// that their episodes can be sent again
    #[argh(switch)]
    set_aside_rotten: bool,
    /// take the rows of this store's id from the archive's bucket, for a new disk in the place of a lost
    /// one (cis490 init --store-id); no tarball is fetched
    #[argh(switch)]
    from_archive: bool,
    /// print JSON lines: each result (event, and what it is about), and at the end the counts
    #[argh(switch)]
    json: bool,
}

impl Backfill {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        logger::start(Format::Text);
        if self.from_archive {
            return self.restore();
        }
        let data_dir = match &self.data_dir {
            Some(dir) => folder::absolute(dir.clone()),
            None => Config::load(&self.config)?.data_dir,
        };
        folder::enter(&data_dir, &[&self.config])?;
        let summary = self.backfill(&data_dir)?;
        if self.json {
            say!("{}", counts_as_json(&summary, self.dry_run));
        } else if self.dry_run {
            say!("this was a dry run: nothing was changed");
        } else {
            print_added(&summary);
        }
        if !self.json {
            print_remarks(&summary);
        }
        match summary.failed {
            0 => Ok(ExitCode::SUCCESS),
            failed => Err(Failure::new(
                format!("{} failed", counted(failed, "file")),
                "the lines above say why; the files were not changed",
            )),
        }
    }

    fn backfill(&self, data_dir: &Path) -> Result<Summary, Failure> {
        let task = Task {
            dry_run: self.dry_run,
            set_aside_rotten: self.set_aside_rotten,
        };
        let seq_seen = refusal_log::seq_seen(data_dir);
        let mut progress = Progress::new();
        let as_json = self.json;
        let done = backfill(data_dir, seq_seen, &self.config, task, &mut |news| {
            if as_json {
                show_json(&news, &mut progress);
            } else {
                show(news, &mut progress);
            }
        });
        progress.wipe();
        done
    }
}

impl Backfill {
    /// `--from-archive`.
    fn restore(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config)?;
        let Some(archive) = &config.archive else {
            return Err(Failure::new(
                format!("{} has no [archive]", self.config.display()),
                "etc/receiver.toml.example shows its keys",
            ));
        };
        let data_dir = self.data_dir.clone();
        let data_dir = data_dir.map_or(config.data_dir.clone(), folder::absolute);
        let mut secrets = config.secret_files();
        secrets.push(self.config.clone());
        let secrets: Vec<_> = secrets.iter().map(PathBuf::as_path).collect();
        folder::enter(&data_dir, &secrets)?;
        let Some(id) = marker::id(&data_dir) else {
            return Err(Failure::new(
                format!("{} is no store with an id", data_dir.display()),
                "cis490 init --store-id ID makes one; x-amz-meta-cis490-store of an object shows the id",
            ));
        };
        let found = restore::rows_of(archive, id, &mut || ())?;
        for (key, why) in &found.odd {
            warn_user!("left out: {key:?}: {why}");
        }
        let added = restored_rows::append(&data_dir, &self.config, &found.rows, self.dry_run)?;
        say!(
            "{} of the store {id} in the bucket, {} of others; {} {}",
            counted(found.rows.len(), "episode"),
            found.of_others,
            counted(added, "row"),
            if self.dry_run {
                "would be added"
            } else {
                "added"
            }
        );
        if !self.dry_run {
            restore::note_listed(&data_dir, &found.rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints each result to stdout as one JSON object, and on a terminal the progress.
fn show_json(news: &News, progress: &mut Progress) {
    let json = match news {
        News::Read { bytes } => return progress.add(*bytes),
        News::Found {
            with_row,
            without,
            bytes,
        } => {
            progress.begin(*bytes);
            json!({"event": "found", "with_row": with_row, "without_row": without, "bytes": bytes})
        }
        News::Added(row) => json!({"event": "added", "row": row}),
        News::CommitUnknown { slot, why } => {
            json!({"event": "commit-unknown", "episode": slot.to_string(), "why": why})
        }
        News::WouldAdd(slot) => json!({"event": "would-add", "episode": slot.to_string()}),
        News::SetAside { slot, kept_as } => {
            json!({"event": "set-aside", "episode": slot.to_string(), "kept_as": kept_as})
        }
        News::WouldSetAside(slot) => {
            json!({"event": "would-set-aside", "episode": slot.to_string()})
        }
        News::Odd { path, why } => {
            json!({"event": "unrecognised", "path": path.to_string_lossy(), "why": why})
        }
        News::Failed { path, why } => {
            json!({"event": "failed", "path": path.to_string_lossy(), "why": why})
        }
    };
    progress.wipe();
    say!("{json}");
}

fn counts_as_json(summary: &Summary, is_dry_run: bool) -> Value {
    json!({
        "event": "done",
        "dry_run": is_dry_run,
        "added": summary.added,
        "unrecognised": summary.odd,
        "failed": summary.failed,
        "commit_unknown": summary.commit_unknown,
        "set_aside": summary.set_aside,
    })
}

/// Prints results to stdout, faults to stderr, and on a terminal the progress.
fn show(news: News, progress: &mut Progress) {
    if !matches!(news, News::Read { .. }) {
        progress.wipe();
    }
    match news {
        News::Read { bytes } => progress.add(bytes),
        News::Found {
            with_row,
            without,
            bytes,
        } => {
            progress.begin(bytes);
            say!(
                "{} with a row, {without} without one ({} to read)",
                counted(with_row, "episode"),
                human::bytes(bytes)
            );
        }
        News::Added(row) => say!("added {}/{} {}", row.host, row.episode, row.sha256),
        News::CommitUnknown { slot, why } => say!("commit unknown: {slot}: {why}"),
        News::WouldAdd(slot) => say!("would add {slot}"),
        News::SetAside { slot, kept_as } => {
            say!("set aside {slot}, rotten: {}", kept_as.display());
        }
        News::WouldSetAside(slot) => say!("would set aside {slot}, which is rotten"),
        News::Odd { path, why } => complain("unrecognised", path, &why),
        News::Failed { path, why } => complain("failed", path, &why),
    }
}

fn print_added(summary: &Summary) {
    say!(
        "{} added, {} left alone, {} failed",
        counted(summary.added, "row"),
        counted(summary.odd, "unrecognised file"),
        counted(summary.failed, "file")
    );
}

fn print_remarks(summary: &Summary) {
    if summary.commit_unknown > 0 {
        say!(
            "{} without a commit: the lines above say why; the files are stored all the same",
            counted(summary.commit_unknown, "row")
        );
    }
    if summary.set_aside > 0 {
        say!(
            "{} set aside in quarantine/: send each again (on the lab host: cis490 resend NAME), or restore it from a backup",
            counted(summary.set_aside, "rotten file")
        );
    }
}

/// `{:?}` escapes the control characters of a name, which could act on a terminal.
fn complain(what: &str, path: &Path, why: &str) {
    warn_user!("{what}: {path:?}: {why}");
}
