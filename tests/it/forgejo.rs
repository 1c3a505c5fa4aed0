//! A stand-in for Forgejo: it serves a real repository in the API's shapes, and misbehaves on
//! command as real ones and what stands before them do (design, section 4).

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::repository::{git, git_command};

const PREFIX: &str = "/api/v1/repos/lab/cis490";

/// How it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    Well,
    Status(u16),
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
}

pub struct State {
    repository: PathBuf,
    pub mood: Mood,
    /// Only requests whose target holds this text feel the mood.
    pub mood_for: &'static str,
    /// The server's own cap on `limit`.
    pub page_cap: usize,
    /// Without it, 401.
    pub token: Option<String>,
    /// What `Link` claims about where the next page is.
    pub link_base: Option<String>,
    /// Every page is the first one.
    pub repeats_first_page: bool,
    /// One match of `/git/refs` is answered as an object, not an array.
    pub bare_single_ref: bool,
    /// Elements that are null or lack a hash, among the commits.
    pub nulls: bool,
    pub requests: Vec<Request>,
}

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
            link_base: None,
            repeats_first_page: false,
            bare_single_ref: false,
            nulls: false,
            requests: Vec::new(),
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
        self.state.lock().unwrap()
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
            .filter(|request| request.target.contains("/commits?"))
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
        Mood::Status(status) => return send(stream, status, "", "{\"message\":null}"),
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
    }
    let (status, headers, body) = well(request, &state.lock().unwrap());
    send(stream, status, &headers, &body.to_string())
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

/// What Forgejo answers: status, headers, body.
fn well(request: &Request, state: &State) -> (u16, String, Value) {
    let wanted = state.token.as_ref().map(|token| format!("token {token}"));
    let given = request
        .header("authorization")
        .first()
        .map(ToString::to_string);
    if wanted.is_some() && wanted != given {
        return (401, String::new(), json!({"message": "token is required"}));
    }
    let Some(path) = request.target.strip_prefix(PREFIX) else {
        return not_found();
    };
    if let Some(prefix) = path.strip_prefix("/git/") {
        refs(prefix, state)
    } else if let Some(branch) = path.strip_prefix("/branches/") {
        branch_of(branch, state)
    } else if path.starts_with("/commits?") {
        commits(request, state)
    } else {
        not_found()
    }
}

fn not_found() -> (u16, String, Value) {
    (
        404,
        String::new(),
        json!({"message": "not found", "errors": null}),
    )
}

/// All refs that begin so.
fn refs(prefix: &str, state: &State) -> (u16, String, Value) {
    let format = "--format=%(refname) %(objectname)";
    let all = git(&state.repository, &["for-each-ref", format]);
    let mut found: Vec<Value> = all
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, hash)| {
            json!({"ref": name, "url": null, "object": {"type": "commit", "sha": hash, "url": null}})
        })
        .collect();
    // Not in the order of their names: the wanted one is not the first.
    found.reverse();
    match found.len() {
        0 => not_found(),
        1 if state.bare_single_ref => (200, String::new(), found.remove(0)),
        _ => (200, String::new(), Value::Array(found)),
    }
}

fn branch_of(branch: &str, state: &State) -> (u16, String, Value) {
    match resolve(&format!("refs/heads/{branch}"), state) {
        None => not_found(),
        Some(hash) => (
            200,
            String::new(),
            json!({"name": branch, "protected": false, "commit": {"id": hash, "author": null, "added": null}}),
        ),
    }
}

/// As git does, tags before branches.
fn resolve(revision: &str, state: &State) -> Option<String> {
    let revision = format!("{revision}^{{commit}}");
    let arguments = ["rev-parse", "-q", "--verify", &revision];
    let output = git_command(&state.repository, &arguments).output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| hash.trim().to_owned())
}

fn commits(request: &Request, state: &State) -> (u16, String, Value) {
    if git(&state.repository, &["for-each-ref"]).is_empty() {
        return (
            409,
            String::new(),
            json!({"message": "Git Repository is empty."}),
        );
    }
    let Some(head) = resolve(request.query("sha").unwrap_or("main"), state) else {
        return not_found();
    };
    let number = |key, otherwise| {
        request
            .query(key)
            .map_or(otherwise, |text| text.parse().unwrap())
    };
    let limit: usize = number("limit", 30).min(state.page_cap);
    let page: usize = if state.repeats_first_page {
        1
    } else {
        number("page", 1)
    };
    let (skip, count) = (
        format!("--skip={}", (page - 1) * limit),
        format!("-n{limit}"),
    );
    let log = git(
        &state.repository,
        &[
            "log",
            "--format=%H%x09%T%x09%P%x09%s",
            &skip,
            &count,
            &head,
            "--",
        ],
    );
    let mut elements: Vec<Value> = log.lines().map(commit).collect();
    if state.nulls && !elements.is_empty() {
        elements.insert(0, Value::Null);
        elements.insert(1, json!({"sha": null, "parents": null}));
        elements.insert(2, json!({"commit": null}));
        elements.insert(3, json!({"sha": 7}));
        elements.insert(4, json!({"sha": "not a hash"}));
    }
    let link = state.link_base.as_ref().map_or(String::new(), |base| {
        format!("Link: <{base}{PREFIX}/commits?page=2>; rel=\"next\"\r\nX-HasMore: true\r\n")
    });
    match elements.is_empty() && state.nulls {
        true => (200, link, Value::Null),
        false => (200, link, Value::Array(elements)),
    }
}

/// Hashes that do not count stand before and after the one that does.
fn commit(line: &str) -> Value {
    let fields: Vec<&str> = line.split('\t').collect();
    let [hash, tree, parents, subject] = fields[..] else {
        panic!("git log told {line:?}");
    };
    let parents: Vec<Value> = parents
        .split_whitespace()
        .map(|parent| json!({"url": null, "sha": parent, "created": null}))
        .collect();
    json!({
        "author": null,
        "commit": {"message": subject, "tree": {"sha": tree, "url": null}, "verification": null, "sha": "cd".repeat(20)},
        "committer": {"id": 1, "login": "test", "sha": "ef".repeat(20)},
        "files": null,
        "html_url": format!("http://elsewhere.invalid/{hash}"),
        "parents": parents,
        "sha": hash,
        "stats": null,
    })
}
