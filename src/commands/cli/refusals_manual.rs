//! What each refusal means for the person who sees it: `cis490 help refusals`.

use crate::failure::Failure;
use crate::human::nearest;
use crate::refusal_table::{ENTRIES, Entry};
use crate::terminal::{Paint, columns, wrapped};

/// The entries of all refusals, or of those whose reason or status is `wanted`.
///
/// Errors: no refusal has that reason or status.
pub(crate) fn text(wanted: Option<&str>) -> Result<String, Failure> {
    let paint = Paint::for_stdout();
    let is_wanted = |entry: &&Entry| {
        wanted.is_none_or(|wanted| entry.name == wanted || entry.status.to_string() == wanted)
    };
    let mut text = String::new();
    for entry in ENTRIES.iter().filter(is_wanted) {
        text += &format!(
            "{}  {}\n",
            paint.bold(&entry.status.to_string()),
            paint.bold(entry.name)
        );
        text += &wrapped(entry.meaning, 5, columns());
        text += &wrapped(entry.episode.words(), 5, columns());
        text += &wrapped(&format!("do: {}", entry.to_do), 5, columns());
    }
    match wanted {
        Some(unknown) if text.is_empty() => Err(no_refusal(unknown)),
        _ => Ok(text),
    }
}

fn no_refusal(unknown: &str) -> Failure {
    let known = ENTRIES.iter().map(|entry| entry.name);
    let meant = nearest(unknown, known);
    let meant = meant.map_or(String::new(), |name| format!("did you mean {name}? "));
    Failure::usage(
        format!("there is no refusal {unknown}"),
        format!("{meant}cis490 help refusals lists them all"),
    )
}
