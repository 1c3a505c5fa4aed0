//! `cis490 scrub`: reads every stored file again, and prints what does not match the index.

mod archive;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use argh::{ArgsInfo, FromArgs};

use super::cli::folder;
use super::cli::progress::Progress;
use crate::events::{self, logger};
use crate::failure::Failure;
use crate::human::counted;
use crate::receiver::archive::Ledger;
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::store::scrub::{Finding, Kind, News, Pass, Wish, scrub};
use crate::terminal::{one_line, print, say};
use crate::wire::Receipt;
use crate::{clock, human, owner, sys};

const EXIT_FOUND: u8 = 2;

/// read every stored episode again and compare it with the index. Finds rotten, missing and unindexed
/// files and changes nothing; runs beside the receiver with low priority; resumes after an
/// interruption
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "scrub",
    example = "cis490 scrub",
    example = "cis490 scrub --since 7d --rate 20M",
    example = "cis490 scrub --archive",
    error_code(1, "could not read the store"),
    error_code(2, "something is rotten, unreadable, missing or not indexed")
)]
pub(super) struct Scrub {
    /// only episodes that arrived since: 2026-01-31, 2026-01-31T12:00:00Z, or how long ago: 12h, 7d
    #[argh(option, from_str_fn(since))]
    since: Option<SystemTime>,
    /// read at most this many bytes a second: 500k, 20M, 1G (default: no limit, at idle priority)
    #[argh(option, from_str_fn(rate))]
    rate: Option<u64>,
    /// start from the beginning, even if the last scrub was interrupted
    #[argh(switch)]
    restart: bool,
    /// compare the archive's bucket with what is known of it, in place of the local files
    #[argh(switch)]
    archive: bool,
    /// with --archive: read every object back
    #[argh(switch)]
    deep: bool,
    /// the receiver's configuration (default /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
    /// the store, instead of the data_dir of the configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// print JSON lines: each finding (kind, path, why), and at the end the pass (episodes, bytes, found, clean)
    #[argh(switch)]
    json: bool,
}

impl Scrub {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        logger::start(logger::Format::Text);
        sys::run_when_idle();
        if self.archive {
            return self.audit();
        }
        if self.deep {
            return Err(Failure::usage(
                "--deep is for --archive",
                "cis490 scrub reads every local file anyway; cis490 scrub --archive --deep reads the bucket",
            ));
        }
        let data_dir = match self.data_dir {
            Some(dir) => folder::absolute(dir),
            None => Config::load(&self.config)?.data_dir,
        };
        folder::enter(&data_dir, &[&self.config])?;
        let wish = Wish {
            since: self.since,
            bytes_per_second: self.rate,
            restart: self.restart,
        };
        let ledger = Ledger::look(&data_dir).map_err(|error| cannot_read_ledger(&error))?;
        let is_archived = |row: &Receipt| match &ledger {
            Some(ledger) => ledger.is_proven(row),
            None => Ok(false),
        };
        let mut progress = Progress::new();
        let as_json = self.json;
        let pass = scrub(
            &data_dir,
            &self.config,
            &wish,
            &is_archived,
            &mut |news| match news {
                News::Found(finding) if as_json => {
                    progress.wipe();
                    say!("{}", finding_as_json(finding));
                }
                News::Begun { episodes: _, bytes } if as_json => progress.begin(bytes),
                News::GoesOn { .. } if as_json => {}
                news => show(news, &mut progress),
            },
        );
        progress.wipe();
        let pass = pass?;
        let printed = if as_json {
            print(&pass_as_json(&pass))
        } else {
            print(&summary(&pass))
        };
        if !pass.is_clean() {
            return Ok(ExitCode::from(EXIT_FOUND));
        }
        printed.map(|()| ExitCode::SUCCESS)
    }
}

fn cannot_read_ledger(error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot read archive.jsonl in the store: {error}"),
        owner::hint(
            error,
            "look at the disk (dmesg) and at who owns the file (ls -l)",
        ),
    )
}

fn finding_as_json(finding: &Finding) -> serde_json::Value {
    serde_json::json!({
        "kind": word(finding.kind),
        "path": finding.path,
        "why": finding.why,
    })
}

fn pass_as_json(pass: &Pass) -> String {
    let found: serde_json::Map<String, serde_json::Value> = pass
        .found
        .iter()
        .map(|(kind, count)| (word(*kind).to_owned(), (*count).into()))
        .collect();
    let json = serde_json::json!({
        "episodes": pass.episodes,
        "bytes": pass.bytes,
        "found": found,
        "clean": pass.is_clean(),
    });
    format!("{json}\n")
}

