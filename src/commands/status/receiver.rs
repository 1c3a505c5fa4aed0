//! `cis490 status` on the receiver: problems first, then the gate, the disk and each host.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{alarm, json, line};
use crate::clock;
use crate::failure::Failure;
use crate::human::{self, counted};
use crate::receiver::config::Config;
use crate::receiver::store::sequence::INDEX_REMEDY;
use crate::receiver::survey::{Gate, Host, Survey, phrases, survey};
use crate::receiver::version_gate::failing_words;
use crate::refusal_table::Kind;
use crate::terminal::{Paint, one_line};
use crate::wire::Source;

pub(super) fn look(path: &Path, as_json: bool) -> Result<String, Failure> {
    let survey = survey(&Config::load(path)?, path)?;
    if as_json {
        json(&survey)
    } else {
        Ok(page(&survey, Paint::for_stdout()))
    }
}

fn page(survey: &Survey, paint: Paint) -> String {
    let mut page = format!("{}\n\n", headline(survey, paint));
    page += &troubles(survey, paint);
    page += &gate(survey, paint);
    let free = human::bytes(survey.disk.free);
    let floor = human::bytes(survey.disk.floor);
    page += &line("disk", &format!("{free} free (limit {floor})"));
    let episodes = counted(survey.episodes, "episode");
    let bytes = human::bytes(survey.bytes);
    page += &line(
        "stored",
        &format!("{episodes}, {bytes}, in {}", one_line(&survey.data_dir)),
    );
    page += &where_from(survey);
    if let Some(id) = survey.store_id {
        page += &line("store id", &id.to_string());
    }
    page += &scrub(survey);
    page += "\n";
    page += &hosts(survey, paint);
    page += &queues(survey, paint);
    page
}

/// Which figures these are, if it is not the receiver that reported them although it may run.
fn where_from(survey: &Survey) -> String {
    match &survey.from_disk_because {
        None => String::new(),
        Some(why) => line(
            "figures",
            &format!("read from the disk: the receiver {}", one_line(why)),
        ),
    }
}

/// The one line that answers "is everything all right?".
fn headline(survey: &Survey, paint: Paint) -> String {
    let state = match (survey.running, &survey.health) {
        (Some(true), Some(health)) if health.takes_uploads => paint.good(&format!(
            "the receiver is running on {} and accepts uploads",
            survey.listen
        )),
        (Some(true), Some(health)) => {
            let why = one_line(&health.detail);
            paint.bad(&format!(
                "the receiver is running and accepts nothing now: {why}"
            ))
        }
        (Some(false), _) => {
            paint.bad("the receiver is not running: systemctl start cis490-receiver")
        }
        _ => "this user cannot see whether the receiver runs".to_owned(),
    };
    format!("{state}; {}", counted(survey.hosts.len(), "host"))
}

/// The problems, the worst first.
fn troubles(survey: &Survey, paint: Paint) -> String {
    let mut text = store_troubles(survey, paint);
    text += &gate_trouble(survey, paint);
    text += &host_troubles(survey, paint);
    text += &oddities(survey, paint);
    if !survey.config_waiting.is_empty() {
        let keys = one_line(&survey.config_waiting.join(", ")).to_string();
        let words = format!("{keys}: changed, and needs a restart of the receiver");
        text += &alarm(paint, "CONFIG", &words);
    }
    if !text.is_empty() {
        text += "\n";
    }
    text
}

fn store_troubles(survey: &Survey, paint: Paint) -> String {
    let mut text = String::new();
    if survey.disk.free <= survey.disk.floor {
        text += &alarm(
            paint,
            "DISK FULL",
            "every upload is refused (507): make room",
        );
    }
    if let Some(finding) = &survey.index_finding {
        let kind = finding.kind.name();
        let found = format!("{kind}: {}; {INDEX_REMEDY}", one_line(&finding.why));
        text += &alarm(paint, "INDEX", &found);
    }
    if let Some(scrub) = &survey.scrub
        && !scrub.clean
    {
        let found = format!(
            "the scrub of {} found {}: cis490 scrub says what to do",
            one_line(&scrub.begun_at),
            scrub.found
        );
        text += &alarm(paint, "SCRUB", &found);
    }
    text
}

