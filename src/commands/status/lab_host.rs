//! `cis490 status` on a lab host: its queue, with the held and refused episodes and what to do about them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Look, ago, json, line};
use crate::commands::cli::chosen::{quoted, requeue_command};
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::findings::{Finding, exit_status, of_report};
use crate::shipper::config::Config;
use crate::shipper::queue::Root;
use crate::shipper::state::{GateSeen, Uploading};
use crate::shipper::{self, HeldTotals, RefusedEpisode, Survey, Totals};
use crate::terminal::{Paint, one_line};
use crate::version::VERSION;
use crate::wire::{HeldCommit, Known, LabState, RefusedName, Waiting};
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
    let now_s = clock::unix_seconds(SystemTime::now());
    let findings = of_report(&survey.host, report(&survey), now_s);
    let how_bad = how_bad(&survey, &findings);
    let text = if as_json {
        json(&Judged {
            survey: &survey,
            findings,
        })?
    } else {
        page(&survey, Paint::for_stdout())
    };
    Ok(Look { text, how_bad })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    survey: &'a Survey,
    findings: Vec<Finding>,
}

/// The queue as the receiver is told of it, so that both judge the same.
fn report(survey: &Survey) -> LabState {
    let held = survey.held.iter().map(|held| HeldCommit {
        commit: held.hold.commit,
        episodes: held.totals.episodes as u64,
        since: held.hold.since.clone(),
    });
    let refused = survey.refused.iter().map(|refused| RefusedName {
        episode: refused.name.clone(),
        reason: refused.why.as_ref().and_then(|why| why.reason()),
        at: refused.why.as_ref().map(|why| why.at.clone()),
    });
    let mut refused: Vec<_> = refused.collect();
    refused.sort_by(|a, b| b.at.cmp(&a.at));
    LabState {
        version: VERSION.to_owned(),
        waiting: Waiting {
            episodes: survey.waiting.episodes as u64,
            bytes: survey.waiting.bytes,
            oldest_at: survey.waiting.oldest.clone(),
        },
        held: held.collect(),
        refused,
        packing_stopped_since: survey.packing_stopped_since.clone(),
        ..LabState::default()
    }
}

/// How bad the findings are, and what the receiver does not hear of: 2 if something is not sent until a
/// person acts, 1 if something was tried in vain or will not work for long.
fn how_bad(survey: &Survey, findings: &[Finding]) -> u8 {
    let is_stuck = survey.running == Some(false) || survey.overlooked > 0;
    let is_soon_out = survey.gate.as_ref().is_some_and(GateSeen::is_soon_out);
    let is_worth_a_look =
        survey.next_try.is_some() || is_soon_out || !survey.config_waiting.is_empty();
    let own = if is_stuck {
        2
    } else if is_worth_a_look {
        1
    } else {
        0
    };
    exit_status(findings).max(own)
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

    fn well() -> Survey {
        Survey {
            running: Some(true),
            host: "lab-1".to_owned(),
            receiver: String::new(),
            root: String::new(),
            waiting: Totals::default(),
            packed: Totals::default(),
            unfinished: 0,
            overlooked: 0,
            held: Vec::new(),
            refused: Vec::new(),
            shipped: Totals::default(),
            last_success: None,
            last_error: None,
            gate: None,
            updated_at: None,
            overlooked_named: Vec::new(),
            uploading: None,
            next_try: None,
            packing_stopped_since: None,
            config_waiting: Vec::new(),
        }
    }

    /// A moment of the tests.
    const NOW: &str = "2026-11-29T09:00:00Z";

    fn judged(survey: &Survey) -> (Vec<String>, u8) {
        let now_s = clock::parse_rfc3339(NOW).unwrap();
        let findings = of_report(&survey.host, report(survey), now_s);
        let status = how_bad(survey, &findings);
        let kinds = findings.into_iter().map(|finding| finding.kind);
        (kinds.collect(), status)
    }

    /// The receiver's severities: an error of the lab host there is one here, and so is a warning.
    #[test]
    fn the_exit_status_is_as_bad_as_what_is_shown() {
        assert_eq!(judged(&well()), (vec![], 0));
        let mut stopped = well();
        stopped.packing_stopped_since = Some(NOW.to_owned());
        assert_eq!(judged(&stopped), (vec!["lab-disk-full".to_owned()], 2));
        let mut grows = well();
        grows.waiting = Totals {
            episodes: 2,
            bytes: 2000,
            oldest: Some("2026-11-27T09:00:00Z".to_owned()),
        };
        assert_eq!(judged(&grows), (vec!["lab-queue-growing".to_owned()], 1));
        let mut refuses = well();
        for (name, at) in [("ep-1", "2026-11-28T09:00:00Z"), ("ep-2", NOW)] {
            let why =
                serde_json::json!({ "at": at, "by": "receiver", "reason": "taken", "why": "" });
            refuses.refused.push(RefusedEpisode {
                name: name.to_owned(),
                bytes: 1,
                why: serde_json::from_value(why).unwrap(),
            });
        }
        assert_eq!(judged(&refuses), (vec!["lab-refused".to_owned()], 2));
        assert_eq!(report(&refuses).refused[0].episode, "ep-2", "the newest");
        let mut waits = well();
        waits.config_waiting = vec!["root".to_owned()];
        assert_eq!(judged(&waits), (vec![], 1));
        for (position, status) in [(1, 0), (98, 1)] {
            let mut seen = well();
            seen.gate = Some(GateSeen {
                at: String::new(),
                commit: CommitHash::parse(&"a".repeat(40)).unwrap(),
                position,
                window: 100,
            });
            assert_eq!(judged(&seen), (vec![], status), "{position}");
        }
    }

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
