//! The uploads under way: those whose bodies come here now, and those that only a lab host's report names, such
//! as one behind a proxy that collects the body first.

use std::time::Duration;

use super::Scene;
use super::html::{When, counted, escape};
use super::links::Links;
use crate::human;
use crate::receiver::http::running::RunningUpload;
use crate::receiver::lab_states::Reported;
use crate::wire::Uploading;

const BYTES_MAX: usize = 1_600;
/// A report of this age still says what is under way: a lab host sends one each minute.
const REPORT_COUNTS: Duration = Duration::from_secs(75);

/// An upload under way.
struct Row<'a> {
    host: &'a str,
    /// From a report it may be any text.
    episode: &'a str,
    progress: Uploading,
    /// Of the report that it is known from; `None` for one that comes here now.
    reported: Option<&'a Reported>,
}

/// Of all hosts; nothing if there is none.
pub(super) fn section(scene: &Scene, links: Links) -> String {
    let rows = rows(scene);
    let head = "<section><h2>Uploads under way</h2>\n<table class=u><thead><tr><th>host<th>episode<th>progress<th>rate<th>time left<tbody>\n";
    table(scene, head, &rows, |row| {
        format!("<th>{}", links.host(row.host))
    })
}

/// Of one host.
pub(super) fn of_host(scene: &Scene, name: &str) -> String {
    let mut rows = rows(scene);
    rows.retain(|row| row.host == name);
    let head = "<section><h2>Uploads under way</h2>\n<table class=u><thead><tr><th>episode<th>progress<th>rate<th>time left<tbody>\n";
    table(scene, head, &rows, |_| String::new())
}

fn rows(scene: &Scene) -> Vec<Row<'_>> {
    let mut rows: Vec<Row> = scene.running.iter().map(Row::of_running).collect();
    for (host, reported) in &scene.reports {
        let Some(upload) = &reported.state.uploading else {
            continue;
        };
        let is_running = |row: &Row| row.host == host.as_str() && row.episode == upload.episode;
        let stats = scene.books.hosts.get(host);
        let is_stored = stats.is_some_and(|stats| {
            let mut newest = stats.newest.iter();
            newest.any(|row| row.episode.as_str() == upload.episode)
        });
        if reported.age() < REPORT_COUNTS && !is_stored && !rows.iter().any(is_running) {
            rows.push(Row {
                host: host.as_str(),
                episode: &upload.episode,
                progress: upload.clone(),
                reported: Some(reported),
            });
        }
    }
    rows
}

impl<'a> Row<'a> {
    fn of_running(running: &'a RunningUpload) -> Row<'a> {
        let RunningUpload {
            slot,
            bytes,
            received,
            bytes_per_second,
        } = running;
        Row {
            host: slot.host.as_str(),
            episode: slot.episode.as_str(),
            progress: Uploading {
                episode: String::new(),
                bytes_sent: *received,
                bytes: *bytes,
                bytes_per_second: *bytes_per_second,
            },
            reported: None,
        }
    }

    fn cells(&self, now_s: u64) -> String {
        let Row {
            progress, reported, ..
        } = self;
        let percent = progress.percent();
        let left = match progress.seconds_left() {
            Some(left_s) => {
                let words = human::span(Duration::from_secs(left_s));
                When::of(now_s.checked_add(left_s), now_s).around(&words)
            }
            None => "–".to_owned(),
        };
        let source = reported.map_or(String::new(), |reported| {
            let at_s = now_s.saturating_sub(reported.age().as_secs());
            format!(" <s>reported {}</s>", When::of(Some(at_s), now_s).span())
        });
        format!(
            "<td>{}<td><progress max=100 value={percent}></progress> {percent} % <s>of {}</s>{source}<td>{}/s<td>{left}\n",
            escape(self.episode, 128),
            human::bytes(progress.bytes),
            human::bytes(progress.bytes_per_second),
        )
    }
}

fn table(scene: &Scene, head: &str, rows: &[Row], host: impl Fn(&Row) -> String) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = head.to_owned();
    let mut left_out = 0;
    for row in rows {
        let line = format!("<tr>{}{}", host(row), row.cells(scene.now_s));
        if table.len() + line.len() > BYTES_MAX {
            left_out += 1;
        } else {
            table += &line;
        }
    }
    table += "</table>";
    if left_out > 0 {
        let more = counted(left_out, "more upload");
        table += &format!("\n<p class=m>And {more}, not shown to keep the page small.");
    }
    table + "</section>\n"
}
