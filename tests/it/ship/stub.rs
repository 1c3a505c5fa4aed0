//! A receiver that does what it is told, in literal bytes: it stores, forgets, lies, hangs up.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// What the stub does with one request.
#[derive(Clone)]
pub enum Reply {
    /// As the real one: 100, the body, its digest, 201; 200 on the head for what is there.
    Store,
    /// As `Store`, but the answer is lost.
    StoreAndDie,
    /// Stores, does something, and only then answers.
    StoreAndAfter(Arc<dyn Fn() + Send + Sync>),
    /// Nothing at all: it takes the head and hangs up.
    Die,
    /// 100, and then it hangs up in the middle of the body.
    DieInBody,
    /// This answer on the head, and no body is taken.
    Say(String),
    /// 100, the whole body, and then this.
    SayAfterBody(String),
    /// 100, some of the body, and then this; then it closes with the rest unread.
    SayInBody(String),
    /// The same, but it neither reads on nor closes.
    SayInBodyAndWait(String),
    /// 100, some of the body, and then neither a word nor another read.
    Stall,
    /// Does something to the world, then as the next.
    After(Arc<dyn Fn() + Send + Sync>, Box<Reply>),
    /// These, one after the other, and then it closes.
    Acts(Vec<Act>),
}

/// A part of what the stub does with one request.
#[derive(Clone)]
pub enum Act {
    /// These bytes, and the connection stays open.
    Say(String),
    /// Takes some of the body.
    TakeSome,
    /// Takes the whole body, and stores it.
    TakeAll,
    /// The receipt of what was stored.
    Receipt,
    /// Keeps the connection open until the peer closes it, and reads nothing.
    Stay,
}

/// One request's head, and when it came.
#[derive(Clone)]
pub struct Heard {
    pub head: String,
    pub at: Instant,
}

impl Heard {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }
}

#[derive(Default)]
struct Shared {
    puts: Mutex<VecDeque<Reply>>,
    gets: Mutex<VecDeque<Reply>>,
    heard: Mutex<Vec<Heard>>,
    /// Digests by path.
    stored: Mutex<BTreeMap<String, String>>,
    connections: AtomicUsize,
    /// What lab hosts report on their queues: the status of the answer, and the bodies that came.
    report_status: AtomicU16,
    reports: Mutex<Vec<(Instant, String)>>,
    /// A connection is closed after so many requests; 0 for one request, and the answer says so.
    keeps: AtomicUsize,
}

/// In place of a status: no answer.
const HANG: u16 = 1;

pub struct Stub {
    pub url: String,
    shared: Arc<Shared>,
}

impl Stub {
    /// Replies to PUTs in this order, and goes on as the last says.
    pub fn new(puts: impl IntoIterator<Item = Reply>) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let served = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = served.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        let stub = Stub { url, shared };
        stub.puts(puts);
        stub
    }

    pub fn puts(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.shared.puts.lock().unwrap() = replies.into_iter().collect();
    }

    pub fn gets(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.shared.gets.lock().unwrap() = replies.into_iter().collect();
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.heard()
            .iter()
            .map(|heard| heard.line().to_owned())
            .collect()
    }

    /// Keeps each connection for so many requests, and closes it then without saying so.
    pub fn keep_connections_for(&self, requests: usize) {
        self.shared.keeps.store(requests, Ordering::SeqCst);
    }

    /// From here on reports on queues get this answer; until then 404, as from an older receiver.
    pub fn answer_reports(&self, status: u16) {
        self.shared.report_status.store(status, Ordering::SeqCst);
    }

    /// From here on reports on queues get no answer for a minute.
    pub fn hang_on_reports(&self) {
        self.answer_reports(HANG);
    }

    /// The reports on queues, and when each came.
    pub fn reports(&self) -> Vec<(Instant, String)> {
        self.shared.reports.lock().unwrap().clone()
    }

    /// How many were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// It has lost all that it stored.
    pub fn forget(&self) {
        self.shared.stored.lock().unwrap().clear();
    }

    /// Digests by path.
    pub fn stored(&self) -> BTreeMap<String, String> {
        self.shared.stored.lock().unwrap().clone()
    }
}

