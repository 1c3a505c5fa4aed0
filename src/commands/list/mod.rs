//! `cis490 list`: the stored episodes, oldest first, from the index on the Pi or from a receiver.

mod digest;
mod filter;
mod output;
mod remote;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use self::digest::FrozenSet;
use self::filter::{Filter, Since};
use self::output::Output;
use super::cli::folder;
use crate::config::values::count_option;
use crate::durable;
use crate::failure::Failure;
use crate::human::counted;
use crate::names::HostId;
use crate::owner;
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::store::{index_path, rows};
use crate::terminal::{self, warn_user};
use crate::wire::Receipt;

/// list the stored episodes, oldest first. On the Pi the index is read; with --url a receiver is asked,
/// which lets you read if its receiver.toml has a [[reader]] for you
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "list",
    example = "cis490 list --host lab-7 --since 2d",
    example = "cis490 list --url http://10.8.0.1:8490 --json",
    example = "cis490 list --until 81234 --digest"
)]
pub(super) struct List {
    /// the receiver's configuration (default: /etc/cis490/receiver.toml)
    #[argh(option)]
    config: Option<PathBuf>,
    /// the store, instead of the data_dir of the configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// ask the receiver at this http:// or https:// address
    #[argh(option)]
    url: Option<String>,
    /// the file with the token that cis490 token --reader printed
    #[argh(option)]
    token_file: Option<PathBuf>,
    /// the CA of an https:// address: a PEM file (default: those that the system trusts)
    #[argh(option)]
    ca_file: Option<PathBuf>,
    /// only those of this host
    #[argh(option)]
    host: Option<HostId>,
    /// only those received since then: 30m, 12h, 2d, 1w, or a time as 2026-01-31T12:00:00Z
    #[argh(option)]
    since: Option<Since>,
    /// only those made by commits that begin with these hex digits
    #[argh(option)]
    commit: Option<String>,
    /// only those made by code with uncommitted changes
    #[argh(switch)]
    dirty: bool,
    /// only this many, the newest of those that are listed
    #[argh(option, from_str_fn(count_option))]
    limit: Option<usize>,
    /// only those up to this number (seq)
    #[argh(option)]
    until: Option<u64>,
    /// print the number of episodes, their bytes, and one SHA-256 over their digests, to name a frozen
    /// set: needs --until
    #[argh(switch)]
    digest: bool,
    /// add each episode's own meta.json, read out of its tarball (on the Pi only)
    #[argh(switch)]
    meta: bool,
    /// print each row as it stands in the index, a line of JSON each
    #[argh(switch)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        self.check()?;
        let filter = Filter {
            host: self.host.clone(),
            since_s: self.since.map(Since::unix_seconds),
            commit: self.commit.clone(),
            dirty: self.dirty,
            until: self.until,
            // The digest counts them.
            keeps_unnumbered: self.digest,
        };
        match &self.url {
            Some(url) => self.list_of(&filter, &Source::Receiver(url)),
            None => self.list_of(&filter, &Source::Store(&self.enter()?)),
        }
    }

    /// Options that need or exclude each other.
    fn check(&self) -> Result<(), Failure> {
        let is_remote = self.url.is_some();
        let names_store = self.config.is_some() || self.data_dir.is_some();
        for (is_wrong, what, remedy) in [
            (
                is_remote && names_store,
                "--url asks a receiver, and --config and --data-dir name a store of this machine",
                "give one of them",
            ),
            (
                is_remote && self.meta,
                "--meta reads the tarballs, which are on the Pi",
                "run it there, or fetch them with cis490 pull",
            ),
            (
                !is_remote && (self.token_file.is_some() || self.ca_file.is_some()),
                "--token-file and --ca-file are for --url",
                "add --url URL, or leave them out",
            ),
            (
                self.digest && self.until.is_none(),
                "--digest names a set that does not change, and the list grows",
                "add --until SEQ: the seq of the newest episode of the set",
            ),
            (
                self.digest && (self.limit.is_some() || self.meta),
                "--digest is about all episodes of a set",
                "leave out --limit and --meta",
            ),
        ] {
            if is_wrong {
                return Err(Failure::usage(what, remedy));
            }
        }
        filter::check_commit(self.commit.as_deref())
    }

    /// The store, which root enters as its owner.
    fn enter(&self) -> Result<PathBuf, Failure> {
        let config = self.config.clone().unwrap_or(DEFAULT_PATH.into());
        let data_dir = match &self.data_dir {
            Some(dir) => folder::absolute(dir.clone()),
            None => Config::load(&config)?.data_dir,
        };
        folder::enter(&data_dir, &[])?;
        Ok(data_dir)
    }

    fn list_of(&self, filter: &Filter, source: &Source) -> Result<ExitCode, Failure> {
        if self.digest {
            let mut set = FrozenSet::default();
            self.each_row(filter, source, |_, row| {
                set.take(row);
                true
            })?;
            terminal::print(&set.report(self.until.unwrap_or(u64::MAX), self.json))?;
            return Ok(ExitCode::SUCCESS);
        }
        let meta_of = match source {
            Source::Store(data_dir) if self.meta => Some(*data_dir),
            _ => None,
        };
        let mut output = Output::new(self.json, self.limit, meta_of);
        self.each_row(filter, source, |text, row| {
            output.take(text, row);
            // With a closed pipe nobody reads on.
            !terminal::is_closed()
        })?;
        output.end()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Shows each row that the filter lets through to `visit`, for as long as that says so: its text
    /// without the line break, and what it says.
    fn each_row(
        &self,
        filter: &Filter,
        source: &Source,
        mut visit: impl FnMut(&[u8], &Receipt) -> bool,
    ) -> Result<(), Failure> {
        let mut unreadable = 0_u64;
        let mut take = |line: &rows::Line| {
            if line.is_blank() {
                return true;
            }
            let Ok(row) = rows::parse(line) else {
                unreadable += 1;
                return true;
            };
            !filter.wants(&row) || visit(line.text.unwrap_or_default(), &row)
        };
        match source {
            Source::Store(data_dir) => each_line_of_store(data_dir, &mut take)?,
            Source::Receiver(url) => {
                let receiver = remote::Receiver::new(
                    url,
                    self.token_file.as_deref(),
                    self.ca_file.as_deref(),
                )?;
                // The newest rows alone are asked for where none is filtered out: the receiver goes back only
                // so far for the rows of a host.
                let tail = if filter.wants_all() { self.limit } else { None };
                receiver.each_line(filter.host.as_ref(), tail, &mut take)?;
            }
        }
        if unreadable > 0 {
            let lines = counted(unreadable, "line");
            warn_user!(
                "cis490: {lines} of the index cannot be read as receipts: cis490 scrub names them"
            );
        }
        Ok(())
    }
}

/// Where the rows come from.
enum Source<'a> {
    /// The index of the store in this folder.
    Store(&'a Path),
    /// The receiver at this URL.
    Receiver(&'a str),
}

/// Shows the whole lines of a store's index. A store that nothing came to has none.
fn each_line_of_store(
    data_dir: &Path,
    visit: &mut dyn FnMut(&rows::Line) -> bool,
) -> Result<(), Failure> {
    let path = index_path(data_dir);
    let read = durable::open_regular(&path).and_then(|file| {
        let length = file.metadata()?.len();
        // The last line may be one that is just being written.
        rows::each_line_of(&file, 0..length, |line| !line.whole || visit(line))
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound && data_dir.exists() => Ok(()),
        other => other.map_err(|error| {
            Failure::new(
                format!("cannot read {}: {error}", path.display()),
                owner::hint(
                    &error,
                    "look at the disk and at who owns the file (dmesg, ls -l)",
                ),
            )
        }),
    }
}
