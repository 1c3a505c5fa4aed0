//! The few elements of S3's XML answers that matter, found by their tags. No element of these names is
//! ever inside another of the same name.

/// The text of the first element of this name, without escapes; `None` without one.
pub(super) fn text(xml: &str, name: &str) -> Option<String> {
    elements(xml, name).next().map(unescaped)
}

/// The insides of all elements of this name, as they stand.
pub(super) fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let open = format!("<{name}");
    let close = format!("</{name}>");
    let mut rest = xml;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once(open.as_str())?;
            rest = after;
            // A longer name begins in the same way; an element may have attributes, or nothing inside.
            let inside = match after.as_bytes().first()? {
                b'>' | b' ' => after.split_once('>')?,
                _ => continue,
            };
            if inside.0.ends_with('/') {
                continue;
            }
            let (text, after) = inside.1.split_once(close.as_str())?;
            rest = after;
            return Some(text);
        }
    })
}

fn unescaped(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        plain = plain.replace(escape, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_whole_names() {
        let xml = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><KeyCount>2</KeyCount><Contents><Key>a&amp;b</Key><Size>3</Size></Contents>\
                   <Empty/><Contents><Key x=\"1\">c</Key></Contents></R>";
        assert_eq!(text(xml, "Key").as_deref(), Some("a&b"));
        let keys: Vec<_> = elements(xml, "Contents")
            .map(|one| text(one, "Key").unwrap())
            .collect();
        assert_eq!(keys, ["a&b", "c"]);
        for absent in ["Empty", "Ke", "Nothing"] {
            assert_eq!(text(xml, absent), None, "{absent}");
        }
        for cut in ["<Key", "<Key>", "<Key>a", "<Key>a</Ke", ""] {
            assert_eq!(text(cut, "Key"), None, "{cut}");
        }
    }
}
