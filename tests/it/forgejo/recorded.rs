//! What a real Forgejo answered: a file of `answers/` as status, headers and body.

use std::fs;
use std::path::Path;

pub struct Recorded {
    pub status: u16,
    /// Lines, without those that say how the body was sent.
    pub headers: String,
    pub body: String,
}

impl Recorded {
    /// `name` as the file is called, without `.http`.
    pub fn read(name: &str) -> Recorded {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/forgejo/answers");
        let text = fs::read_to_string(dir.join(name).with_extension("http"));
        let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
        // The first line says what was asked.
        let answer = match text.split_once('\n') {
            Some((asked, answer)) if asked.starts_with('#') => answer,
            _ => &text,
        };
        let answer = answer.replace("\r\n", "\n");
        let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let of_the_body = ["content-length:", "transfer-encoding:", "connection:"];
        let headers = lines
            .filter(|line| {
                let line = line.to_lowercase();
                !of_the_body.iter().any(|name| line.starts_with(name))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        Recorded {
            status: status.unwrap().parse().unwrap(),
            headers,
            body: body.trim_end_matches('\n').to_owned(),
        }
    }
}
