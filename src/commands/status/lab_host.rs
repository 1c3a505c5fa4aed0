//! `cis490 status` on a lab host: its queue, with the held and refused episodes and what to do about them.

mod judgement;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::judgement::Judged;
use super::{Look, ago, json, line};
use crate::commands::cli::chosen::{quoted, requeue_command};
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::shipper::config::Config;
use crate::shipper::queue::Root;
use crate::shipper::state::Uploading;
use crate::shipper::{self, HeldTotals, RefusedEpisode, Survey, Totals};
use crate::terminal::{Paint, one_line};
use crate::wire::Known;
use crate::{clock, events, human, owner};

/// At most this many refused episodes are listed; --json has them all.
const REFUSED_SHOWN_MAX: usize = 20;

pub(super) fn look(path: &Path, root: Option<PathBuf>, as_json: bool) -> Result<Look, Failure> {
    let config = Config::load(path, root)?;
    let root = Root::open(&config.root)?;
    let survey =
        shipper::survey(&root, config.host_id.as_str(), &config.receiver_url).map_err(|error| {
            Failure::new(
                format!("cannot look through {}: {error}", root.dir().display()),
                owner::hint(
                    &error,
                    "look at the disk (dmesg) and at who owns it (ls -l)",
                ),
            )
        })?;
    let judged = Judged::new(&survey, clock::unix_seconds(SystemTime::now()));
    let text = if as_json {
        json(&judged)?
    } else {
        page(&survey, Paint::for_stdout())
    };
    Ok(Look {
        text,
        how_bad: judged.how_bad(),
    })
}

fn page(survey: &Survey, paint: Paint) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{}\n", headline(survey, paint));
    held(&mut page, &survey.held, paint);
    refused(&mut page, &survey.refused, paint);
    overlooked(&mut page, survey, paint);
    soon_out(&mut page, survey, paint);
    waiting_for_a_person(&mut page, survey, paint);
    under_way(&mut page, survey);
    trouble(&mut page, survey);
    counts(&mut page, survey);
    page
}

/// For how long something has stood since a time of `state.json`.
fn age(since: &str) -> String {
    let now_s = clock::unix_seconds(SystemTime::now());
    match clock::parse_rfc3339(since) {
        Some(since_s) => human::span(Duration::from_secs(now_s.saturating_sub(since_s))),
        None => "an unknown time".to_owned(),
    }
}

/// The first digits of a commit: more than `set-aside --commit` needs.
fn short(commit: &CommitHash) -> String {
    let mut digits = commit.to_string();
    digits.truncate(12);
    digits
}

