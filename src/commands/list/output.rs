//! What is printed for each row: a line of a table, or the row as it stands.

use std::collections::VecDeque;
use std::path::Path;

use serde::de::IgnoredAny;

use crate::durable;
use crate::episode;
use crate::failure::Failure;
use crate::human;
use crate::receiver::store::tarball_path;
use crate::terminal::{self, Paint, one_line, warn_user};
use crate::wire::{Receipt, Slot};

/// Text is handed to stdout in parts of about this size.
const PART_BYTES: usize = 64 << 10;

pub(super) struct Output<'a> {
    as_json: bool,
    /// The newest lines, if there is a limit; else they are printed as they come.
    newest: Option<(usize, VecDeque<Line>)>,
    /// Whose tarballs are read for their `meta.json`.
    meta_of: Option<&'a Path>,
    text: String,
    has_head: bool,
}

/// A row that may still be printed.
struct Line {
    text: String,
    slot: Slot,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        as_json: bool,
        limit: Option<usize>,
        meta_of: Option<&'a Path>,
    ) -> Output<'a> {
        Output {
            as_json,
            newest: limit.map(|limit| (limit, VecDeque::new())),
            meta_of,
            text: String::new(),
            has_head: false,
        }
    }

    /// Prints a row, or keeps it as long as it is among the newest.
    pub(super) fn take(&mut self, text: &[u8], row: &Receipt) {
        let line = Line {
            text: if self.as_json {
                String::from_utf8_lossy(text).into_owned()
            } else {
                table_line(row)
            },
            slot: row.slot(),
        };
        let Some((limit, newest)) = &mut self.newest else {
            return self.put(&line);
        };
        newest.push_back(line);
        if newest.len() > *limit {
            newest.pop_front();
        }
    }

    /// Prints what is left.
    ///
    /// Errors: stdout did not accept all of it.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let newest = self.newest.take().map(|(_, newest)| newest);
        for line in newest.unwrap_or_default() {
            self.put(&line);
        }
        terminal::print(&self.text)
    }

    fn put(&mut self, line: &Line) {
        if !self.as_json && !self.has_head {
            self.has_head = true;
            self.text += &head();
        }
        let meta = self.meta_of.map(|data_dir| meta_of(data_dir, &line.slot));
        match meta {
            None => self.text += &line.text,
            Some(meta) if self.as_json => self.text += &with_meta(&line.text, meta.as_deref()),
            Some(meta) => {
                let meta = meta.unwrap_or_else(|| "none".to_owned());
                self.text += &format!("{}\n    meta.json: {}", line.text, one_line(&meta));
            }
        }
        self.text.push('\n');
        if self.text.len() >= PART_BYTES {
            // An error is the end's to report.
            let _ = terminal::print(&self.text);
            self.text.clear();
        }
    }
}

fn head() -> String {
    let head = format!(
        "{:>8}  {:20}  {:>9}  {:13}  {}",
        "seq", "received", "size", "commit", "episode"
    );
    Paint::for_stdout().faint(&head) + "\n"
}

/// The name comes last, so that no column has to wait for the longest one.
fn table_line(row: &Receipt) -> String {
    let seq = row.seq.map_or("-".to_owned(), |seq| seq.to_string());
    let received = row.received_at.as_deref().unwrap_or("-");
    let size = row.bytes.map_or("-".to_owned(), human::bytes);
    let mut commit = row.commit.map_or("unknown".to_owned(), |commit| {
        commit.to_string()[..12].to_owned()
    });
    if row.dirty == Some(true) {
        commit.push('+');
    }
    format!(
        "{seq:>8}  {:20}  {size:>9}  {commit:13}  {}",
        one_line(received),
        row.slot()
    )
}

/// The `meta.json` in the tarball of an episode, on one line. `None`, and a line on stderr, if there is
/// none that can be read.
fn meta_of(data_dir: &Path, slot: &Slot) -> Option<String> {
    let read = durable::open_regular(&tarball_path(data_dir, slot))
        .map_err(|error| format!("its tarball cannot be read: {error}"))
        .and_then(|file| episode::read_meta_json(file).map_err(|error| error.to_string()))
        .and_then(one_line_of_json);
    match read {
        Ok(json) => Some(json),
        Err(why) => {
            warn_user!("cis490: {slot}: {why}");
            None
        }
    }
}

/// Line breaks in JSON stand between its values alone: a space is as good.
fn one_line_of_json(json: Vec<u8>) -> Result<String, String> {
    let mut text = String::from_utf8(json).map_err(|_| "its meta.json is not UTF-8".to_owned())?;
    serde_json::from_str::<IgnoredAny>(&text)
        .map_err(|error| format!("its meta.json is not JSON: {error}"))?;
    text = text.replace(['\n', '\r'], " ");
    Ok(text.trim().to_owned())
}

/// The row as it stands, with one member more. `row` is a JSON object with members.
fn with_meta(row: &str, meta: Option<&str>) -> String {
    let row = row.trim_end();
    let members = row.strip_suffix('}').unwrap_or(row);
    format!("{members},\"meta\":{}}}", meta.unwrap_or("null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_its_meta_is_one_object_on_one_line() {
        let meta =
            one_line_of_json(b"{\n  \"code_version\": {\r\n\"commit\": \"a\\nb\"}\n}\n".to_vec());
        let line = with_meta("{\"host\": \"a\"} \r", meta.ok().as_deref());
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["host"], "a");
        assert_eq!(value["meta"]["code_version"]["commit"], "a\nb");
        let without: serde_json::Value =
            serde_json::from_str(&with_meta("{\"host\":\"a\"}", None)).unwrap();
        assert!(without["meta"].is_null());
        for odd in [&b"{"[..], b"\xff", b"{} {}"] {
            assert!(one_line_of_json(odd.to_vec()).is_err(), "{odd:?}");
        }
    }
}
