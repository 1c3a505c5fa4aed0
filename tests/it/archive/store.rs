//! A store of this file's own, for what real ones seldom do: it keeps objects in memory as S3 does, and
//! has a mishap when a test asks for one. It checks digests and the time of a signature, and not the
//! signature itself.

#[path = "store/parts.rs"]
mod parts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cis490::clock::{http_date, parse_rfc3339, unix_seconds};

use self::parts::Uploads;
use crate::client::sha256;

/// What goes wrong, in place of what was asked or after it.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// All is well.
    None,
    /// This status and code; nothing is done.
    Refuses(u16, &'static str),
    /// The same with further header lines, each ended with CR LF.
    RefusesWith(u16, &'static str, String),
    /// This status and code after so many bytes of the request's body. Then the connection ends, or stays
    /// open for this time with nothing more read from it.
    RefusesInTheBody(u16, &'static str, usize, Option<Duration>),
    /// The connection ends in the middle of the request's body.
    HangsUpInTheBody,
    /// All is done, and the connection ends without an answer.
    LosesTheAnswer,
    /// 200, and nothing is done.
    Pretends,
    /// 200 with this body, and nothing is done.
    Says(&'static str),
    /// Half of the object, and the connection ends.
    SendsHalf,
    /// The object with one bit flipped.
    FlipsABit,
    /// No answer for this time.
    IsSilent(Duration),
    /// The same in the middle of the request's body, without reading on.
    StopsReading(Duration),
    /// Half of the object, and then the same.
    SendsHalfAndIsSilent(Duration),
    /// Half of the object, and then the next request is waited for, if the peer has not asked for the end of
    /// the connection: so Ceph's gateway does when it cannot read on.
    SendsHalfAndListens,
}

pub struct Object {
    pub bytes: Vec<u8>,
    /// Header lines in lower case.
    pub meta: BTreeMap<String, String>,
    stored_at: SystemTime,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    /// Method and a part of the path with its query; whether it stays.
    mishaps: Vec<(&'static str, String, bool, Mishap)>,
    /// `METHOD path`, with the query.
    requests: Vec<String>,
    /// What the clock says more than ours, in seconds.
    clock_s: i64,
    shows_digests: bool,
    checks_digests: bool,
    lifecycle: Option<&'static str>,
    uploads: Uploads,
    /// The access keys that are accepted; `None`: any.
    access_keys: Option<Vec<&'static str>>,
    /// The test has ended: nobody waits any more, and nothing is kept.
    is_over: bool,
}

pub struct ScriptedStore {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl ScriptedStore {
    pub fn start() -> ScriptedStore {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            shows_digests: true,
            checks_digests: true,
            ..Inner::default()
        }));
        let shared = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&shared).is_over {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        ScriptedStore { address, inner }
    }

    /// The configuration of a receiver for this store: the keys are in the file `secret`.
    pub fn config(&self, secret: &std::path::Path) -> String {
        let address = self.address;
        format!(
            "[archive]\nendpoint = \"http://{address}\"\nbucket = \"lab\"\nsecret_file = {secret:?}\n"
        )
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The next request with this method and this part in its path has a mishap.
    pub fn once(&self, method: &'static str, part: &str, mishap: Mishap) {
        self.lock()
            .mishaps
            .push((method, part.to_owned(), false, mishap));
    }

    /// The `count`th such request has one, counted from now.
    pub fn nth(&self, method: &'static str, part: &str, count: usize, mishap: Mishap) {
        for _ in 1..count {
            self.once(method, part, Mishap::None);
        }
        self.once(method, part, mishap);
    }

    /// Each such request has one, until [`ScriptedStore::calm`].
    pub fn always(&self, method: &'static str, part: &str, mishap: Mishap) {
        self.lock()
            .mishaps
            .push((method, part.to_owned(), true, mishap));
    }

    pub fn calm(&self) {
        self.lock().mishaps.clear();
    }

    pub fn set_clock(&self, ahead_s: i64) {
        self.lock().clock_s = ahead_s;
    }

    /// Whether HEAD shows SHA-256, and whether PUT compares it.
    pub fn set_digests(&self, shows: bool, checks: bool) {
        let mut inner = self.lock();
        inner.shows_digests = shows;
        inner.checks_digests = checks;
    }

    pub fn set_lifecycle(&self, xml: &'static str) {
        self.lock().lifecycle = Some(xml);
    }

    /// Requests with other access keys are refused from now on.
    pub fn accept(&self, access_keys: &[&'static str]) {
        self.lock().access_keys = Some(access_keys.to_vec());
    }

    /// All objects are gone.
    pub fn empty(&self) -> Vec<(String, Object)> {
        std::mem::take(&mut self.lock().objects)
            .into_iter()
            .collect()
    }

    /// They are back.
    pub fn fill(&self, objects: Vec<(String, Object)>) {
        self.lock().objects.extend(objects);
    }

    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub fn with<T>(&self, key: &str, look: impl FnOnce(&Object) -> T) -> T {
        look(self.lock().objects.get(key).expect(key))
    }

    /// Changes the bytes of an object behind the store's back: HEAD goes on as before if the length stays.
    pub fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.lock().objects.get_mut(key).expect(key).bytes);
    }

    /// Changes an object's metadata too.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Object)) {
        change(self.lock().objects.get_mut(key).expect(key));
    }

    pub fn remove(&self, key: &str) {
        self.lock().objects.remove(key).expect(key);
    }

    /// All objects were stored so much earlier.
    pub fn age(&self, time: Duration) {
        for object in self.lock().objects.values_mut() {
            object.stored_at -= time;
        }
    }

    /// What was asked so far, `METHOD /bucket/key?query` each.
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    pub fn count(&self, method: &str) -> usize {
        let requests = self.requests();
        requests
            .iter()
            .filter(|one| one.starts_with(method))
            .count()
    }
}

/// Many tests share this process, and each git that one of them starts costs time for all of its memory.
impl Drop for ScriptedStore {
    fn drop(&mut self) {
        *self.lock() = Inner {
            is_over: true,
            ..Inner::default()
        };
        // The thread that accepts sees it.
        let _ = TcpStream::connect(self.address);
    }
}

/// Does nothing for so long, or until the test has ended.
fn wait(inner: &Mutex<Inner>, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !lock(inner).is_over {
        thread::sleep(Duration::from_millis(10).min(time));
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request {
    method: String,
    path: String,
    query: String,
    fields: BTreeMap<String, String>,
}

fn serve(stream: &TcpStream, inner: &Mutex<Inner>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_head(&mut reader) {
        if answer(&request, &mut reader, stream, inner).is_none() {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let method = words.next()?.to_owned();
    let target = words.next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut fields = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    assert!(!fields.contains_key("expect") && !fields.contains_key("transfer-encoding"));
    Some(Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        fields,
    })
}

/// `None` if the connection ends.
fn answer(
    request: &Request,
    reader: &mut impl Read,
    mut stream: &TcpStream,
    inner: &Mutex<Inner>,
) -> Option<()> {
    let length = request.fields.get("content-length");
    let length = length.map_or(0, |text| text.parse::<usize>().unwrap());
    let mishap = {
        let mut inner = lock(inner);
        let query = if request.query.is_empty() { "" } else { "?" };
        let target = format!("{}{query}{}", request.path, request.query);
        inner.requests.push(format!("{} {target}", request.method));
        let is_it = |(method, part, ..): &(&str, String, bool, Mishap)| {
            *method == request.method && target.contains(part.as_str())
        };
        let found = inner.mishaps.iter().position(is_it);
        found.map(|at| {
            if inner.mishaps[at].2 {
                inner.mishaps[at].3.clone()
            } else {
                inner.mishaps.remove(at).3
            }
        })
    };
    if let Some(Mishap::HangsUpInTheBody) = mishap {
        // A read of nothing would wait for the next request.
        if length > 1 {
            let _ = reader.read(&mut vec![0; length / 2]);
        }
        return None;
    }
    if let Some(Mishap::RefusesInTheBody(status, code, bytes, stays)) = mishap {
        reader.read_exact(&mut vec![0; bytes.min(length)]).ok()?;
        let (_, _, text) = refuse(status, code, "");
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", text.len());
        let now = lock(inner).shown(SystemTime::now());
        let date = format!("Date: {}\r\n\r\n", http_date(now));
        let whole = [head.as_bytes(), date.as_bytes(), &text].concat();
        stream.write_all(&whole).ok()?;
        wait(inner, stays.unwrap_or_default());
        return None;
    }
    if let Some(Mishap::StopsReading(time)) = mishap {
        let _ = reader.read(&mut vec![0; length / 2]);
        wait(inner, time);
        return None;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if let Some(Mishap::IsSilent(time)) = mishap {
        wait(inner, time);
        return None;
    }
    let mut locked = lock(inner);
    let mut answer = match &mishap {
        Some(Mishap::Refuses(status, code)) => refuse(*status, code, ""),
        Some(Mishap::RefusesWith(status, code, lines)) => refuse(*status, code, lines),
        Some(Mishap::Pretends) => (200, String::new(), Vec::new()),
        Some(Mishap::Says(text)) => (200, String::new(), (*text).into()),
        _ => locked.act(request, body),
    };
    let now = locked.shown(SystemTime::now());
    drop(locked);
    if let Some(Mishap::LosesTheAnswer) = mishap {
        return None;
    }
    if let (Some(Mishap::FlipsABit), Some(byte)) = (&mishap, answer.2.first_mut()) {
        *byte ^= 1;
    }
    let (status, lines, body) = &answer;
    let mut head = format!("HTTP/1.1 {status} X\r\nDate: {}\r\n{lines}", http_date(now));
    if !lines.contains("Content-Length") {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    if request.method != "HEAD" {
        bytes.extend_from_slice(body);
    }
    if let Some(Mishap::SendsHalf | Mishap::SendsHalfAndIsSilent(_) | Mishap::SendsHalfAndListens) =
        mishap
    {
        bytes.truncate(bytes.len() - body.len().div_ceil(2));
        let _ = stream.write_all(&bytes);
        if let Some(Mishap::SendsHalfAndIsSilent(time)) = mishap {
            wait(inner, time);
        }
        let closes = request
            .fields
            .get("connection")
            .is_some_and(|value| value == "close");
        let goes_on = matches!(mishap, Some(Mishap::SendsHalfAndListens)) && !closes;
        return goes_on.then_some(());
    }
    stream.write_all(&bytes).ok()
}

type Answer = (u16, String, Vec<u8>);

fn refuse(status: u16, code: &str, lines: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    (status, lines.to_owned(), body.into_bytes())
}

impl Inner {
    fn act(&mut self, request: &Request, body: Vec<u8>) -> Answer {
        let Some(rest) = request.path.strip_prefix("/lab") else {
            return refuse(404, "NoSuchBucket", "");
        };
        let key = rest.trim_start_matches('/');
        let authorization = request.fields.get("authorization");
        let is_presigned = request.query.contains("X-Amz-Signature=");
        if authorization.is_none() && !is_presigned {
            return refuse(403, "AccessDenied", "");
        }
        if let Some(time) = request.fields.get("x-amz-date")
            && !self.is_now(time)
        {
            return refuse(403, "RequestTimeTooSkewed", "");
        }
        let is_accepted = |field: &String| {
            let known = self.access_keys.as_ref();
            known.is_none_or(|keys| {
                let mut keys = keys.iter();
                keys.any(|key| field.contains(&format!("Credential={key}/")))
            })
        };
        if !authorization.is_none_or(is_accepted) {
            return refuse(403, "InvalidAccessKeyId", "");
        }
        if let Some(answer) = self.act_on_parts(request, key, &body) {
            return answer;
        }
        match request.method.as_str() {
            "GET" if request.query == "lifecycle=" => match self.lifecycle {
                Some(xml) => (200, String::new(), xml.into()),
                None => refuse(404, "NoSuchLifecycleConfiguration", ""),
            },
            "GET" if key.is_empty() => (200, String::new(), self.list(&request.query)),
            "PUT" => self.put(key, &request.fields, body),
            "HEAD" | "GET" => self.get(key),
            // No object is ever deleted.
            _ => refuse(405, "MethodNotAllowed", ""),
        }
    }

    /// A time by the store's own clock.
    fn shown(&self, time: SystemTime) -> SystemTime {
        let seconds = Duration::from_secs(self.clock_s.unsigned_abs());
        if self.clock_s < 0 {
            time - seconds
        } else {
            time + seconds
        }
    }

    /// Whether a time such as `20130524T000000Z` is within a quarter of an hour of now.
    fn is_now(&self, time: &str) -> bool {
        let parts = [0..4, 4..6, 6..8, 9..11, 11..13, 13..15].map(|part| &time[part]);
        let [year, month, day, hour, minute, second] = parts;
        let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
        let signed_s = parse_rfc3339(&text).unwrap();
        unix_seconds(self.shown(SystemTime::now())).abs_diff(signed_s) <= 900
    }

    fn put(&mut self, key: &str, fields: &BTreeMap<String, String>, bytes: Vec<u8>) -> Answer {
        let stated = &fields["x-amz-content-sha256"];
        assert!(fields.contains_key("x-amz-checksum-sha256"));
        if self.checks_digests && *stated != sha256(&bytes) {
            return refuse(400, "XAmzContentSHA256Mismatch", "");
        }
        let object = Object {
            bytes,
            meta: fields.clone(),
            stored_at: SystemTime::now(),
        };
        self.objects.insert(key.to_owned(), object);
        (200, "ETag: \"x\"\r\n".to_owned(), Vec::new())
    }

    fn get(&self, key: &str) -> Answer {
        let Some(object) = self.objects.get(key) else {
            return refuse(404, "NoSuchKey", "");
        };
        let mut lines = format!(
            "Last-Modified: {}\r\n",
            http_date(self.shown(object.stored_at))
        );
        for (name, value) in &object.meta {
            let is_shown = name == "x-amz-checksum-sha256" && self.shows_digests;
            if is_shown || name.starts_with("x-amz-meta-") {
                let _ = write!(lines, "{name}: {value}\r\n");
            }
        }
        (200, lines, object.bytes.clone())
    }

    /// Two keys at once, so that every list has several parts.
    fn list(&self, query: &str) -> Vec<u8> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(known, _)| *known == name);
            found.map_or(String::new(), |(_, value)| value.replace("%2F", "/"))
        };
        let (prefix, after) = (value("prefix"), value("continuation-token"));
        let found = self.objects.iter();
        let found = found.filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let mut found: Vec<_> = found.collect();
        let is_cut = found.len() > 2;
        found.truncate(2);
        let mut xml = format!(
            "<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>{}",
            match found.last() {
                Some((key, _)) if is_cut =>
                    format!("<NextContinuationToken>{key}</NextContinuationToken>"),
                _ => String::new(),
            }
        );
        for (key, object) in found {
            let size = object.bytes.len();
            let _ = write!(
                xml,
                "<Contents><Key>{key}</Key><Size>{size}</Size></Contents>"
            );
        }
        (xml + "</ListBucketResult>").into_bytes()
    }
}
