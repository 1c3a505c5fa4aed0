//! `/help/{reason}`: what a refusal means and what to do about it, by the table of refusals.

use super::frame;
use super::html::escape;
use crate::refusal_table::{Entry, Kind};

const REMEDIATION_CHARS_MAX: usize = 4000;

pub(super) fn page(kind: Kind, remediation: &str) -> String {
    let Entry {
        name,
        status,
        retry_after_s,
        title,
        meaning,
        episode,
        to_do,
        maintainer,
    } = kind.entry();
    let mut page = frame::begin(name, "gray", "../", frame::IS_STEADY);
    page += &format!(
        "<section><h1>{status} {name}</h1>\n<p>{}.</section>\n<section><h2>What it means</h2>\n<p>{}<p>{}\n",
        escape(title, 200),
        escape(meaning, 2000),
        escape(episode.words(), 300),
    );
    if let Some(seconds) = retry_after_s {
        page +=
            &format!("<p>It passes by itself: the answer says to try again after {seconds} s.\n");
    }
    page += &format!(
        "</section>\n<section><h2>What to do</h2>\n<p>{}\n",
        with_links(&escape(to_do, 2000))
    );
    if let Some(maintainer) = maintainer {
        page += &format!(
            "<p>As the maintainer of the receiver: {}.\n",
            escape(maintainer, 500)
        );
    }
    if matches!(kind, Kind::NotInWindow | Kind::BadCommit) && !remediation.is_empty() {
        page += &format!(
            "<p>To paste on the lab host (one click selects it):<pre>{}</pre>\n",
            escape(remediation, REMEDIATION_CHARS_MAX)
        );
    }
    page + &format!(
        "</section>\n</main><footer>The same on a terminal: <code>cis490 help refusals {name}</code>. <a href=../>All hosts</a></footer></body></html>\n"
    )
}

/// `As length-required.` leads to the words that are meant.
fn with_links(to_do: &str) -> String {
    let other = to_do
        .strip_prefix("As ")
        .and_then(|rest| rest.strip_suffix('.'));
    match other.filter(|other| Kind::of(other).is_some()) {
        Some(other) => format!("As <a href={other}>{other}</a>."),
        None => to_do.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal_table::ENTRIES;

    #[test]
    fn every_refusal_has_a_page_and_every_reference_leads_to_one() {
        for entry in ENTRIES {
            let kind = Kind::of(entry.name).unwrap();
            let page = page(kind, "line one\nline <two>");
            assert!(page.contains(&escape(entry.meaning, 9999)), "{page}");
            assert!(page.len() < 15_000, "{}", page.len());
            assert!(!page.contains("<two>"), "{page}");
            let refers = entry.to_do.starts_with("As ");
            assert_eq!(page.contains("As <a href="), refers, "{page}");
        }
    }
}