fn host_troubles(survey: &Survey, paint: Paint) -> String {
    let mut text = String::new();
    for host in &survey.hosts {
        text += &refused(host, paint);
    }
    for host in survey.out_of_date() {
        text += &alarm(
            paint,
            "OUT OF DATE",
            &format!(
                "{host}: its newest commit is no longer accepted; cis490 status on that host shows what to paste"
            ),
        );
    }
    for host in survey.not_known() {
        text += &alarm(
            paint,
            "NOT KNOWN",
            &format!(
                "{host}: the commit of its last upload is not among those that the gate knows; whether its code is out of date is not known until the gate's source answers"
            ),
        );
    }
    for host in &survey.hosts {
        text += &expiry(survey, host, paint);
    }
    for host in &survey.hosts {
        text += &silence(survey, host, paint);
    }
    text
}

/// What the store has that is odd, and harms no upload.
fn oddities(survey: &Survey, paint: Paint) -> String {
    let mut text = String::new();
    if survey.unreadable_rows > 0 {
        let count = counted(survey.unreadable_rows, "line");
        text += &alarm(
            paint,
            "INDEX",
            &format!("{count} of index.jsonl cannot be read as receipts: cis490 scrub names them"),
        );
    }
    if survey.in_quarantine > 0 {
        text += &line(
            "quarantine",
            &format!(
                "{}; see {}/quarantine",
                counted(survey.in_quarantine, "unrecognised file"),
                one_line(&survey.data_dir)
            ),
        );
    }
    text
}

/// A host whose newest attempt was refused, if somebody can do something about it.
fn refused(host: &Host, paint: Paint) -> String {
    let Some(refused) = &host.refused else {
        return String::new();
    };
    let Some(remedy) = &refused.remedy else {
        return String::new();
    };
    let name = if refused.reason == Kind::GateCannotTell.name() {
        "WAITS"
    } else {
        "REFUSED"
    };
    let ago = refused.seconds.map_or(String::new(), |seconds| {
        format!(", {}", human::ago(Duration::from_secs(seconds)))
    });
    let status = refused.status;
    let reason = one_line(&refused.reason);
    let remedy = one_line(remedy);
    alarm(
        paint,
        name,
        &format!("{}: {status} {reason}{ago}: {remedy}", host.host),
    )
}

/// A host whose commit leaves the window soon.
fn expiry(survey: &Survey, host: &Host, paint: Paint) -> String {
    let Some(left) = host.remaining else {
        return String::new();
    };
    if left >= survey.remaining_low || host.is_refused_for_its_commit() {
        return String::new();
    }
    let left = counted(left, "more commit");
    alarm(
        paint,
        "EXPIRING",
        &format!("{}: {left} until its code is refused; update it", host.host),
    )
}

/// A host that has sent nothing for too long. A host that is refused is not silent.
fn silence(survey: &Survey, host: &Host, paint: Paint) -> String {
    let unheard_s = host.unheard_seconds();
    if unheard_s.is_some_and(|unheard_s| unheard_s < survey.silent_after_seconds) {
        return String::new();
    }
    let text = match host.silent_seconds {
        Some(silent_s) => {
            let silent = human::span(Duration::from_secs(silent_s));
            format!("{} for {silent}: run cis490 doctor there", host.host)
        }
        None => format!("{}: no upload yet", host.host),
    };
    alarm(paint, "SILENT", &text)
}

/// A gate whose source does not report new commits. With a fallback the gate goes on, and may be behind.
fn gate_trouble(survey: &Survey, paint: Paint) -> String {
    let Some(gate) = &survey.gate else {
        return String::new();
    };
    let Some(failing) = &gate.failing else {
        return String::new();
    };
    if !gate.enabled {
        return String::new();
    }
    let how = failing_words(failing);
    let detail = one_line(&failing.detail);
    let meanwhile = match gate.source {
        Some(Source::GitFallback) => "the local repository is used",
        Some(_) => "known commits are accepted, a new push is not",
        None => "every upload waits",
    };
    alarm(
        paint,
        "GATE",
        &format!("its source {how}: {meanwhile}; {detail}"),
    )
}