/// Takes the next; the last stays.
fn take(replies: &Mutex<VecDeque<Reply>>) -> Option<Reply> {
    let mut replies = replies.lock().unwrap();
    match replies.len() {
        0 | 1 => replies.front().cloned(),
        _ => replies.pop_front(),
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let Some(head) = read_head(&mut stream) else {
            self.connections.fetch_add(1, Ordering::SeqCst);
            return;
        };
        if head.starts_with("PUT /v1/hosts/") {
            return self.hear_report(&mut stream, head);
        }
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.serve_one(&mut stream, head);
        let keeps = self.keeps.load(Ordering::SeqCst);
        for _ in 1..keeps {
            let Some(head) = read_head(&mut stream) else {
                return;
            };
            self.serve_one(&mut stream, head);
        }
        // Unread bytes make this a reset, which is what a hasty receiver does.
    }

    /// A report on a queue is no part of what the other side does with its episodes: it is not among the
    /// requests that were heard, nor its connection among those that were made.
    fn hear_report(&self, stream: &mut TcpStream, head: String) {
        let heard = Heard {
            head,
            at: Instant::now(),
        };
        let body = read_body(stream, &heard).unwrap_or_default();
        let body = String::from_utf8(body).unwrap();
        self.reports.lock().unwrap().push((heard.at, body));
        if self.report_status.load(Ordering::SeqCst) == HANG {
            thread::sleep(Duration::from_secs(60));
        }
        let status = match self.report_status.load(Ordering::SeqCst) {
            0 => 404,
            status => status,
        };
        say(stream, &answer(status, "", ""));
    }

    fn serve_one(&self, stream: &mut TcpStream, head: String) {
        let heard = Heard {
            head,
            at: Instant::now(),
        };
        self.heard.lock().unwrap().push(heard.clone());
        let replies = if heard.line().starts_with("PUT ") {
            &self.puts
        } else {
            &self.gets
        };
        if let Some(reply) = take(replies) {
            self.reply(stream, &heard, reply);
        }
    }

    fn reply(&self, stream: &mut TcpStream, heard: &Heard, reply: Reply) {
        match reply {
            Reply::Store => {
                if let Some(answer) = self.store(stream, heard) {
                    if self.keeps.load(Ordering::SeqCst) == 0 {
                        say(stream, &answer);
                    } else {
                        let kept = answer.replace("Connection: close\r\n", "");
                        let _ = stream.write_all(kept.as_bytes());
                    }
                }
            }
            Reply::StoreAndAfter(act) => {
                if let Some(answer) = self.store(stream, heard) {
                    act();
                    say(stream, &answer);
                }
            }
            Reply::StoreAndDie => drop(self.store(stream, heard)),
            Reply::Die => {}
            Reply::DieInBody => {
                say(stream, CONTINUE);
                let _ = stream.read(&mut [0; 100]);
            }
            Reply::Say(answer) => say(stream, &answer),
            Reply::SayAfterBody(answer) => {
                say(stream, CONTINUE);
                read_body(stream, heard);
                say(stream, &answer);
            }
            Reply::SayInBody(answer) => {
                say(stream, CONTINUE);
                let _ = stream.read_exact(&mut [0; 1 << 16]);
                say(stream, &answer);
                // With no drain. The answer is there before the reset: the other side can read it.
                thread::sleep(Duration::from_millis(50));
            }
            Reply::SayInBodyAndWait(answer) => {
                say(stream, CONTINUE);
                let _ = stream.read_exact(&mut [0; 1 << 16]);
                say(stream, &answer);
                thread::sleep(Duration::from_secs(20));
            }
            Reply::Stall => {
                say(stream, CONTINUE);
                let _ = stream.read_exact(&mut [0; 1 << 16]);
                thread::sleep(Duration::from_secs(20));
            }
            Reply::After(act, then) => {
                act();
                self.reply(stream, heard, *then);
            }
            Reply::Acts(acts) => {
                for act in acts {
                    self.act(stream, heard, act);
                }
            }
        }
    }

    fn act(&self, stream: &mut TcpStream, heard: &Heard, act: Act) {
        match act {
            // A peer that is gone is a test's intention.
            Act::Say(bytes) => {
                let _ = stream.write_all(bytes.as_bytes());
            }
            Act::TakeSome => {
                let _ = stream.read_exact(&mut [0; 1 << 16]);
            }
            Act::TakeAll => {
                let path = heard.line().split(' ').nth(1).unwrap_or("").to_owned();
                if let Some(body) = read_body(stream, heard) {
                    self.stored.lock().unwrap().insert(path, sha256(&body));
                }
            }
            Act::Receipt => {
                let _ = stream.write_all(receipt(201, heard).as_bytes());
            }
            Act::Stay => {
                stream
                    .set_read_timeout(Some(Duration::from_millis(20)))
                    .unwrap();
                // Peeked and not read: a peer that still sends is none that has closed.
                let until = Instant::now() + Duration::from_secs(20);
                while Instant::now() < until {
                    match stream.peek(&mut [0]) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Ok(0) | Err(_) => return,
                        _ => thread::sleep(Duration::from_millis(20)),
                    }
                }
            }
        }
    }

    /// The answer; `None` if the sender went away.
    fn store(&self, stream: &mut TcpStream, heard: &Heard) -> Option<String> {
        let path = heard.line().split(' ').nth(1)?.to_owned();
        let stated = heard.header("X-Cis490-Sha256")?.to_owned();
        let before = self.stored.lock().unwrap().get(&path).cloned();
        match before {
            Some(digest) if digest == stated => return Some(receipt(200, heard)),
            Some(_) => return Some(problem(409, "taken", "")),
            None => {}
        }
        say(stream, CONTINUE);
        let body = read_body(stream, heard)?;
        if sha256(&body) != stated {
            return Some(problem(422, "digest-mismatch", ""));
        }
        self.stored.lock().unwrap().insert(path, stated);
        Some(receipt(201, heard))
    }
}

