//! A server in literal bytes that lists and gives what is on its shelf, and says anything else that a
//! test wants to be said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::Files;
use crate::client::sha256;

/// What is there to be pulled.
#[derive(Clone)]
pub struct Shelf {
    pub store: String,
    pub index: String,
    pub files: Files,
    /// Of one page at most.
    pub page_rows: usize,
}

impl Default for Shelf {
    fn default() -> Shelf {
        Shelf {
            store: String::new(),
            index: String::new(),
            files: Files::new(),
            // Pages are short, so that there are several of them.
            page_rows: 7,
        }
    }
}

/// What one request is answered with; then the connection is closed.
pub enum Say {
    Bytes(Vec<u8>),
    /// The first, and then the second again and again for as long as the peer reads.
    Endless(Vec<u8>, Vec<u8>),
    /// The first, and then a byte now and again for as long as the peer reads.
    Drips(Vec<u8>),
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Head(pub String);

impl Head {
    pub fn target(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.lines().filter_map(|line| line.split_once(": "));
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

type Answers = dyn Fn(&Head, &Shelf) -> Say + Send + Sync;

pub struct Server {
    pub url: String,
    pub shelf: Arc<Mutex<Shelf>>,
    heard: Arc<Mutex<Vec<Head>>>,
}

impl Shelf {
    /// So many episodes of two hosts, from empty to large.
    pub fn of(count: usize) -> Shelf {
        let mut shelf = Shelf {
            store: "00000000000000aa".into(),
            ..Shelf::default()
        };
        for n in 1..=count {
            let bytes = crate::dice::noise(n as u64, n * n * 97 % 150_000);
            shelf.put(&format!("lab-{}/ep-{n}", n % 2), &bytes);
        }
        shelf
    }

    pub fn put(&mut self, slot: &str, bytes: &[u8]) {
        self.files.insert(slot.to_owned(), bytes.to_owned());
        let line = row(slot, bytes.len() as u64, &sha256(bytes));
        self.index.push_str(&line);
    }

    /// As a good receiver answers that has no bundles.
    pub fn answer(&self, head: &Head) -> Say {
        let target = head.target();
        match target.strip_prefix("/v1/episodes?") {
            Some(query) => Say::Bytes(self.list(query)),
            None => Say::Bytes(self.bytes(target, head)),
        }
    }

    /// The tar of the page that is asked for.
    pub fn bundle(&self, head: &Head) -> Vec<u8> {
        let (_, query) = head.target().split_once('?').unwrap_or_default();
        let page = self.list(query);
        let end = page.windows(4).position(|four| four == b"\r\n\r\n");
        let rows = String::from_utf8(page[end.unwrap() + 4..].to_vec()).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        for line in rows.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let name = |key: &str| row[key].as_str().unwrap().to_owned();
            let slot = format!("{}/{}", name("host"), name("episode"));
            let bytes = &self.files[&slot];
            if bytes.len() > 1 << 20 {
                continue;
            }
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, format!("{slot}.tar.zst"), &bytes[..])
                .unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn list(&self, query: &str) -> Vec<u8> {
        let keys: BTreeMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let cursor = keys
            .get("cursor")
            .map_or(0, |cursor| cursor.parse().unwrap());
        let at_line = cursor == 0 || self.index.as_bytes().get(cursor - 1) == Some(&b'\n');
        if !at_line || self.index.len() < cursor {
            return problem("400 Bad Request", "bad-cursor");
        }
        let rest = &self.index[cursor..];
        let rows: Vec<&str> = rest.split_inclusive('\n').take(self.page_rows).collect();
        let text = rows.concat();
        let next = cursor + text.len();
        let last = rows.last().map(|last| next - last.len());
        let more = next < self.index.len();
        page(&self.store, &text, last, next, more)
    }

    fn bytes(&self, target: &str, head: &Head) -> Vec<u8> {
        let slot = target
            .strip_prefix("/v1/episodes/")
            .and_then(|rest| rest.strip_suffix(".tar.zst"));
        let Some(bytes) = slot.and_then(|slot| self.files.get(slot)) else {
            return problem("404 Not Found", "no-episode");
        };
        let from = head
            .header("Range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let is_same = head.header("If-Range") == Some(&format!("\"{}\"", sha256(bytes)));
        match from.map(|from| from.parse::<usize>().unwrap()) {
            Some(from) if is_same => {
                let (end, all) = (bytes.len() - 1, bytes.len());
                let range = format!("Content-Range: bytes {from}-{end}/{all}\r\n");
                with_body("206 Partial Content", &range, &bytes[from..])
            }
            _ => with_body("200 OK", "", bytes),
        }
    }
}

impl Server {
    /// A good receiver with this on its shelf, and without bundles.
    pub fn good(shelf: Shelf) -> Server {
        Server::new(shelf, |head, shelf| shelf.answer(head))
    }