/// Prints results to stdout, or to the journal, and on a terminal the progress.
fn show(news: News, progress: &mut Progress) {
    match news {
        News::Read { bytes } => progress.add(bytes),
        News::Begun { episodes, bytes } => {
            progress.begin(bytes);
            let bytes = human::bytes(bytes);
            say!("{} to read, {bytes}", counted(episodes, "episode"));
        }
        News::GoesOn { pass, after } => say!(
            "resumes after {after}, where the pass of {} was interrupted",
            pass.begun_at
        ),
        News::Found(finding) => {
            progress.wipe();
            show_finding(finding);
        }
        News::CannotNote { path, why } => {
            progress.wipe();
            events::scrub_cannot_note(path, &why);
        }
    }
}

fn show_finding(finding: &Finding) {
    let kind = word(finding.kind);
    if logger::is_journal() {
        events::scrub_found(kind, &finding.path, &finding.why);
    } else {
        let path = one_line(&finding.path);
        say!("{kind}: {path}: {}", one_line(&finding.why));
    }
}

fn summary(pass: &Pass) -> String {
    let found: Vec<String> = pass
        .found
        .iter()
        .map(|(kind, count)| format!("{count} {}", word(*kind)))
        .collect();
    let found = if found.is_empty() {
        "everything matches the index".to_owned()
    } else {
        found.join(", ")
    };
    let archived = match pass.archived {
        0 => String::new(),
        count => format!(", {count} more in the archive alone"),
    };
    let mut text = format!(
        "{} read, {}{archived}: {found}\n",
        counted(pass.episodes, "episode"),
        human::bytes(pass.bytes)
    );
    for kind in pass.found.keys() {
        text += &format!("  {}: {}\n", word(*kind), remedy(*kind));
    }
    text
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Rotten => "rotten",
        Kind::Unreadable => "unreadable",
        Kind::Missing => "missing",
        Kind::Unindexed => "unindexed",
        Kind::BadRow => "bad row",
        Kind::Odd => "odd",
    }
}

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Rotten => {
            "systemctl stop cis490-receiver && cis490 backfill --set-aside-rotten && systemctl start cis490-receiver moves them to quarantine/. Only then send them again (on the lab host: cis490 resend NAME) or restore them from a backup: until then the receiver answers that it has them. Look at the disk: dmesg, smartctl"
        }
        Kind::Unreadable => {
            "look at the disk (dmesg, smartctl) and at the owner of the files; restore them from a backup"
        }
        Kind::Missing => {
            "nothing if somebody archived them by hand; otherwise send them again (on the lab host: cis490 resend NAME), or restore them from a backup"
        }
        Kind::Unindexed => {
            "systemctl stop cis490-receiver && cis490 backfill && systemctl start cis490-receiver"
        }
        Kind::BadRow => {
            "cis490 backfill writes the rows of episodes that have none; the bad lines stay and do no harm"
        }
        Kind::Odd => "move them away; the program leaves them alone",
    }
}

/// The value of `--since`: a day, an instant, or how long ago.
fn since(text: &str) -> Result<SystemTime, String> {
    let allowed = "2026-01-31, 2026-01-31T12:00:00Z, or how long ago: 30min, 12h, 7d";
    let ago = text.find(|c: char| !c.is_ascii_digit()).and_then(|end| {
        let unit_s = match &text[end..] {
            "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        text[..end].parse::<u64>().ok()?.checked_mul(unit_s)
    });
    match ago {
        Some(ago_s) => SystemTime::now().checked_sub(Duration::from_secs(ago_s)),
        None => clock::parse_rfc3339(text)
            .or_else(|| clock::parse_rfc3339(&format!("{text}T00:00:00Z")))
            .map(|unix_s| UNIX_EPOCH + Duration::from_secs(unix_s)),
    }
    .ok_or_else(|| format!("accepts {allowed}"))
}

/// The value of `--rate`: bytes a second, at least one.
fn rate(text: &str) -> Result<u64, String> {
    let rate = human::parse_bytes(text).filter(|&rate| rate > 0);
    rate.ok_or_else(|| "accepts bytes a second, such as 500k, 20M or 1G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_as_people_type_them() {
        assert_eq!(rate("20M"), Ok(20_000_000));
        assert_eq!(rate("500k"), Ok(500_000));
        assert_eq!(rate("77"), Ok(77));
        for bad in ["", "M", "0", "-1", "1.5M", "5  M", "99999999999G", "1é"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        let day = UNIX_EPOCH + Duration::from_secs(1_709_251_200);
        assert_eq!(since("2024-03-01"), Ok(day));
        assert_eq!(since("2024-03-01T00:00:00Z"), Ok(day));
        let week = SystemTime::now()
            .duration_since(since("7d").unwrap())
            .unwrap();
        assert!(week.as_secs().abs_diff(7 * 86_400) <= 1, "{week:?}");
        for bad in [
            "",
            "d",
            "7",
            "7w",
            "yesterday",
            "2024-13-01",
            "2024-03-01T",
            "999999999999999999d",
        ] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
