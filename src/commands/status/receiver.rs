//! `cis490 status` on the receiver: problems first, then the gate, the disk and each host.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Look, alarm, json, line};
use crate::clock;
use crate::failure::Failure;
use crate::human::{self, counted};
use crate::receiver::config::Config;
use crate::receiver::findings::{Finding, Kind, Severity, exit_status};
use crate::receiver::survey::{Gate, Host, LastScrub, Survey, phrases, survey};
use crate::receiver::version_gate::failing_words;
use crate::refusal_table;
use crate::terminal::{Paint, one_line};
use crate::wire::Source;

pub(super) fn look(path: &Path, as_json: bool) -> Result<Look, Failure> {
    let survey = survey(&Config::load(path)?, path)?;
    let text = if as_json {
        json(&survey)?
    } else {
        page(&survey, Paint::for_stdout())
    };
    Ok(Look {
        text,
        how_bad: how_bad(&survey),
    })
}

/// 2 also if the receiver does not run, or does not answer: then nothing is stored. 1 at least where its own
/// judgement is not known.
fn how_bad(survey: &Survey) -> u8 {
    let is_away = survey.running == Some(false)
        || (survey.health.as_ref()).is_some_and(|health| !health.takes_uploads);
    if is_away {
        return 2;
    }
    let is_unsure = survey.running.is_none() || survey.from_disk_because.is_some();
    exit_status(&survey.findings).max(u8::from(is_unsure))
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
    page += &archive(survey);
    page += &scrub(survey);
    page += "\n";
    page += &hosts(survey, paint);
    page += &queues(survey, paint);
    page
}

fn archive(survey: &Survey) -> String {
    let archive = survey.archive.as_ref();
    archive.map_or(String::new(), |archive| {
        let sentence = archive.sentence(survey.episodes);
        line("archive", &one_line(&sentence).to_string())
    })
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

/// The findings, errors first; then what is no finding, and worth a look.
fn troubles(survey: &Survey, paint: Paint) -> String {
    let found = survey.findings.iter();
    let mut text: String = found.map(|finding| line_of(finding, paint)).collect();
    for host in &survey.hosts {
        text += &waiting(host, paint);
    }
    for host in survey.not_known() {
        text += &warning(
            paint,
            "NOT KNOWN",
            &format!(
                "{host}: the commit of its last upload is not among those that the gate knows; whether its code is out of date is not known until the gate's source answers"
            ),
        );
    }
    if survey.unreadable_rows > 0 {
        let count = counted(survey.unreadable_rows, "line");
        let words =
            format!("{count} of index.jsonl cannot be read as receipts: cis490 scrub names them");
        text += &warning(paint, "INDEX", &words);
    }
    if !text.is_empty() {
        text += "\n";
    }
    text
}

fn line_of(finding: &Finding, paint: Paint) -> String {
    let label = label(finding);
    let text = format!(
        "{}: {}",
        one_line(&finding.words),
        one_line(&finding.remedy)
    );
    match finding.severity {
        Severity::Error => alarm(paint, &label, &text),
        Severity::Warning => warning(paint, &label, &text),
    }
}

/// The word at the beginning of a finding's line.
fn label(finding: &Finding) -> String {
    let Some(kind) = Kind::of(&finding.kind) else {
        return one_line(&finding.kind).to_uppercase();
    };
    let label = match kind {
        Kind::HostOutOfDate if finding.reason.is_none() => "OUT OF DATE",
        Kind::HostOutOfDate | Kind::HostRefused => "REFUSED",
        Kind::HostStuck => "STUCK",
        Kind::HostFallingOut => "EXPIRING",
        Kind::HostSilent | Kind::HostNeverSeen => "SILENT",
        Kind::HostGone => "GONE",
        Kind::LabRefused => "SET ASIDE",
        Kind::LabDiskFull => "LAB DISK",
        Kind::LabQueueGrowing => "QUEUE",
        Kind::LabHeld => "HELD",
        Kind::LabOldProgram => "OLD PROGRAM",
        Kind::StoreUnwritable => "STORE",
        Kind::DiskLow => "DISK FULL",
        Kind::DiskFullSoon => "DISK",
        Kind::IndexMissing | Kind::IndexShort => "INDEX",
        Kind::EpisodeRotten => "ROTTEN",
        Kind::EpisodeMissing => "MISSING",
        Kind::EpisodeUnindexed => "UNINDEXED",
        Kind::ArchiveLost => "LOST",
        Kind::ArchiveMismatch | Kind::ArchiveAway | Kind::ArchiveBehind => "ARCHIVE",
        Kind::ScrubOverdue => "SCRUB",
        Kind::Quarantine => "QUARANTINE",
        Kind::GateNotLoaded | Kind::GateOld | Kind::GateFailing | Kind::GateFallback => "GATE",
        Kind::Restarts => "RESTARTS",
        Kind::Clock => "CLOCK",
        Kind::ConfigWaiting => "CONFIG",
    };
    label.to_owned()
}

/// One line of the page that names what may become a problem.
fn warning(paint: Paint, name: &str, text: &str) -> String {
    format!("{}  {text}\n", paint.warning(&format!("{name:12}")))
}

/// A host that waits because the gate could not look its commit up: that is the gate's trouble.
fn waiting(host: &Host, paint: Paint) -> String {
    let Some(refused) = &host.refused else {
        return String::new();
    };
    let Some(remedy) = &refused.remedy else {
        return String::new();
    };
    if refused.reason != refusal_table::Kind::GateCannotTell.name() {
        return String::new();
    }
    let ago = refused.seconds.map_or(String::new(), |seconds| {
        format!(", {}", human::ago(Duration::from_secs(seconds)))
    });
    let text = format!(
        "{}: {} {}{ago}: {}",
        host.host,
        refused.status,
        one_line(&refused.reason),
        one_line(remedy)
    );
    warning(paint, "WAITS", &text)
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
    let how = gate.failing.as_ref().map_or(String::new(), |failing| {
        let meanwhile = match source {
            Source::GitFallback => "; the local repository is used",
            _ => "",
        };
        format!(", {}{meanwhile}", failing_words(failing))
    });
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
            "latest commit {}, {commits} of {window} known, from {source}{how}, checked {checked}",
            &head[..12]
        ),
    )
}

fn scrub(survey: &Survey) -> String {
    let text = match &survey.scrub {
        None => "never run: cis490 scrub reads all stored files again".to_owned(),
        Some(scrub) => match &scrub.done_at {
            Some(at) => format!(
                "{} read, finished {}{}",
                counted(scrub.episodes, "episode"),
                one_line(at),
                found_by(scrub)
            ),
            None => format!(
                "started {} and not finished: cis490 scrub resumes",
                one_line(&scrub.begun_at)
            ),
        },
    };
    line("scrub", &text)
}

fn found_by(scrub: &LastScrub) -> String {
    if scrub.clean {
        return String::new();
    }
    format!(", found {}: cis490 scrub says what to do", scrub.found)
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
