//! Adds a `[[host]]` to the text of `receiver.toml`, or takes one out, and leaves every other line as it is,
//! comments too.
//!
//! A table is added at the end, where TOML allows one whatever stands before it. Of a table that is taken out
//! the lines of its header and its keys go. The result is read again before it counts: it must be a right
//! configuration in which nothing but the hosts is another.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Config, HostRule};
use crate::config::settings::{TakesEffect, changed};
use crate::failure::Failure;
use crate::names::HostId;

/// The lines of a table, as a person would paste them.
pub(crate) fn table_of(rule: &HostRule) -> String {
    let mut table = format!("[[host]]\nid = \"{}\"\n", rule.id);
    if let Some(address) = rule.address {
        table += &format!("address = \"{address}\"\n");
    }
    if let Some(digest) = &rule.token_sha256 {
        table += &format!("token_sha256 = \"{digest}\"\n");
    }
    table
}

/// The text with one more host.
///
/// Errors: the file has a mistake; the host is there already; or its hosts are written in a form to which no
/// table can be added.
pub(crate) fn with_host(text: &str, path: &Path, rule: &HostRule) -> Result<String, Failure> {
    let before = Config::parse(text, path)?;
    let file = path.display();
    if before.hosts.iter().any(|known| known.id == rule.id) {
        return Err(Failure::new(
            format!("{file} has a [[host]] with the id {} already", rule.id),
            format!("change it there, or first: cis490 host remove {}", rule.id),
        ));
    }
    let gap = if text.is_empty() || text.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let edited = format!("{text}{gap}{}", table_of(rule));
    let hosts = before.hosts.len() + 1;
    if is_right(&before, &edited, path, hosts) {
        return Ok(edited);
    }
    Err(Failure::new(
        format!(
            "no [[host]] can be added at the end of {file}: its hosts are written in another form"
        ),
        format!(
            "add the host by hand: id = \"{}\", with its address or token_sha256",
            rule.id
        ),
    ))
}

/// The text without this host.
///
/// Errors: the file has a mistake; the host is not there, or is the last one; or the host is not written as a
/// table of its own.
pub(crate) fn without_host(text: &str, path: &Path, id: &HostId) -> Result<String, Failure> {
    let before = Config::parse(text, path)?;
    let file = path.display();
    let Some(place) = before.hosts.iter().position(|rule| rule.id == *id) else {
        return Err(Failure::new(
            format!("{file} has no [[host]] with the id {id}"),
            "cis490 config lists them",
        ));
    };
    if before.hosts.len() == 1 {
        return Err(Failure::new(
            format!(
                "{id} is the last [[host]]: without any, anyone who can reach the port may upload"
            ),
            format!("add another one first, or take it out of {file} by hand"),
        ));
    }
    let edited = lines_of_host(text, place).map(|lines| without_lines(text, &lines));
    let hosts = before.hosts.len() - 1;
    match edited {
        Some(edited) if is_right(&before, &edited, path, hosts) => Ok(edited),
        _ => Err(Failure::new(
            format!("{id} is not written as a [[host]] table of its own in {file}"),
            "take it out by hand, then: systemctl reload cis490-receiver",
        )),
    }
}

/// Whether the edited text is a right configuration in which nothing but the hosts is another.
fn is_right(before: &Config, edited: &str, path: &Path, hosts: usize) -> bool {
    Config::parse(edited, path).is_ok_and(|after| {
        let old = before.settings();
        let new = after.settings();
        after.hosts.len() == hosts
            && changed(&old, &new, TakesEffect::OnReload) == ["host"]
            && changed(&old, &new, TakesEffect::OnRestart).is_empty()
    })
}

/// The numbers, from 0, of the lines that the header and the keys of the table stand on; `None` if it is not
/// a table under a header of its own.
fn lines_of_host(text: &str, place: usize) -> Option<Vec<usize>> {
    let table = DeTable::parse(text).ok()?;
    let DeValue::Array(hosts) = table.get_ref().get("host")?.get_ref() else {
        return None;
    };
    let host = hosts.get(place)?;
    let DeValue::Table(keys) = host.get_ref() else {
        return None;
    };
    let header = host.span().start;
    if !text.get(header..)?.starts_with("[[") {
        return None;
    }
    let line = |at: usize| text[..at].matches('\n').count();
    let mut lines = vec![line(header)];
    for (key, value) in keys {
        lines.extend(line(key.span().start)..=line(value.span().end.saturating_sub(1)));
    }
    Some(lines)
}