/// The one line that answers "is everything all right?".
fn headline(survey: &Survey, paint: Paint) -> String {
    let held: usize = survey.held.iter().map(|held| held.totals.episodes).sum();
    let mut parts = Vec::new();
    for (count, words) in [
        (survey.waiting.episodes, "waiting"),
        (held, "held"),
        (survey.refused.len(), "refused"),
        (survey.overlooked, "not sent"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let queue = if parts.is_empty() {
        "nothing is waiting".to_owned()
    } else {
        parts.join(", ")
    };
    let shipper = match survey.running {
        Some(true) => paint.good("the shipper is running"),
        Some(false) => {
            paint.bad("the shipper is not running: systemctl start cis490-shipper, or cis490 ship")
        }
        None => "this user cannot see whether the shipper runs".to_owned(),
    };
    format!("{}: {queue}; {shipper}", survey.host)
}

/// What goes on only once somebody makes room or restarts the shipper.
fn waiting_for_a_person(page: &mut String, survey: &Survey, paint: Paint) {
    if let Some(since) = &survey.packing_stopped_since {
        let name = paint.bad("DISK FULL");
        let age = age(since);
        let _ = writeln!(
            page,
            "{name} for {age}: nothing is packed until there is room"
        );
    }
    if !survey.config_waiting.is_empty() {
        let name = paint.warning("CONFIG");
        let keys = survey.config_waiting.join(", ");
        let _ = writeln!(
            page,
            "{name}: {} changed, and needs a restart of the shipper",
            one_line(&keys)
        );
    }
}

fn held(page: &mut String, held: &[HeldTotals], paint: Paint) {
    // Many commits may be held for one reason: the lines to paste are shown once.
    let mut pasted: Option<&str> = None;
    for HeldTotals { hold, totals } in held {
        let full = hold.commit.to_string();
        let commit = short(&hold.commit);
        // The receiver's words name the commit in full.
        let detail = hold.detail.replace(&full, &commit);
        let named = if detail.contains(&commit) {
            String::new()
        } else {
            format!("commit {commit}: ")
        };
        let word = if hold.reason() == Known::Unknown {
            paint.warning("WAITS FOR THE GATE")
        } else {
            paint.bad("HELD")
        };
        let _ = write!(
            page,
            "{word} for {}: {} kept, not sent\n  {named}{}\n",
            age(&hold.since),
            amount(totals),
            one_line(&detail),
        );
        let remediation = hold.remediation.as_deref();
        if remediation.is_some() && remediation == pasted {
            page.push_str("  paste the lines above\n");
        } else if let Some(remediation) = remediation {
            pasted = Some(remediation);
            let _ = writeln!(page, "  to get the next episodes accepted, paste:\n");
            for line in events::remediation_lines(remediation) {
                let _ = writeln!(page, "      {line}");
            }
        }
        page.push_str(&what_becomes_of_held(hold.reason(), &commit));
    }
}

/// When held episodes are sent, and how to give them up.
fn what_becomes_of_held(reason: Known, commit: &str) -> String {
    match reason {
        Known::Unknown => {
            "\n  Do nothing here: this host asks the receiver again automatically. On the receiver, cis490\n  doctor says what is wrong.\n\n".to_owned()
        }
        Known::NeverPushed => format!(
            "\n  Push the commit, and they are sent automatically. To give them up and keep them in refused/:\n\n      cis490 set-aside --commit {commit}\n\n"
        ),
        Known::Elsewhere => format!(
            "\n  They are sent automatically if their commit is ever merged. To give them up and keep them in\n  refused/:\n\n      cis490 set-aside --commit {commit}\n\n"
        ),
        Known::Older => format!(
            "\n  Episodes already held stay held: they were recorded with the old code. They are sent\n  automatically if the gate ever accepts their commit. To give them up and keep them in refused/:\n\n      cis490 set-aside --commit {commit}\n\n"
        ),
    }
}

fn refused(page: &mut String, refused: &[RefusedEpisode], paint: Paint) {
    if refused.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "{}: {}, kept in refused/",
        paint.bad("REFUSED"),
        human::counted(refused.len(), "episode")
    );
    for episode in refused.iter().take(REFUSED_SHOWN_MAX) {
        let why = episode
            .why
            .as_ref()
            .map_or("no reason is recorded", |why| &why.why);
        let _ = writeln!(
            page,
            "  {}  {}  {}",
            one_line(&episode.name),
            human::bytes(episode.bytes),
            one_line(why)
        );
    }
    if refused.len() > REFUSED_SHOWN_MAX {
        let more = refused.len() - REFUSED_SHOWN_MAX;
        let _ = writeln!(page, "  and {more} more: cis490 status --json");
    }
    let _ = writeln!(
        page,
        "  when the cause is fixed: cis490 requeue NAME..., or --reason R, --commit X or --all\n"
    );
}

/// The episodes in episodes/ that are not sent under their names, each with the command that sends it.
fn overlooked(page: &mut String, survey: &Survey, paint: Paint) {
    if survey.overlooked == 0 {
        return;
    }
    let _ = writeln!(
        page,
        "{}: {} with a name that is not allowed, or not readable",
        paint.bad("NOT SENT"),
        human::counted(survey.overlooked, "finished episode")
    );
    let named = survey.overlooked_named.iter().take(REFUSED_SHOWN_MAX);
    let shown = named.len();
    for episode in named {
        let _ = match requeue_command(episode) {
            Some(command) => writeln!(page, "  {command}"),
            None => {
                let name = quoted(&episode.name);
                let error = one_line(episode.error.as_deref().unwrap_or("it cannot be read"));
                writeln!(
                    page,
                    "  {name}: {error}: let the user that runs cis490 ship read it"
                )
            }
        };
    }
    if survey.overlooked > shown {
        let more = survey.overlooked - shown;
        let _ = writeln!(page, "  and {more} more: cis490 status --json");
    }
    let _ = writeln!(page);
}

/// The early warning, while the next episodes are still accepted.
fn soon_out(page: &mut String, survey: &Survey, paint: Paint) {
    let Some(gate) = &survey.gate else {
        return;
    };
    if !gate.is_soon_out() {
        return;
    }
    let _ = writeln!(
        page,
        "{}: {} until the episodes of {} are held\n  update this lab host now\n",
        paint.warning("EXPIRING"),
        human::counted(gate.remaining(), "more commit"),
        short(&gate.commit),
    );
}

/// The upload that runs now, and when a failed one is tried again.
fn under_way(page: &mut String, survey: &Survey) {
    if let Some(uploading) = &survey.uploading {
        *page += &line("sending", &how_far(uploading));
    }
    if let Some(next) = &survey.next_try {
        let at = clock::parse_rfc3339(&next.at).unwrap_or(0);
        let wait_s = at.saturating_sub(clock::unix_seconds(SystemTime::now()));
        let when = match wait_s {
            0 => "now".to_owned(),
            _ => format!("in {}", human::span(Duration::from_secs(wait_s))),
        };
        let why = one_line(&next.why);
        let sooner = if next.is_fixed {
            ""
        } else {
            "; systemctl reload cis490-shipper tries at once"
        };
        *page += &line("next try", &format!("{when} ({why}){sooner}"));
    }
}

/// `ep-42 43 % of 80.0 MB, 3.0 MB/s, 15 s left`.
fn how_far(uploading: &Uploading) -> String {
    let Uploading {
        episode,
        bytes_sent,
        bytes,
        resumed_at,
        bytes_per_second,
        ..
    } = uploading;
    let percent_of = |part: &u64| (part.min(bytes) * 100).checked_div(*bytes).unwrap_or(100);
    let percent = percent_of(bytes_sent);
    let resumed = resumed_at.as_ref().map_or(String::new(), |offset| {
        format!(" (resumed at {} %)", percent_of(offset))
    });
    let of = human::bytes(*bytes);
    let left = bytes
        .saturating_sub(*bytes_sent)
        .checked_div(*bytes_per_second);
    let pace = match left {
        Some(left_s) => format!(
            "{}/s, {} left",
            human::bytes(*bytes_per_second),
            human::span(Duration::from_secs(left_s))
        ),
        None if bytes_sent >= bytes => "waiting for the answer".to_owned(),
        None => "no byte got through lately".to_owned(),
    };
    format!("{episode} {percent} % of {of}{resumed}, {pace}")
}

fn trouble(page: &mut String, survey: &Survey) {
    if let Some(error) = &survey.last_error {
        let of = error
            .episode
            .as_ref()
            .map_or(String::new(), |id| format!(" {id}:"));
        let over = if error.over { " (resolved)" } else { "" };
        let _ = writeln!(
            page,
            "last error    {}{over}:{of} {}",
            ago(&error.at),
            one_line(&error.why)
        );
    }
    let _ = match &survey.last_success {
        Some(success) => writeln!(
            page,
            "last success  {}: {} ({})",
            ago(&success.at),
            success.episode,
            human::bytes(success.bytes)
        ),
        None => writeln!(page, "last success  none yet"),
    };
    if let Some(gate) = &survey.gate {
        let position = gate.position;
        let window = gate.window;
        let left = human::counted(gate.remaining(), "more commit");
        let _ = writeln!(
            page,
            "gate          {}: commit {} is {position} of {window}, {left} until it is refused",
            ago(&gate.at),
            short(&gate.commit)
        );
    }
}

fn counts(page: &mut String, survey: &Survey) {
    let _ = writeln!(page);
    for (name, totals) in [
        ("waiting", &survey.waiting),
        ("packed", &survey.packed),
        ("shipped", &survey.shipped),
    ] {
        let oldest = totals
            .oldest
            .as_ref()
            .map_or(String::new(), |at| format!(", oldest {}", ago(at)));
        let _ = writeln!(page, "{name:12}  {}{oldest}", amount(totals));
    }
    let _ = writeln!(page, "recording     {}", survey.unfinished);
    let _ = writeln!(page, "from {} to {}", survey.root, survey.receiver);
}

fn amount(totals: &Totals) -> String {
    let episodes = human::counted(totals.episodes, "episode");
    format!("{episodes}, {}", human::bytes(totals.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::EpisodeId;

    #[test]
    fn how_far_an_upload_is() {
        for (bytes_sent, bytes_per_second, words) in [
            (
                34_400_000,
                3_040_000,
                "ep-1 43 % of 80.0 MB, 3.0 MB/s, 15 s left",
            ),
            (0, 0, "ep-1 0 % of 80.0 MB, no byte got through lately"),
            (
                80_000_000,
                0,
                "ep-1 100 % of 80.0 MB, waiting for the answer",
            ),
        ] {
            let uploading = Uploading {
                episode: EpisodeId::parse("ep-1").unwrap(),
                since: String::new(),
                bytes_sent,
                bytes: 80_000_000,
                resumed_at: None,
                bytes_per_second,
            };
            assert_eq!(how_far(&uploading), words);
            let resumed = Uploading {
                resumed_at: Some(20_000_000),
                ..uploading
            };
            let words = words.replace(" of 80.0 MB", " of 80.0 MB (resumed at 25 %)");
            assert_eq!(how_far(&resumed), words);
        }
    }
}
