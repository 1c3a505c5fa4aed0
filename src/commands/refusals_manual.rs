//! What each refusal means for the person who sees it: `cis490 help refusals`.

use crate::failure::Failure;
use crate::refusal_table::{ENTRIES, Entry};
use crate::terminal::{Paint, columns, wrapped};

/// All of them, or the one that is named by its reason or status.
pub(super) fn text(wanted: Option<&str>) -> Result<String, Failure> {
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
    match (text.is_empty(), wanted) {
        (true, Some(wanted)) => {
            let known = ENTRIES.iter().map(|entry| entry.name);
            let meant = super::line::nearest(wanted, known);
            let meant = meant.map_or(String::new(), |name| format!("did you mean {name}? "));
            Err(Failure::new(
                format!("there is no refusal {wanted}"),
                format!("{meant}cis490 help refusals lists them all"),
            ))
        }
        _ => Ok(text),
    }
}
