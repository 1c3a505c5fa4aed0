//! A stand-in for Forgejo: it serves a real repository in the API's shapes, and misbehaves on
//! command as real ones and what stands before them do (design, section 4).
//!
//! `answers/` has what a real Forgejo answered, one file each, the question in its first line. Where
//! this stand-in and they differ, they are right.

mod api;
mod recorded;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use self::recorded::Recorded;

/// How it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    Well,
    Status(u16),
    /// What a real one answered, by the file's name in `answers/`.
    Recorded(&'static str),
    /// A redirect to this URL.
    Redirect(u16, String),
    /// A login page with status 200.
    Html,
    /// This text as JSON, with status 200.
    Text(String),
    EndlessBody,
    EndlessHeaders,
    /// One header that never ends.
    EndlessHeader,
    /// A byte at a time, for ever.
    Drip,
    /// A length that is longer than the body.
    CutShort,
    /// Closes without a word.
    Close,
    /// Says nothing until the mood changes.
    Hang,
    /// Answers well after a while.
    Slow(Duration),
    /// Answers when the mood changes, with what it knew when it was asked.
    Late,
}

pub struct State {
    repository: PathBuf,
    pub mood: Mood,
    /// Only requests whose target holds this text feel the mood.
    pub mood_for: &'static str,
    /// The server's own cap on `limit`.
    pub page_cap: usize,
    /// Without it, 401 if another is sent, and 404 if none is.
    pub token: Option<String>,
    /// The token's user has no access: 404 to everything.
    pub hides_repository: bool,
    /// The repository's owner and name, if they are others now: 301.
    pub renamed_to: Option<(String, String)>,
    /// The owner's name, if it is another now: 307.
    pub owner_renamed_to: Option<String>,
    /// The code unit is switched off: the repository is there, and all below it is 404.
    pub code_is_off: bool,
    pub default_branch: String,
    pub is_mirror: bool,
    pub is_archived: bool,
    /// The first push is not worked off: refs have it, and the rest says that the repository is empty.
    pub lags: bool,
    /// Bytes that every commit's message has more.
    pub message_bytes: usize,
    /// As a server of before 2023: `not=` changes nothing.
    pub passes_over_not: bool,
    /// What `Link` claims about where the next page is.
    pub link_base: Option<String>,
    /// Every page is the first one.
    pub repeats_first_page: bool,
    /// Elements that are null or lack a hash, among the commits.
    pub nulls: bool,
    pub requests: Vec<Request>,
    histories: RefCell<Histories>,
}

/// What was listed: by a head and what was left out, the lines of its commits.
type Histories = HashMap<(String, Option<String>), Vec<String>>;

#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// As sent, lowercase names.
    pub headers: Vec<(String, String)>,
    /// Of the answer's body.
    pub answered_bytes: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(header, _)| header == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    pub fn query(&self, key: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }
}

pub struct Forgejo {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Forgejo {
    pub fn serve(repository: &Path) -> Forgejo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            repository: repository.to_owned(),
            mood: Mood::Well,
            mood_for: "",
            page_cap: 50,
            token: None,
            hides_repository: false,
            renamed_to: None,
            owner_renamed_to: None,
            code_is_off: false,
            default_branch: "main".to_owned(),
            is_mirror: false,
            is_archived: false,
            lags: false,
            message_bytes: 0,
            passes_over_not: false,
            link_base: None,
            repeats_first_page: false,
            nulls: false,
            requests: Vec::new(),
            histories: RefCell::default(),
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                // A peer that goes away in the middle is a test's intention.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &state)));
            }
        });
        Forgejo { url, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Those for pages of commits.
    pub fn listings(&self) -> Vec<Request> {
        let all = self.requests();
        all.into_iter()
            .filter(|request| {
                request.target.contains("/commits?") && request.query("not").is_none()
            })
            .collect()
    }

    /// Those for what is known of a commit.
    pub fn questions_about_commits(&self) -> Vec<Request> {
        let all = self.requests();
        all.into_iter()
            .filter(|request| request.query("limit") == Some("1") && request.query("not").is_some())
            .collect()
    }
}

impl Drop for Forgejo {
    fn drop(&mut self) {
        // Frees what hangs. The accepting thread ends with the test program.
        self.set_mood(Mood::Close);
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let request = Request {
        target: target.clone(),
        headers,
        answered_bytes: 0,
    };
    let number = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        state.requests.len() - 1
    };
    let answered = speak(&stream, &request, state);
    if let Ok(bytes) = answered {
        state.lock().unwrap().requests[number].answered_bytes = bytes;
    }
    answered.map(drop)
}

fn mood(target: &str, state: &Mutex<State>) -> Mood {
    let state = state.lock().unwrap();
    match target.contains(state.mood_for) {
        true => state.mood.clone(),
        false => Mood::Well,
    }
}

/// The length of the answer's body.
fn speak(
    mut stream: &TcpStream,
    request: &Request,
    state: &Mutex<State>,
) -> std::io::Result<usize> {
    match mood(&request.target, state) {
        Mood::Well => {}
        Mood::Status(status) => return send(stream, status, "", "{\"message\":\"\"}"),
        Mood::Recorded(name) => {
            let Recorded {
                status,
                headers,
                body,
            } = Recorded::read(name);
            return send(stream, status, &headers, &body);
        }
        Mood::Redirect(status, to) => {
            return send(stream, status, &format!("Location: {to}\r\n"), "moved");
        }
        Mood::Html => {
            let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
            return send(stream, 200, "Content-Type: text/html\r\n", page);
        }
        Mood::Text(text) => return send(stream, 200, "", &text),
        Mood::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")?;
            loop {
                stream.write_all(&b"null,".repeat(10_000))?;
            }
        }
        Mood::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(&b"X-Filler: filler\r\n".repeat(1000))?;
            }
        }
        Mood::EndlessHeader => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Filler: ")?;
            loop {
                stream.write_all(&b"filler".repeat(1000))?;
            }
        }
        Mood::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[")?;
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(200));
            }
        }
        Mood::CutShort => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n[{\"sha\":";
            return stream.write_all(head.as_bytes()).map(|()| 0);
        }
        Mood::Close => return Ok(0),
        Mood::Hang => {
            while mood(&request.target, state) == Mood::Hang {
                thread::sleep(Duration::from_millis(5));
            }
            return Ok(0);
        }
        Mood::Slow(wait) => thread::sleep(wait),
        Mood::Late => {
            let (status, headers, body) = api::answer(request, &state.lock().unwrap());
            while mood(&request.target, state) == Mood::Late {
                thread::sleep(Duration::from_millis(5));
            }
            return send(stream, status, &headers, &body);
        }
    }
    let (status, headers, body) = api::answer(request, &state.lock().unwrap());
    send(stream, status, &headers, &body)
}

fn send(mut stream: &TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<usize> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(length)
}