fn gate(survey: &Survey, paint: Paint) -> String {
    let Some(gate) = &survey.gate else {
        let why = if survey.running == Some(true) {
            "unknown: the receiver does not answer"
        } else {
            "unknown: the receiver is not running"
        };
        return line("gate", why);
    };
    let Gate {
        window, commits, ..
    } = gate;
    if !gate.enabled {
        return line("gate", &paint.warning("disabled: any commit is accepted"));
    }
    let (Some(head), Some(source)) = (gate.head_commit, gate.source) else {
        return alarm(
            paint,
            "GATE",
            "no source has reported any commits, so every upload waits: cis490 doctor asks each source",
        );
    };
    let checked = human::ago(Duration::from_secs(gate.age_seconds.unwrap_or(0)));
    let source = match (source, &gate.failing) {
        (Source::GitFallback | Source::Disk, _) | (_, Some(_)) => {
            paint.warning(&source.to_string())
        }
        (other, None) => other.to_string(),
    };
    let head = head.to_string();
    line(
        "gate",
        &format!(
            "latest commit {}, {commits} of {window} known, from {source}, checked {checked}",
            &head[..12]
        ),
    )
}

fn scrub(survey: &Survey) -> String {
    let text = match &survey.scrub {
        None => "never run: cis490 scrub reads all stored files again".to_owned(),
        Some(scrub) => match &scrub.done_at {
            Some(at) => format!(
                "{} read, finished {}",
                counted(scrub.episodes, "episode"),
                one_line(at)
            ),
            None => format!(
                "started {} and not finished: cis490 scrub resumes",
                one_line(&scrub.begun_at)
            ),
        },
    };
    line("scrub", &text)
}

/// The commit column of a host whose commit is not known: its rows name none, or it has no row.
fn unknown(host: &Host) -> String {
    let word = if host.episodes == 0 { "-" } else { "unknown" };
    word.to_owned()
}

/// The hosts' own reports on their queues.
fn queues(survey: &Survey, paint: Paint) -> String {
    let now_s = clock::unix_seconds(SystemTime::now());
    let reports = survey.hosts.iter().filter_map(|host| {
        let report = host.report.as_ref()?;
        let text = one_line(&phrases(&report.state, now_s).join("; ")).to_string();
        let age = human::ago(Duration::from_secs(report.age_seconds));
        Some(if report.old {
            line(
                host.host.as_str(),
                &paint.warning(&format!("{text}; old: reported {age}")),
            )
        } else {
            line(host.host.as_str(), &format!("{text}; reported {age}"))
        })
    });
    let lines: String = reports.collect();
    if lines.is_empty() {
        return lines;
    }
    format!(
        "\n{}\n{lines}",
        paint.faint("queues, by the hosts' own reports")
    )
}

fn hosts(survey: &Survey, paint: Paint) -> String {
    if survey.hosts.is_empty() {
        return "no host has uploaded anything yet\n".to_owned();
    }
    let name = |host: &Host| host.host.to_string();
    let width = survey
        .hosts
        .iter()
        .map(|host| name(host).len())
        .max()
        .unwrap_or(0)
        .max(4);
    let head = format!(
        "{:width$}  {:>8}  {:>9}  {:>12}  {:>8}  commit",
        "host", "episodes", "size", "last upload", "position"
    );
    let mut text = paint.faint(&head) + "\n";
    for host in &survey.hosts {
        let silent = host
            .silent_seconds
            .map_or("never".to_owned(), |s| human::ago(Duration::from_secs(s)));
        let window = survey.gate.as_ref().map_or(0, |gate| gate.window);
        let place = host
            .position
            .map_or("-".to_owned(), |p| format!("{p}/{window}"));
        let commit = host
            .commit
            .map_or_else(|| unknown(host), |commit| commit.to_string());
        text += &format!(
            "{:width$}  {:>8}  {:>9}  {silent:>12}  {place:>8}  {}\n",
            name(host),
            host.episodes,
            human::bytes(host.bytes),
            commit.get(..12).unwrap_or(&commit),
        );
    }
    text
}
