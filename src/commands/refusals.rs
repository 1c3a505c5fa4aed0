//! `cis490 refusals`: which uploads this receiver has refused, why, and what to do about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::{folder, refusals_manual};
use crate::config::values::count_option;
use crate::failure::Failure;
use crate::human::counted;
use crate::names::HostId;
use crate::owner;
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::refusal_log;
use crate::receiver::refused_upload::RefusedUpload;
use crate::refusal_table::what_to_do;
use crate::terminal::{self, Paint, one_line};

/// show the uploads that this receiver has refused, and what to do. It keeps the newest few thousand;
/// repeated refusals from one peer may be counted only
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "refusals",
    example = "cis490 refusals --host lab-7 --last 5"
)]
pub(super) struct Refusals {
    /// the receiver's configuration (default: /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
    /// the store, instead of the data_dir of the configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// only those of this host
    #[argh(option)]
    host: Option<HostId>,
    /// only those with this reason, such as not-in-window
    #[argh(option)]
    reason: Option<String>,
    /// show this many of the newest (default: 20)
    #[argh(option, default = "20", from_str_fn(count_option))]
    last: usize,
    /// print each as a line of JSON: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

impl Refusals {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let data_dir = match &self.data_dir {
            Some(dir) => folder::absolute(dir.clone()),
            None => Config::load(&self.config)?.data_dir,
        };
        folder::enter(&data_dir, &[])?;
        let mut kept = refusal_log::read(&data_dir).map_err(|error| {
            Failure::new(
                format!(
                    "cannot read the refusals in {}: {error}",
                    data_dir.display()
                ),
                owner::hint(
                    &error,
                    "look at the file (ls -l); if it is not worth keeping, remove it",
                ),
            )
        })?;
        let all = kept.len();
        kept.retain(|refused| self.wants(refused));
        if kept.is_empty()
            && let Some(reason) = &self.reason
        {
            refusals_manual::check(reason)?;
        }
        let shown = &kept[kept.len().saturating_sub(self.last)..];
        let text = if self.json {
            shown.iter().map(json_line).collect()
        } else {
            report(&kept, shown, all)
        };
        terminal::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn wants(&self, refused: &RefusedUpload) -> bool {
        let of_host = self.host.is_none() || self.host == refused.host;
        let of_reason = self
            .reason
            .as_ref()
            .is_none_or(|reason| *reason == refused.reason);
        of_host && of_reason
    }
}

fn json_line(refused: &RefusedUpload) -> String {
    // These types have nothing that JSON cannot hold, so this does not fail.
    serde_json::to_string(refused).unwrap_or_default() + "\n"
}

/// The reasons of all `kept` refusals with what to do, then the `shown` ones, the newest last. There are `all`
/// without the command line's choice.
fn report(kept: &[RefusedUpload], shown: &[RefusedUpload], all: usize) -> String {
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
        return match all {
            0 => "no upload has been refused\n".to_owned(),
            _ => format!("no refusal matches ({all} without --host and --reason)\n"),
        };
    };
    let mut text = format!(
        "{} refused, {} to {}\n\n",
        kept.len(),
        one_line(&first.at),
        one_line(&last.at)
    );
    reasons(&mut text, kept);
    for refused in shown {
        one(&mut text, refused);
    }
    text
}

/// For each reason: how many refusals, of which hosts, and what to do. The most frequent comes first.
fn reasons(text: &mut String, kept: &[RefusedUpload]) {
    const HOSTS_SHOWN_MAX: usize = 6;
    let mut reasons: BTreeMap<(u16, &str), (usize, BTreeSet<String>)> = BTreeMap::new();
    for refused in kept {
        let (count, who) = reasons
            .entry((refused.status, &refused.reason))
            .or_default();
        *count += 1;
        who.insert(name(refused));
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for ((status, reason), (count, who)) in reasons {
        let more = match who.len().checked_sub(HOSTS_SHOWN_MAX) {
            None | Some(0) => String::new(),
            Some(more) => format!(" and {more} more"),
        };
        let who: Vec<String> = who.into_iter().take(HOSTS_SHOWN_MAX).collect();
        let _ = writeln!(
            text,
            "{count:5}  {status} {}: {}{more}",
            one_line(reason),
            who.join(", ")
        );
        if let Some(remedy) = what_to_do(reason) {
            let _ = writeln!(text, "       {remedy}");
        }
    }
}

/// The host that the upload was for, or the peer's address if the request named none.
fn name(refused: &RefusedUpload) -> String {
    match &refused.host {
        Some(host) => host.to_string(),
        None => refused.peer.to_string(),
    }
}

fn one(text: &mut String, refused: &RefusedUpload) {
    let what = match (&refused.episode, &refused.path) {
        (Some(episode), _) => format!("{}/{episode}", name(refused)),
        (None, path) => format!("{:?}", path.as_deref().unwrap_or("?")),
    };
    let commit = refused
        .commit
        .as_ref()
        .map_or("no commit".to_owned(), |commit| format!("commit {commit}"));
    let paint = Paint::for_stdout();
    let _ = writeln!(text, "\n{}  {}", one_line(&refused.at), paint.bold(&what));
    let _ = writeln!(
        text,
        "  {} {}, {commit}, from {}",
        refused.status,
        one_line(&refused.reason),
        refused.peer
    );
    let _ = writeln!(text, "  {}", one_line(&refused.why));
    if refused.left_out > 0 {
        let _ = writeln!(
            text,
            "  ({} before it, counted only: they came too fast)",
            counted(refused.left_out, "refusal")
        );
    }
}