pub const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn say(stream: &mut TcpStream, bytes: &str) {
    let _ = stream.write_all(bytes.as_bytes());
    if bytes != CONTINUE {
        let _ = stream.shutdown(Shutdown::Write);
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn read_body(stream: &mut TcpStream, heard: &Heard) -> Option<Vec<u8>> {
    let length: usize = heard.header("Content-Length")?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An answer with a body.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A refusal in the receiver's words, with a remediation.
pub fn problem(status: u16, name: &str, headers: &str) -> String {
    let body = format!(
        r#"{{"type":"urn:cis490:problem:{name}","title":"No","status":{status},"detail":"words of {name}","head_commit":"{head}","window":100,"remediation":"cd /opt/cis490 && git pull\nsudo ./install.sh"}}"#,
        head = "f".repeat(40),
    );
    answer(
        status,
        &format!("Content-Type: application/problem+json\r\n{headers}"),
        &body,
    )
}

/// A receipt for what the head states, with whatever `change` does to it.
pub fn receipt_but(status: u16, heard: &Heard, change: impl FnOnce(&str) -> String) -> String {
    let path = heard.line().split(' ').nth(1).unwrap_or("");
    let mut parts = path.rsplit('/');
    let (episode, host) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let body = format!(
        r#"{{"seq":7,"host":"{host}","episode":"{episode}","bytes":{bytes},"sha256":"{sha256}","unknown":[1]}}"#,
        bytes = heard.header("Content-Length").unwrap_or("0"),
        sha256 = heard.header("X-Cis490-Sha256").unwrap_or(""),
    );
    answer(status, "X-Cis490-Gate-Position: 37/100\r\n", &change(&body))
}

fn receipt(status: u16, heard: &Heard) -> String {
    receipt_but(status, heard, str::to_owned)
}