/// Of two empty lines that meet, one goes too.
fn without_lines(text: &str, gone: &[usize]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut has_cut = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if gone.contains(&number) {
            has_cut = true;
            continue;
        }
        let is_second_gap = has_cut && line.trim().is_empty() && kept.ends_with("\n\n");
        if !is_second_gap {
            kept.push_str(line);
            has_cut = false;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/etc/cis490/receiver.toml";

    fn rule(id: &str, address: Option<&str>) -> HostRule {
        HostRule {
            id: HostId::parse(id).unwrap(),
            address: address.map(|address| address.parse().unwrap()),
            token_sha256: None,
        }
    }

    fn add(text: &str, id: &str) -> Result<String, Failure> {
        with_host(text, Path::new(PATH), &rule(id, Some("10.0.0.1")))
    }

    fn remove(text: &str, id: &str) -> Result<String, Failure> {
        without_host(text, Path::new(PATH), &HostId::parse(id).unwrap())
    }

    const FILE: &str = "# mine\ndata_dir = \"/a\" # here\n\n[version_gate]\nwindow = 3\n\n# the first\n[[host]]\nid = \"lab-1\"\n# its address\naddress = \"10.0.0.1\" # wg0\n\n# the second\n[[host]]\naddress = \"10.0.0.2\"\nid = \"lab-2\"\n\n[[reader]]\nid = \"r\"\naddress = \"10.0.0.9\"\n";

    #[test]
    fn a_host_comes_and_goes_and_every_other_line_stays() {
        let added = add(FILE, "lab-3").unwrap();
        let table = "\n[[host]]\nid = \"lab-3\"\naddress = \"10.0.0.1\"\n";
        assert_eq!(added, format!("{FILE}{table}"));
        // The empty line before it stays.
        assert_eq!(remove(&added, "lab-3").unwrap().trim_end(), FILE.trim_end());
        let without_first = remove(FILE, "lab-1").unwrap();
        assert_eq!(
            without_first,
            FILE.replace("[[host]]\nid = \"lab-1\"\n", "")
                .replace("address = \"10.0.0.1\" # wg0\n", "")
        );
        let without_second = remove(FILE, "lab-2").unwrap();
        assert_eq!(
            without_second,
            FILE.replace("[[host]]\naddress = \"10.0.0.2\"\nid = \"lab-2\"\n", "")
        );
        let no_newline = add(FILE.trim_end(), "lab-3").unwrap();
        assert_eq!(no_newline, added);
        let windows = add(&FILE.replace('\n', "\r\n"), "lab-3").unwrap();
        assert!(
            remove(&windows, "lab-2")
                .unwrap()
                .contains("# the second\r\n")
        );
        let example = include_str!("../../../etc/receiver.toml.example");
        let with_two = add(&add(example, "a").unwrap(), "b").unwrap();
        assert!(remove(&with_two, "a").unwrap().starts_with(example));
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_words() {
        let one = "data_dir = \"/a\"\n[[host]]\nid = \"lab-1\"\naddress = \"10.0.0.1\"\n";
        let inline = "data_dir = \"/a\"\nhost = [{id = \"lab-1\", address = \"10.0.0.1\"}, {id = \"lab-2\", address = \"10.0.0.2\"}]\n";
        for (result, words) in [
            (add(FILE, "lab-1"), "already"),
            (add("data_dir = 7", "lab-1"), "data_dir"),
            (add(inline, "lab-3"), "written in another form"),
            (remove(FILE, "lab-9"), "has no [[host]]"),
            (remove(one, "lab-1"), "is the last [[host]]"),
            (remove(inline, "lab-1"), "not written as a [[host]] table"),
        ] {
            let told = result.unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