    /// A good receiver.
    pub fn with_bundles(shelf: Shelf) -> Server {
        Server::new(shelf, |head, shelf| {
            if head.target().starts_with("/v1/episodes.tar?") {
                Say::Bytes(with_body("200 OK", "", &shelf.bundle(head)))
            } else {
                shelf.answer(head)
            }
        })
    }

    pub fn new(
        shelf: Shelf,
        answers: impl Fn(&Head, &Shelf) -> Say + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Arc::new(Mutex::new(shelf));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Answers> = Arc::new(answers);
        let server = Server {
            url,
            shelf: shelf.clone(),
            heard: heard.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shelf, heard) = (shelf.clone(), heard.clone());
                let answers = answers.clone();
                thread::spawn(move || {
                    if let Some(head) = read_head(&stream) {
                        heard.lock().unwrap().push(head.clone());
                        let answer = answers(&head, &shelf.lock().unwrap());
                        say(&stream, answer);
                    }
                });
            }
        });
        server
    }

    pub fn heard(&self) -> Vec<Head> {
        self.heard.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }

    pub fn files(&self) -> Files {
        self.shelf.lock().unwrap().files.clone()
    }

    pub fn put(&self, slot: &str, bytes: &[u8]) {
        self.shelf.lock().unwrap().put(slot, bytes);
    }
}

fn read_head(mut stream: &TcpStream) -> Option<Head> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok().map(Head)
}

/// A peer that has gone is no fault here.
fn say(mut stream: &TcpStream, say: Say) {
    match say {
        Say::Bytes(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Say::Endless(first, again) => {
            let mut sent = stream.write_all(&first);
            while sent.is_ok() {
                sent = stream.write_all(&again);
            }
        }
        Say::Drips(first) => {
            let mut sent = stream.write_all(&first);
            while sent.is_ok() {
                thread::sleep(Duration::from_millis(20));
                sent = stream.write_all(b"x");
            }
        }
    }
}

/// A row of an index.
pub fn row(slot: &str, bytes: u64, sha256: &str) -> String {
    let (host, episode) = slot.split_once('/').unwrap();
    format!(
        "{{\"host\":\"{host}\",\"episode\":\"{episode}\",\"bytes\":{bytes},\"sha256\":\"{sha256}\"}}\n"
    )
}

/// A page of a list.
pub fn page(store: &str, rows: &str, last: Option<usize>, next: usize, more: bool) -> Vec<u8> {
    let mut fields = format!("X-Cis490-Store: {store}\r\nX-Cis490-Next: {next}\r\n");
    if let Some(last) = last {
        write!(fields, "X-Cis490-Last: {last}\r\n").unwrap();
    }
    if more {
        write!(
            fields,
            "Link: </v1/episodes?cursor={next}>; rel=\"next\"\r\n"
        )
        .unwrap();
    }
    with_body("200 OK", &fields, rows.as_bytes())
}

pub fn with_body(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = head(status, fields, body.len());
    [head.as_bytes(), body].concat()
}

/// The head of an answer whose body has this length.
pub fn head(status: &str, fields: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{fields}Connection: close\r\n\r\n")
}

pub fn problem(status: &str, name: &str) -> Vec<u8> {
    let code = &status[..3];
    let body = format!(
        "{{\"type\":\"urn:cis490:problem:{name}\",\"title\":\"no\",\"status\":{code},\"detail\":\"a test says no\"}}"
    );
    with_body(
        status,
        "Content-Type: application/problem+json\r\n",
        body.as_bytes(),
    )
}
