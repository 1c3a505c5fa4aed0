//! The manual pages of the two configurations (section 5), made of their examples, and of the log's events
//! (section 7), made of their manual.

use std::fmt::Write;

use super::{header, roff};
use crate::events::manual::{self, CHAPTERS};

const RECEIVER: &str = include_str!("../../../etc/receiver.toml.example");
const SHIPPER: &str = include_str!("../../../etc/shipper.toml.example");

/// A page that is no command's.
pub(super) struct Page {
    /// As `cis490 man` accepts it; behind `cis490-` it is the page's title.
    pub name: &'static str,
    pub section: u8,
    make: fn() -> String,
}

pub(super) const PAGES: [Page; 3] = [
    Page {
        name: "receiver.toml",
        section: 5,
        make: || {
            of_example(
                "receiver.toml",
                "the configuration of the receiver",
                RECEIVER,
            )
        },
    },
    Page {
        name: "shipper.toml",
        section: 5,
        make: || of_example("shipper.toml", "the configuration of a lab host", SHIPPER),
    },
    Page {
        name: "events",
        section: 7,
        make: events,
    },
];

impl Page {
    pub(super) fn text(&self) -> String {
        (self.make)()
    }
}

/// The blocks of the example: each begins with its comment, and its lines are the keys that it explains.
fn of_example(name: &str, summary: &str, example: &str) -> String {
    let mut text = header(&format!("cis490-{name}"), 5, "File Formats", summary);
    let mut blocks = example.split("\n\n").map(Block::of);
    let description = blocks.next().map_or(String::new(), |block| block.comment);
    // Writing to a String cannot fail.
    let _ = writeln!(text, ".SH DESCRIPTION\n{}\n.SH KEYS", roff(&description));
    for block in blocks {
        for line in &block.lines {
            if line.starts_with('[') {
                let _ = writeln!(text, ".SS {}", roff(line));
            }
        }
        let keys: Vec<&&str> = block
            .lines
            .iter()
            .filter(|line| !line.starts_with('['))
            .collect();
        if let Some((first, more)) = keys.split_first() {
            let _ = writeln!(text, ".TP\n\\fB{}\\fR", roff(first));
            for line in more {
                let _ = writeln!(text, ".TQ\n\\fB{}\\fR", roff(line));
            }
        }
        if !block.comment.is_empty() {
            let _ = writeln!(text, "{}", roff(&block.comment));
        }
    }
    let _ = writeln!(
        text,
        ".SH FILES\n/etc/cis490/{}\n.SH SEE ALSO\n.BR cis490\\-config (1),\n.BR cis490 (1)",
        roff(name)
    );
    text
}

/// Some lines of an example without an empty line between them.
struct Block<'a> {
    comment: String,
    /// The keys and headers of tables; a key that is off is without its `#`.
    lines: Vec<&'a str>,
}

impl Block<'_> {
    fn of(text: &str) -> Block<'_> {
        let mut comment = Vec::new();
        let mut lines = Vec::new();
        for line in text.lines() {
            match line.strip_prefix('#') {
                Some(words) if words.is_empty() || words.starts_with(' ') => {
                    comment.push(words.trim())
                }
                Some(key) => lines.push(key),
                None => lines.push(line),
            }
        }
        Block {
            comment: comment.join(" "),
            lines,
        }
    }
}

fn events() -> String {
    let mut text = header("cis490-events", 7, "Miscellaneous", "the lines of the log");
    text += ".SH DESCRIPTION\nEach line of the log is event=NAME and key=value pairs. ERROR: act now. WARN: act soon. INFO: no action.\n";
    for chapter in CHAPTERS {
        let _ = writeln!(text, ".SH {}", roff(&chapter.title.to_uppercase()));
        for event in chapter.events {
            let _ = writeln!(
                text,
                ".TP\n\\fB{}\\fR ({})\n{}",
                roff(event.name),
                event.level,
                roff(event.meaning)
            );
            if event.to_do != manual::NOTHING {
                let _ = writeln!(text, ".br\nDo: {}", roff(event.to_do));
            }
        }
    }
    text + ".SH SEE ALSO\n.BR cis490 (1),\n.BR journalctl (1)\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::config::Config;

    #[test]
    fn the_page_of_a_file_has_every_key_with_its_comment() {
        let page = PAGES[0].text();
        let config = "data_dir = \"/a\"\n";
        let config = Config::parse(config, std::path::Path::new("receiver.toml")).unwrap();
        for setting in config.settings() {
            let key = setting.key.rsplit('.').next().unwrap_or_default();
            assert!(page.contains(&format!("\\fB{key} = ")), "{key}\n{page}");
        }
        for words in [
            "[[host]]",
            "[version_gate]",
            "A host that has sent nothing for this long",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
        assert!(PAGES[1].text().contains("\\fBscan_seconds = 5\\fR"));
    }

    #[test]
    fn the_page_of_events_has_each_of_them() {
        let page = PAGES[2].text();
        for event in manual::all() {
            assert!(
                page.contains(&format!("\\fB{}\\fR", event.name)),
                "{}",
                event.name
            );
        }
    }
}
